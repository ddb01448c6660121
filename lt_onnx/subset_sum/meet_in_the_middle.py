"""The smallest rule by meeting in the middle, for problems with few answers, or none.

Every subset is a part of the first elements and a part of the others. Their sums give each error up
to rounding; the subsets that rounding could put first are summed anew, element by element, in the
order of the package.
"""

from typing import TypeAlias

import numpy as np

from lt_onnx.subset_sum.lanes import LANES, inner, lowest, within
from lt_onnx.subset_sum.limits import MAX_EXHAUSTIVE_SIZE
from lt_onnx.subset_sum.objective import INFINITE, bits_of, float_of
from lt_onnx.subset_sum.problem import Floats, Places

UNEVEN = 4  # elements that the first part has more than the second, for longer loops
ROUNDING = np.float32(4e-6)  # of Σ|x| + |z|: more than two orders of summation can differ by

# scratch space: sums of all subsets of either part, and the bits of the least error with each sum
# of the second
Halves: TypeAlias = tuple[Floats, Floats, Places]


@inner
def no_halves() -> Halves:
    """Scratch space of one thread."""
    lows = 1 << (MAX_EXHAUSTIVE_SIZE + UNEVEN) // 2
    highs = 1 << (MAX_EXHAUSTIVE_SIZE - UNEVEN) // 2
    return (
        np.empty(lows + LANES, np.float32),
        np.empty(highs, np.float32),
        np.empty(highs, np.int32),
    )


@inner
def left(x: Floats, z: np.float32, mask: np.uint32) -> np.float32:
    """What is left of z when the elements of `mask` are taken from it, ascending."""
    while mask:
        z -= x[lowest(mask)]
        mask &= mask - np.uint32(1)
    return z


@inner
def _sum_subsets(x: Floats, out: Floats) -> int:
    """Sums of all subsets of x, by mask; returns how many."""
    out[0] = np.float32(0)
    count = 1
    for s in range(len(x)):
        for i in range(count):
            out[count + i] = out[i] + x[s]
        count *= 2
    return count


@inner
def _least_error(rest: np.float32, sums: Floats, count: int) -> np.int32:
    """Bits of the least |rest - sum| of sums[:count]."""
    least = INFINITE
    for i in range(count):
        least = min(least, bits_of(abs(rest - sums[i])))
    return least


@inner
def _popcount(mask: np.uint32) -> int:
    count = 0
    while mask:
        mask &= mask - np.uint32(1)
        count += 1
    return count


@inner
def _before(mask: np.uint32, other: np.uint32) -> bool:
    """Whether `mask` comes first in order of (size, lexicographic)."""
    size, other_size = _popcount(mask), _popcount(other)
    if size != other_size:
        return size < other_size
    apart = mask ^ other
    first = apart & (~apart + np.uint32(1))  # the first element in which they differ
    return bool(mask & first)


@inner
def smallest_of_all(
    x: Floats, z: np.float32, tolerance: np.float32, halves: Halves
) -> tuple[np.uint32, np.float32]:
    """First subset in order of (size, lexicographic) within `tolerance`, else the closest one."""
    low, high, closest = halves
    m = len(x)
    half = min((m + UNEVEN) // 2, m)
    lows, highs = _sum_subsets(x[:half], low), _sum_subsets(x[half:], high)
    for i in range(lows, lows + LANES):
        low[i] = np.inf
    least = INFINITE
    for h in range(highs):
        closest[h] = _least_error(z - high[h], low, lows)
        least = min(least, closest[h])
    scale = abs(z)
    for s in range(m):
        scale += abs(x[s])
    reach = max(float_of(least), tolerance) + ROUNDING * scale
    best, best_error = np.uint32(0), z
    for h in range(highs):
        if float_of(closest[h]) > reach:
            continue
        for start in range(0, lows, LANES):
            bits = within(low, start, z - high[h], reach)
            while bits:
                mask = np.uint32(h << half | start + lowest(bits))
                bits &= bits - np.uint32(1)
                error = left(x, z, mask)
                # errors within the tolerance are as good as each other
                rank, best_rank = max(abs(error), tolerance), max(abs(best_error), tolerance)
                if rank < best_rank or (rank == best_rank and _before(mask, best)):
                    best, best_error = mask, error
    return best, best_error
