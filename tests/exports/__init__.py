"""Networks as exporters write them, small: what people bring, and what has to work as it is.

`builder` makes the graphs; `sizes` has shape arithmetic, `heads` what comes behind the last layer,
`networks` bodies of every kind. Each is a mapping of names to functions that make a model.
"""
