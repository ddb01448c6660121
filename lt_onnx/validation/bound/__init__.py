"""From a ticket's weights and a box of inputs to an error that no input of the box exceeds.

In order: `ranges` is the interval arithmetic, `functions` bounds the activations, `rules` the
operators without random weights, `constructed` the random layers, and `certify` goes through the
ticket's steps.
"""
