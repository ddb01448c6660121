"""The full objective among subsets of at most so many elements, for large base sets.

Subsets of either half of the elements are listed by size, those alone that cost no more than the
best subset of two elements. A subset of at most `limit` is a pair of sizes that are so together:
few parts of the shorter kind, each compared with a run of the list of the other half. These sums
give every objective up to rounding; what rounding could put first is summed anew, in the order of
the package.
"""

from math import comb
from typing import TypeAlias

import numpy as np

from lt_onnx.subset_sum.lanes import LANES, inner, lowest
from lt_onnx.subset_sum.limits import MAX_EXHAUSTIVE_SIZE, size_limit
from lt_onnx.subset_sum.objective import above, bits_of, float_of, least, reach
from lt_onnx.subset_sum.problem import Floats, Indices, Masks

MAX_ELEMENTS = 32
MAX_LISTED = (
    max(  # subsets of a half: all of those that are exhausted, of others as many as allowed
        sum(comb(m - m // 2, size) for size in range(size_limit(m) + 1))
        for m in range(MAX_EXHAUSTIVE_SIZE, MAX_ELEMENTS + 1)
    )
)
RUN = 256  # of a list, gone through one by one where something in it may be best
ROUNDING = np.float32(4e-6)  # of |z| + Σ|x|: twice what two orders of summation can differ by

# scratch space, of both halves: sums, costs and masks of subsets, [2, MAX_LISTED + LANES]; where
# those of a size end, [2, MAX_ELEMENTS + 1]; the least objective with each, [2, MAX_LISTED]
Lists: TypeAlias = tuple[Floats, Floats, Masks, Indices, Floats]


def no_lists() -> Lists:
    """Scratch space of one thread."""
    shape = (2, MAX_LISTED + LANES)
    sums, costs = np.empty(shape, np.float32), np.empty(shape, np.float32)
    ends = np.empty((2, MAX_ELEMENTS + 1), np.int64)
    return sums, costs, np.empty(shape, np.uint32), ends, np.empty((2, MAX_LISTED), np.float32)


@inner
def _list(x: Floats, p: Floats, half: np.int64, cap: np.float32, limit: int, out: Lists) -> None:
    """List the subsets of the first (`half` 0) or last (1) elements that cost at most `cap`."""
    sums, costs, masks, ends = out[0][half], out[1][half], out[2][half], out[3][half]
    middle = len(x) // 2
    first, last = (middle, len(x)) if half else (0, middle)
    sums[0] = np.float32(0)
    costs[0] = np.float32(0)
    masks[0] = np.uint32(0)
    ends[0] = 1
    start, count = 0, 1
    for size in range(1, limit + 1):
        for i in range(start, ends[size - 1]):  # and an element before all of those
            for s in range(first, lowest(masks[i]) if masks[i] else last):
                cost = costs[i] + p[s]
                sums[count] = sums[i] + x[s]
                costs[count] = cost
                masks[count] = masks[i] | np.uint32(1) << np.uint32(s)
                count += cost <= cap
        start = ends[size - 1]
        ends[size] = count


@inner
def best_by_size(
    x: Floats, z: np.float32, a: np.float32, p: Floats, cap: np.float32, limit: int, lists: Lists
) -> tuple[np.uint32, np.float32]:
    """Mask and error of the lowest objective among subsets of at most `limit` elements.

    The lowest mask if several tie. `cap` is `upper_bound` of the problem.
    """
    sums, costs, masks, ends, found = lists
    _list(x, p, np.int64(0), cap, limit, lists)
    _list(x, p, np.int64(1), cap, limit, lists)
    best, few = bits_of(cap), limit // 2
    for half in range(2):  # every part that is small, with what may go with it of the other half
        one = 1 - half
        for size in range(few + 1 if half else limit - few):
            start = 0 if half else ends[one, few]
            count = ends[one, limit - size] - start
            others = sums[one, start:], costs[one, start:]
            for i in range(ends[half, size - 1] if size else 0, ends[half, size]):
                found[half, i] = np.inf
                if bits_of(costs[half, i]) <= best:
                    rest = z - sums[half, i]
                    value = least(rest, a, costs[half, i], others[0], others[1], count)
                    found[half, i] = float_of(value)
                    best = min(best, value)
    most = above(float_of(best), a, ROUNDING * reach(x, z))
    chosen, left, value = np.uint32(0), z, bits_of(a * (z * z))
    for half in range(2):
        one = 1 - half
        for size in range(few + 1 if half else limit - few):
            begin, end = 0 if half else ends[one, few], ends[one, limit - size]
            for i in range(ends[half, size - 1] if size else 0, ends[half, size]):
                if found[half, i] > most:
                    continue
                rest, cost = z - sums[half, i], costs[half, i]
                for start in range(begin, end, RUN):
                    stop = min(start + RUN, end)
                    near, dear = sums[one, start:], costs[one, start:]
                    if float_of(least(rest, a, cost, near, dear, stop - start)) > most:
                        continue
                    for k in range(start, stop):
                        error = rest - sums[one, k]
                        if a * (error * error) + (cost + costs[one, k]) <= most:
                            mask = masks[half, i] | masks[one, k]
                            error, own = _objective(x, z, a, p, mask)
                            if own < value or (own == value and mask < chosen):
                                chosen, left, value = mask, error, own
    return chosen, left


@inner
def _objective(
    x: Floats, z: np.float32, a: np.float32, p: Floats, mask: np.uint32
) -> tuple[np.float32, np.int32]:
    """Error and bits of the objective of a subset, its elements taken from z in their order."""
    cost = np.float32(0)
    while mask:
        s = lowest(mask)
        z -= x[s]
        cost += p[s]
        mask &= mask - np.uint32(1)
    return z, bits_of(a * (z * z) + cost)
