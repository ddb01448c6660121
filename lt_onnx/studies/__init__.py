"""What can be asked of the construction itself.

`statistics` repeats Figures 3 and 4 of the paper, `theory` evaluates its theorems for a plan,
`frontier` makes tickets of many sizes; `plots` draws the first and the last.
"""
