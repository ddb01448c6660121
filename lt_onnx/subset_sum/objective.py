"""The objective of one problem, in bits, and what is certain to be above its least.

Values are ≥ 0, and such floats are ordered like their bit patterns: minima are taken over integers,
which compilers vectorise without being allowed to change a single bit.
"""

import numpy as np

from lt_onnx.subset_sum.lanes import inner
from lt_onnx.subset_sum.problem import Floats

INFINITE = np.int32(0x7F800000)  # the bits of float32 infinity


@inner
def bits_of(value: np.float32) -> np.int32:
    """The bit pattern of a float32."""
    return np.float32(value).view(np.int32)


@inner
def float_of(bits: np.int32) -> np.float32:
    """The float32 of a bit pattern."""
    return np.int32(bits).view(np.float32)


@inner
def least(
    z: np.float32,
    a: np.float32,
    cost: np.float32,
    sums: Floats,
    costs: Floats,
    count: int | np.int64,
) -> np.int32:
    """Bits of the least objective when one of sums[:count] is added to a subset of that cost."""
    best = INFINITE
    for i in range(count):
        error = z - sums[i]
        best = min(best, bits_of(a * (error * error) + (cost + costs[i])))
    return best


@inner
def upper_bound(x: Floats, z: np.float32, a: np.float32, p: Floats) -> np.float32:
    """A little above the objective of the best subset of at most two elements."""
    best = bits_of(a * (z * z))
    for i in range(len(x)):
        rest = z - x[i]
        best = min(best, bits_of(a * (rest * rest) + p[i]))
        best = min(best, least(rest, a, p[i], x, p, i))
    # the same subset is summed in another order elsewhere
    return above(float_of(best), a, np.float32(1e-6) * reach(x, z))


@inner
def reach(x: Floats, z: np.float32) -> np.float32:
    """|z| + Σ |x|: no sum is larger, and rounding is a share of it."""
    total = abs(z)
    for i in range(len(x)):
        total += abs(x[i])
    return total


@inner
def above(value: np.float32, a: np.float32, slack: np.float32) -> np.float32:
    """What an objective of `value` is at most if its error were larger by `slack`."""
    margin = slack * (a * slack + np.float32(2) * np.sqrt(a * value))
    more: np.float32 = value * np.float32(1.00001) + margin
    return more
