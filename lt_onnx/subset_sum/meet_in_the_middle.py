"""The smallest rule by meeting in the middle, for problems with few answers, or none.

Every subset is a part of the first half of the elements and a part of the second. Their sums give
each error up to rounding; the subsets that rounding could put first are summed anew, element by
element, in the order of the package.
"""

from typing import TypeAlias

import numba
import numpy as np

from lt_onnx.subset_sum.full import INFINITE, MAX_HALVES, bits_of, float_of
from lt_onnx.subset_sum.problem import Floats, Indices, Masks, Places

ROUNDING = np.float32(4e-6)  # of Σ|x| + |z|: more than two orders of summation can differ by

# independent problems of rows: base [R, L], group [R], index and gain [G, N, M] as in `Rows`,
# z [R · N]; number b is problem b mod N of row b ÷ N
Batch: TypeAlias = tuple[Floats, Indices, Places, Floats, Floats]


@numba.njit()
def _sum_subsets(x: Floats, out: Floats) -> int:
    """Sums of all subsets of x, by mask; returns how many."""
    out[0] = np.float32(0)
    count = 1
    for s in range(len(x)):
        for i in range(count):
            out[count + i] = out[i] + x[s]
        count *= 2
    return count


@numba.njit()
def _least_error(rest: np.float32, sums: Floats, count: int) -> np.int32:
    """Bits of the least |rest - sum| of sums[:count]."""
    least = INFINITE
    for i in range(count):
        least = min(least, bits_of(abs(rest - sums[i])))
    return least


@numba.njit()
def _popcount(mask: np.uint32) -> int:
    count = 0
    while mask:
        mask &= mask - np.uint32(1)
        count += 1
    return count


@numba.njit()
def _before(mask: np.uint32, other: np.uint32) -> bool:
    """Whether `mask` comes first in order of (size, lexicographic)."""
    size, other_size = _popcount(mask), _popcount(other)
    if size != other_size:
        return size < other_size
    apart = mask ^ other
    first = apart & (~apart + np.uint32(1))  # the first element in which they differ
    return bool(mask & first)


@numba.njit()
def _smallest(
    x: Floats, z: np.float32, tolerance: np.float32, low: Floats, high: Floats, closest: Places
) -> tuple[np.uint32, np.float32]:
    """First subset in order of (size, lexicographic) within `tolerance`, else the closest one.

    Scratch space [MAX_HALVES]: sums of all subsets of either half, and the bits of the least error
    with each sum of `high`.
    """
    m = len(x)
    half = m // 2
    lows, highs = _sum_subsets(x[:half], low), _sum_subsets(x[half:], high)
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
        for i in range(lows):
            if abs(z - high[h] - low[i]) > reach:
                continue
            mask = np.uint32(h << half | i)
            error = z
            for s in range(m):
                if mask >> np.uint32(s) & np.uint32(1):
                    error -= x[s]
            # errors within the tolerance are as good as each other
            rank, best_rank = max(abs(error), tolerance), max(abs(best_error), tolerance)
            if rank < best_rank or (rank == best_rank and _before(mask, best)):
                best, best_error = mask, error
    return best, best_error


@numba.njit(cache=True, nogil=True)
def smallest_of_all(
    batch: Batch, tolerance: np.float32, mask: Masks, residual: Floats, numbers: Indices
) -> None:
    """Answer the problems `numbers` of a batch, of at most MAX_EXHAUSTIVE_SIZE elements each."""
    base, group, index, gain, z = batch
    _, n, m = index.shape
    x = np.empty(m, np.float32)
    low, high = np.empty(MAX_HALVES, np.float32), np.empty(MAX_HALVES, np.float32)
    closest = np.empty(MAX_HALVES, np.int32)
    for b in numbers:
        r, k = b // n, b % n
        g = group[r]
        for s in range(m):
            x[s] = base[r, max(index[g, k, s], 0)] * gain[g, k, s]
        mask[b], residual[b] = _smallest(x, z[b], tolerance, low, high, closest)
