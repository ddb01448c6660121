"""How long numbers are in some stated codes: what the account counts with.

In: numbers. Out: bits, at most, from which they can be told again: each length is that of a prefix
code, or log2 of how many there are of equal length.
"""

import math
from collections.abc import Iterable

import numpy as np

from lt_onnx.manifest import MAX_LEVEL
from lt_onnx.target import Array, Doubles, Floats

FLOAT, FRACTION = 32, 23  # bits of a float32, and of its fraction
LEVELS_OF_ONE, LEVELS_OF_TWO = 24 * 4, 4  # quarter octaves from 2^-24 to 1, and in a doubling


def subset_bits(n: int, k: int) -> float:
    """log2 of the number of ways to choose k of n."""
    return (math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)) / math.log(2)


def kinds_bits(counts: Iterable[int]) -> float:
    """Bits of a sequence of kinds, each of which stands there so often; of the counts too."""
    held = list(counts)
    total, walls = sum(held), max(len(held), 1) - 1
    orders = math.lgamma(total + 1) - sum(math.lgamma(count + 1) for count in held)
    return orders / math.log(2) + subset_bits(total + walls, walls)


def gamma_bits(number: int) -> float:
    """Bits of a whole number on its own, by Elias' code, and its sign."""
    return 1.0 if number == 0 else 2 * abs(number).bit_length() + 1


def integer_bits(values: Array) -> float:
    """Bits of integers or truth values: each in the width of the largest, or as runs."""
    if not len(values):
        return 0.0
    values = values.astype(np.int64)
    least, most = int(values.min()), int(values.max())
    width = (most - least).bit_length()
    plain = gamma_bits(least) + gamma_bits(width) + len(values) * width
    steps = np.diff(values)
    runs = 1 + int(np.count_nonzero(np.diff(steps))) if len(steps) else 1
    run = width + gamma_bits(int(np.abs(steps).max(initial=0))) + gamma_bits(len(values))
    return 1 + min(plain, gamma_bits(least) + gamma_bits(width) + runs * run)


def float_bits(values: Floats) -> float:
    """Bits of float parameters: the distinct ones, -0 and 0 too, and which stands where."""
    distinct = len(np.unique(values.view(np.uint32)))
    places = 0.0 if distinct == len(values) else len(values) * math.log2(max(distinct, 1))
    return min(FLOAT * distinct + places, FLOAT * len(values))


def scale_bits(scales: Floats) -> float:
    """Bits of floats that are alike in size: exponents within their span, fractions, signs."""
    if not len(scales):
        return 0.0
    exponents = scales.view(np.uint32) >> np.uint32(FRACTION) & np.uint32(255)
    span = int(exponents.max() - exponents.min()) + 1
    signs = kinds_bits([int(np.signbit(scales).sum()), int((~np.signbit(scales)).sum())])
    return 8 + gamma_bits(span) + signs + len(scales) * (FRACTION + math.log2(span))


def level_bits(values: Floats, factors: Doubles) -> Doubles:
    """Bits of each of some floats by which value · factor is nearly a level of constants, [N].

    A level is ±2^(d/4 - 24), d up to MAX_LEVEL: the value is told by d, its sign and how many
    floats it is away from what that level and its factor make, which are known.
    """
    exact = np.abs(values.astype(np.float64) * factors)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        level = np.rint(LEVELS_OF_TWO * np.log2(exact) + LEVELS_OF_ONE)
        level = np.nan_to_num(level).clip(0, MAX_LEVEL)
        nearest = (2.0 ** (level / LEVELS_OF_TWO) / 2**24 / np.abs(factors)).astype(np.float32)
    places = [np.abs(floats).view(np.int32).astype(np.int64) for floats in (values, nearest)]
    away = [gamma_bits(int(distance)) for distance in places[0] - places[1]]
    return 1 + math.log2(MAX_LEVEL + 1) + np.array(away)
