"""The closest subset where elements cost nothing, by two sorted lists that are gone through once.

2^(M/2+1) pairs of halves are compared instead of 2^M, one after another: faster than vectors from
SORTED elements on, see `tools/borders.py`. Float addition is monotone, rounding included: a larger
part gives no smaller sum, so that lists of sums merge sorted, and no pair that is passed over is
closer than the one before.
"""

import numpy as np

from lt_onnx.subset_sum.lanes import LANES, inner, lowest, within
from lt_onnx.subset_sum.problem import Floats

SORTED = 18  # elements from which on this is faster than comparing all pairs


@inner
def sort_sums(x: Floats, first: int | np.int64, last: int | np.int64, space: Floats) -> int:
    """Sort the sums of all subsets of x[first:last]; returns which row of `space` they are in.

    A sum is that of one element less, or that and the element: two sorted lists, merged.
    """
    now, count = 0, 1
    space[0, 0] = 0
    for s in range(first, last):
        space[now, count] = np.inf
        one = other = 0
        for k in range(2 * count):
            without, added = space[now, one], space[now, other] + x[s]
            taken = without <= added
            space[1 - now, k] = without if taken else added
            one += taken
            other += not taken
        count *= 2
        now = 1 - now
    return now


@inner
def least_error(z: np.float32, low: Floats, high: Floats, lows: int, highs: int) -> np.float32:
    """The least |error| of a pair of sorted sums."""
    least = np.float32(np.inf)
    h, i = 0, lows - 1
    while h < highs and i >= 0:
        error = (z - high[h]) - low[i]
        least = min(least, abs(error))
        over = error < 0  # so is every later pair of this low one, by more
        i -= over
        h += not over
    return least


@inner
def _place(number: np.float32, values: Floats, count: int) -> np.uint32:
    """Where a number first stands among `count` values; 0 if it does not, as NaN."""
    for start in range(0, count, LANES):
        bits = within(values, start, number, np.float32(0))
        if bits:
            return np.uint32(start + lowest(bits))
    return np.uint32(0)


@inner
def closest(
    x: Floats, z: np.float32, a: np.float32, sums: Floats, space: Floats
) -> tuple[np.uint32, np.float32]:
    """Mask and error of the lowest a · error²; the lowest mask if several tie.

    `sums` [2, …] of either half by ascending mask; scratch space [4, …].
    """
    half = len(x) // 2
    lows, highs = 1 << half, 1 << (len(x) - half)
    low = space[sort_sums(x, np.int64(0), half, space[:2])]
    high = space[2 + sort_sums(x, half, len(x), space[2:])]
    least = least_error(z, low, high, lows, highs)
    best = a * (least * least)
    reach = least * np.float32(1.000001) + np.float32(1e-30)
    while a * (reach * reach) <= best and reach < np.inf:  # other errors may have the same square
        reach *= np.float32(2)
    mask, left = np.uint32(0xFFFFFFFF), z
    top = lows - 1
    for h in range(highs):
        if h and high[h] == high[h - 1]:
            continue
        rest = z - high[h]
        while top >= 0 and rest - low[top] < -reach:
            top -= 1
        i = top
        while i >= 0 and rest - low[i] <= reach:
            error = rest - low[i]
            if a * (error * error) == best and (i == top or low[i] != low[i + 1]):
                found = _place(high[h], sums[1], highs) << np.uint32(half)
                found |= _place(low[i], sums[0], lows)
                if found < mask:
                    mask, left = found, error
            i -= 1
    return mask, left
