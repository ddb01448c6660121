"""What every operator does to the copies of channels, and what an activation does to a number.

A node and the layouts of its inputs come in; the layouts of its outputs go out, and nodes that are
emitted into the plan. `rule` says what a rule is and may ask for; `copywise`, `merging` and
`rearranging` hold the rules; `table` names one for each operator. `signs` tells which tensors are
never negative; `activation_fit` fits the local model of an activation (Assumption 2.3), which
`activations` finds in the network; `conv_padding` tells where a convolution's taps fall.
"""
