"""From a Target and Options to a Blueprint: the ticket's graph, without any weight.

`plan` walks the target twice. `draft` holds the plan in the making: what is asked, what has been
emitted, where the ticket has each tensor. `nodes` takes operators over, `layers` plans constructed
layers and `blocks` the univariate layers before them, with as many neurons as `allocation` gives;
`requirements` tells what layers must put out. From the Blueprint `prediction` tells what a
conversion will take (`memory`, of the `sizes` of layers), and `overview` makes the tables of
`inspect` and `plan`.
"""
