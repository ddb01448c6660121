"""The oracle: one problem at a time, obviously right, in the arithmetic that all devices follow.

Float32 throughout, each operation rounded once, no fused multiply-add:

- up to `EXACT` elements, the sum of S is  high + low  where low runs over the first M//2 elements
  and high over the others, each summed in ascending order; the error is (z − high) − low and the
  objective a·(error·error) + (p_high + p_low);
- beyond, and always for `smallest`, the elements are taken from z one by one in ascending order.
"""

from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lt_onnx.subset_sum.problem import EXACT, size_limit

Floats = NDArray[np.float32]


def smallest(x: Floats, z: np.float32, tolerance: np.float32) -> tuple[int, np.float32]:
    """First subset in order of (size, lexicographic) within `tolerance`, else the closest one."""
    best_mask, best_error = 0, np.float32(z)
    for size in range(size_limit(len(x)) + 1):
        for subset in combinations(range(len(x)), size):
            error = _rest(z, x, subset)
            if abs(error) <= tolerance:
                return _mask(subset), error
            if abs(error) < abs(best_error):
                best_mask, best_error = _mask(subset), error
    return best_mask, best_error


def full(x: Floats, z: np.float32, a: np.float32, p: Floats) -> tuple[int, np.float32]:
    """Subset of the lowest objective; ties go to the lowest mask."""
    m = len(x)
    best: tuple[np.float32, int, np.float32] | None = None
    for mask in range(1 << m):
        subset = [s for s in range(m) if mask >> s & 1]
        if len(subset) > size_limit(m):
            continue
        if m <= EXACT:
            low = [s for s in subset if s < m // 2]
            high = [s for s in subset if s >= m // 2]
            error = np.float32(np.float32(z - _sum(x, high)) - _sum(x, low))
            cost = np.float32(_sum(p, high) + _sum(p, low))
        else:
            error = _rest(z, x, subset)
            cost = _sum(p, subset)
        value = np.float32(np.float32(a * np.float32(error * error)) + cost)
        if best is None or value < best[0]:
            best = (value, mask, error)
    assert best is not None
    return best[1], best[2]


def _sum(values: Floats, subset: list[int] | tuple[int, ...]) -> np.float32:
    total = np.float32(0)
    for s in subset:
        total = np.float32(total + values[s])
    return total


def _rest(z: np.float32, x: Floats, subset: list[int] | tuple[int, ...]) -> np.float32:
    left = np.float32(z)
    for s in subset:
        left = np.float32(left - x[s])
    return left


def _mask(subset: tuple[int, ...]) -> int:
    return sum(1 << s for s in subset)
