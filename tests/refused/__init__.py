"""Networks and inputs that are refused: what each is called, how it is made, what is said of it.

`graphs` are sound files of graphs that cannot be converted, `models` files made to do harm,
`inputs` samples of that kind. `case` says what a refusal is.
"""
