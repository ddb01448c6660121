"""Many networks, converted one by one, each in a process of its own.

Comes in: a folder of networks, options and limits. Goes out: their tickets and reports, and an
entry of each for one report of all.

- `folder`: the conversions, and which of them an earlier run has finished.
- `parent_watch`: ends a conversion when the process that started it is gone.
"""
