"""`smallest` by meeting in the middle, one problem at a time: for those with few answers, or none.

Every subset is a part of the first half of the elements and a part of the second. Their sums give
each error up to rounding; the subsets that rounding could put first are summed anew, element by
element, as `reference` does.
"""

import numba
import numpy as np

from lt_onnx.subset_sum.full import HALF, INFINITE, bits_of, float_of

ROUNDING = np.float32(4e-6)  # of Σ|x| + |z|: more than two orders of summation can differ by
CHUNKS = 64


@numba.njit(cache=True)
def _sums(x, out):  # type: ignore[no-untyped-def]
    """Sums of all subsets of x, by mask; returns how many."""
    out[0] = np.float32(0)
    count = 1
    for s in range(len(x)):
        for i in range(count):
            out[count + i] = out[i] + x[s]
        count *= 2
    return count


@numba.njit(cache=True)
def _nearest_sum(rest, sums, count):  # type: ignore[no-untyped-def]
    """Bits of the least |rest - sum|."""
    least = INFINITE
    for i in range(count):
        least = min(least, bits_of(abs(rest - sums[i])))
    return least


@numba.njit(cache=True)
def _popcount(mask):  # type: ignore[no-untyped-def]
    count = 0
    while mask:
        mask &= mask - np.uint32(1)
        count += 1
    return count


@numba.njit(cache=True)
def _before(mask, other):  # type: ignore[no-untyped-def]
    """Whether `mask` comes first in order of (size, lexicographic)."""
    size, other_size = _popcount(mask), _popcount(other)
    if size != other_size:
        return size < other_size
    apart = mask ^ other
    return mask & apart & (~apart + np.uint32(1)) != 0  # the first element in which they differ


@numba.njit(cache=True)
def _smallest(x, z, tolerance, low, high, closest):  # type: ignore[no-untyped-def]
    """First subset in order of (size, lexicographic) within `tolerance`, else the closest one.

    `low`, `high` and `closest` are scratch arrays of shape [HALF].
    """
    m = len(x)
    half = m // 2
    lows, highs = _sums(x[:half], low), _sums(x[half:], high)
    least = INFINITE
    for h in range(highs):
        closest[h] = _nearest_sum(z - high[h], low, lows)
        least = min(least, closest[h])
    scale = abs(z)
    for s in range(m):
        scale += abs(x[s])
    reach = max(float_of(least), tolerance) + ROUNDING * scale
    best, error = np.uint32(0), z
    for h in range(highs):
        if float_of(closest[h]) > reach:
            continue
        for i in range(lows):
            if abs(z - high[h] - low[i]) > reach:
                continue
            mask = np.uint32(h << half | i)
            off = z
            for s in range(m):
                if mask >> np.uint32(s) & np.uint32(1):
                    off -= x[s]
            # errors within the tolerance are as good as each other
            rank, best_rank = max(abs(off), tolerance), max(abs(error), tolerance)
            if rank < best_rank or (rank == best_rank and _before(mask, best)):
                best, error = mask, off
    return best, error


@numba.njit(cache=True, parallel=True)
def smallest_of_all(base, index, gain, z, tolerance, problems, mask, error):  # type: ignore[no-untyped-def]
    """Answer the given problems of base sets base[r, index[k]] · gain[k], flat over (r, k)."""
    n, m = index.shape
    count = len(problems)
    for part in numba.prange(CHUNKS):
        x = np.empty(m, np.float32)
        low, high = np.empty(HALF, np.float32), np.empty(HALF, np.float32)
        closest = np.empty(HALF, np.int32)
        for at in range(part * count // CHUNKS, (part + 1) * count // CHUNKS):
            b = problems[at]
            r, k = b // n, b % n
            for s in range(m):
                x[s] = base[r, max(index[k, s], 0)] * gain[k, s]
            mask[b], error[b] = _smallest(x, z[b], tolerance, low, high, closest)
