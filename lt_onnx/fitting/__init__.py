"""Fit the scales of a finished ticket together, its masks frozen (`Options.fit_scales`).

In: a ticket's file, its plan, the means of its layers, inputs. Out: the file with other scales, or
as it was, and a `ScaleFit`.

- `scaled_target`  the target made of the means of the ticket's layers, as a torch program
- `descent`        what its channels are to be multiplied by, by gradient
- `scales`         the sequence: run, fit, judge, write
"""
