"""Fill a Blueprint with masks: Algorithms 1 and 2.

Comes in: a Blueprint and calibration inputs. Goes out, layer by layer: `MaskedRows`, then their
`BuiltLayer` (`results`). Nothing is written to disk here. In order:

`construction`        the sequence over the layers; target and ticket run beside it (`stepwise_run`)
`univariate`          opens a block (Alg. 1, odd layers)
`layer_construction`  the sequence over the rows of any other layer, which is a `layer_task`
`features`            what its weights meet: copies, or neurons of one sign
`shared_problems`     base sets, prices and error feedback, from the inputs' `moments`
`masks`               λ, the subsets, and the fit to the target's outputs
`row_solver`          who solves the subset sums of rows: this process, or workers
`biases`              subset sums over the `constants` that reach the layer
"""
