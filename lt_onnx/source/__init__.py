"""The random source network f_0. Comes in: a seed and positions; goes out: their random weights.

`layer` says what a random layer is and draws its rows, `philox` draws the numbers.
"""
