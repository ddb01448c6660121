"""Plain searches that `bench.py` times beside the solver: what one writes first.

`plain_smallest`, `plain_best`: Python and itertools, as the paper's pseudo-code reads. `scalar_…`:
the textbook loops in Numba, one problem after another, all cores over problems or rows.
"""

from collections.abc import Sequence
from itertools import combinations

import numba
import numpy as np


def plain_smallest(x: Sequence[float], z: float, tolerance: float) -> tuple[int, ...]:
    """Algorithm 1's inner step: the first subset, by size, whose sum is within the tolerance."""
    best: tuple[int, ...] = ()
    best_error = abs(z)
    for size in range(1, len(x) + 1):
        for subset in combinations(range(len(x)), size):
            error = abs(z - sum(x[s] for s in subset))
            if error <= tolerance:
                return subset
            if error < best_error:
                best, best_error = subset, error
    return best


def plain_full(x: Sequence[float], z: float, a: float, p: Sequence[float]) -> tuple[int, ...]:
    """The subset of the lowest a·(z − Σx)² + Σp."""
    best: tuple[int, ...] = ()
    lowest = a * z * z
    for size in range(1, len(x) + 1):
        for subset in combinations(range(len(x)), size):
            value = a * (z - sum(x[s] for s in subset)) ** 2 + sum(p[s] for s in subset)
            if value < lowest:
                best, lowest = subset, value
    return best


@numba.njit(cache=True)
def _smallest(x, z, tolerance, chosen, rest):  # type: ignore[no-untyped-def]
    """Ascending size, lexicographic, early exit, partial sums kept: (mask, subsets visited)."""
    m = x.size
    best_mask, best_error, visited = np.uint32(0), abs(z), 1
    if best_error <= tolerance:
        return best_mask, visited
    rest[0] = z
    for size in range(1, m + 1):
        depth, start = 0, 0
        while True:
            if depth == size - 1:
                left = rest[depth]
                for last in range(start, m):
                    error = abs(left - x[last])
                    visited += 1
                    if error < best_error:
                        best_error = error
                        best_mask = np.uint32(1) << np.uint32(last)
                        for i in range(depth):
                            best_mask |= np.uint32(1) << np.uint32(chosen[i])
                        if error <= tolerance:
                            return best_mask, visited
            elif m - start >= size - depth:
                rest[depth + 1] = rest[depth] - x[start]
                chosen[depth] = start
                depth += 1
                start += 1
                continue
            if depth == 0:
                break
            depth -= 1
            start = chosen[depth] + 1
    return best_mask, visited


@numba.njit(cache=True)
def _gray(x, z, a, p):  # type: ignore[no-untyped-def]
    """All subsets in Gray-code order: the mask of the lowest objective."""
    best, best_mask, mask = a * (z * z), 0, 0
    total, cost = np.float32(0), np.float32(0)
    for i in range(1, 1 << x.size):
        bit, j = 0, i
        while j & 1 == 0:
            j >>= 1
            bit += 1
        if mask >> bit & 1:
            total -= x[bit]
            cost -= p[bit]
        else:
            total += x[bit]
            cost += p[bit]
        mask ^= 1 << bit
        error = z - total
        value = a * (error * error) + cost
        if value < best:
            best, best_mask = value, mask
    return best_mask


@numba.njit(cache=True, parallel=True)
def scalar_smallest(x, z, tolerance):  # type: ignore[no-untyped-def]
    """Masks and subsets visited, [B] each."""
    masks, visited = np.empty(z.size, np.uint32), np.empty(z.size, np.int64)
    for part in numba.prange(256):
        chosen, rest = np.empty(x.shape[1], np.int64), np.empty(x.shape[1] + 1, np.float32)
        for b in range(part * z.size // 256, (part + 1) * z.size // 256):
            masks[b], visited[b] = _smallest(x[b], z[b], tolerance, chosen, rest)
    return masks, visited


@numba.njit(cache=True, parallel=True)
def scalar_full(x, z, a, p):  # type: ignore[no-untyped-def]
    """Masks, [B]."""
    masks = np.empty(z.size, np.uint32)
    for b in numba.prange(z.size):
        masks[b] = _gray(x[b], z[b], a[b], p[b])
    return masks


@numba.njit(cache=True, parallel=True)
def scalar_rows(base, z, rows):  # type: ignore[no-untyped-def]
    """Rows with feedback, each error passed on at once: masks [R, N].

    `rows` are the fields of `Rows`, in their order, of the one group.
    """
    index, gain, weight, noise, price, order, upper = rows
    count, n = z.shape
    m = index.shape[1]
    masks = np.zeros((count, n), np.uint32)
    for r in numba.prange(count):
        rest = z[r][order]
        x, p = np.empty(m, np.float32), np.empty(m, np.float32)
        for t in range(n):
            k = order[t]
            error = rest[t]
            if z[r, k] != 0:
                for s in range(m):
                    x[s] = base[r, index[k, s]] * gain[k, s]
                    p[s] = x[s] * x[s] * noise[k, s] + price[k]
                masks[r, k] = _gray(x, rest[t], weight[k], p)
                for s in range(m):
                    if masks[r, k] >> np.uint32(s) & np.uint32(1):
                        error -= x[s]
            for later in range(t + 1, n):
                rest[later] -= error / upper[t, t] * upper[t, later]
    return masks


@numba.njit(cache=True, parallel=True)
def brute_full(x, z, a, p):  # type: ignore[no-untyped-def]
    """Every subset of at most 20 elements, in the solver's arithmetic: masks and errors, [B]."""
    count, m = x.shape
    half = m // 2
    masks, errors = np.empty(count, np.uint32), np.empty(count, np.float32)
    for b in numba.prange(count):
        sums = np.zeros((2, 1 << (m - half)), np.float32)
        costs = np.zeros((2, 1 << (m - half)), np.float32)
        for side in range(2):
            first, last = (0, half) if side == 0 else (half, m)
            for mask in range(1 << (last - first)):
                for s in range(last - first):
                    if mask >> s & 1:
                        sums[side, mask] += x[b, first + s]
                        costs[side, mask] += p[b, first + s]
        best = np.float32(np.inf)
        masks[b], errors[b] = 0, z[b]
        for mask in range(1 << m):
            low, high = mask & ((1 << half) - 1), mask >> half
            error = (z[b] - sums[1, high]) - sums[0, low]
            value = a[b] * (error * error) + (costs[1, high] + costs[0, low])
            if value < best:
                best = value
                masks[b], errors[b] = mask, error
    return masks, errors
