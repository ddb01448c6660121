"""Which goals a subset stands for: those that the noise-aware rule answers with it.

A subset S of k members and sum s is chosen for the goals z at which (z - s)² + ρ·k is least: the
cell of S, an interval. Numbers are whole, in units of 2^-23, so that all of this is exact in
float64: goals |z| ≤ 2^25, members |x| ≤ 2^23, prices ρ ≤ 2^47, at most 6 members.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from lt_onnx.target import Doubles

UNIT = 2.0**23
FURTHEST = 2.0**25  # goal
MAX_MEMBERS = 6  # of a subset that has a cell
BUCKETS = 128  # that say where in the order numbers begin


class Members(NamedTuple):
    """A base set in rising order, and room for what is sought in it; its arrays are written to."""

    x: Doubles  # [m]
    bit: NDArray[np.int64]  # [m]  of each in a mask
    first: NDArray[np.int64]  # [BUCKETS + 1]  of each bucket
    chosen: NDArray[np.int64]  # places of all members of a subset but the last
    window: Doubles  # [2, 2]  first and last sum that is of interest


def members(count: int) -> Members:
    """Room for base sets of so many."""
    return Members(
        np.zeros(count),
        np.zeros(count, np.int64),
        np.zeros(BUCKETS + 1, np.int64),
        np.zeros(MAX_MEMBERS, np.int64),
        np.zeros((2, 2)),
    )


@numba.njit(cache=True, nogil=True)
def order(own, numbers):  # type: ignore[no-untyped-def]
    """Make `numbers` [m] the base set."""
    count = numbers.size
    for i in range(count):
        value, at = np.float64(numbers[i]), i
        while at and own.x[at - 1] > value:
            own.x[at], own.bit[at] = own.x[at - 1], own.bit[at - 1]
            at -= 1
        own.x[at], own.bit[at] = value, np.int64(1) << i
    at = 0
    for bucket in range(BUCKETS + 1):
        while at < count and own.x[at] < bucket * (2 * UNIT / BUCKETS) - UNIT:
            at += 1
        own.first[bucket] = at


@numba.njit(cache=True, nogil=True)
def _from(own, value, least):  # type: ignore[no-untyped-def]
    """The first place from `least` on whose number is not below `value`."""
    bucket = min(max(int((value + UNIT) * (BUCKETS / (2 * UNIT))), 0), BUCKETS)
    at = max(own.first[max(bucket - 1, 0)], least)
    while at < own.x.size and own.x[at] < value:
        at += 1
    return at


@numba.njit(cache=True, nogil=True)
def _next(chosen, count, members):  # type: ignore[no-untyped-def]
    """Go on to the next `count` places of `members`, in rising order; whether there are any."""
    at = count - 1
    while at >= 0 and chosen[at] == members - count + at:
        at -= 1
    if at < 0:
        return False
    chosen[at] += 1
    for i in range(at + 1, count):
        chosen[i] = chosen[i - 1] + 1
    return True


@numba.njit(cache=True, nogil=True)
def _first(chosen, count):  # type: ignore[no-untyped-def]
    """The first `count` places; their sum is that of `_begun`."""
    for i in range(count):
        chosen[i] = i


@numba.njit(cache=True, nogil=True)
def _begun(own, count):  # type: ignore[no-untyped-def]
    """Sum and mask of the chosen members."""
    total, mask = 0.0, np.int64(0)
    for i in range(count):
        total += own.x[own.chosen[i]]
        mask |= own.bit[own.chosen[i]]
    return total, mask


@numba.njit(cache=True, nogil=True)
def _room(own, which, center, square):  # type: ignore[no-untyped-def]
    """Look for sums within √square of `center`, and for none where that is negative."""
    radius = np.sqrt(square) + 2 if square >= 0 else -(2.0**40)
    own.window[which, 0], own.window[which, 1] = center - radius, center + radius


@numba.njit(cache=True, nogil=True)
def cell_of(own, most, price, mask):  # type: ignore[no-untyped-def]
    """The goals low … high-1 of a subset of `most` members or fewer; high ≤ low: it has none.

    Subsets of the same sum and size have none, either.
    """
    count, s, k = own.x.size, 0.0, 0
    for i in range(count):
        if own.bit[i] & mask:
            s += own.x[i]
            k += 1
    h, low, high = s * s + price * k, -FURTHEST, FURTHEST
    if k > most or (k and s == 0):
        return 0.0, 0.0
    if k and s > 0:
        low = np.ceil(h / (2 * s))
    elif k:
        high = np.ceil(h / (2 * s))
    for size in range(1, min(most, count) + 1):
        _room(own, 0, high, (high - s) * (high - s) + price * (k - size))
        _room(own, 1, low, (low - s) * (low - s) + price * (k - size))
        if own.window[0, 1] < own.window[0, 0] and own.window[1, 1] < own.window[1, 0]:
            continue
        _first(own.chosen, size - 1)
        more = True
        while more:
            begun, before = _begun(own, size - 1)
            least = own.chosen[size - 2] + 1 if size > 1 else 0
            for side in range(2):
                at = _from(own, own.window[side, 0] - begun, least)
                while at < count and own.x[at] <= own.window[side, 1] - begun:
                    t = begun + own.x[at]
                    if t > s:
                        high = min(high, np.ceil((t * t + price * size - h) / (2 * (t - s))))
                    elif t < s:
                        low = max(low, np.ceil((h - t * t - price * size) / (2 * (s - t))))
                    elif size <= k and (before | own.bit[at]) != mask:
                        return 0.0, 0.0
                    at += 1
            more = _next(own.chosen, size - 1, count)
        if low >= high:
            return 0.0, 0.0
    return max(low, -FURTHEST), min(high, FURTHEST)


@numba.njit(cache=True, nogil=True)
def snapped(low, high, step):  # type: ignore[no-untyped-def]
    """The goals that round to a multiple of `step` among low … high-1; all of these if it is 0."""
    if step == 0 or high <= low:
        return low, high
    first, last = np.ceil(low / step), np.floor(high / step)
    while np.rint(first * step) < low:
        first += 1
    while np.rint((first - 1) * step) >= low:
        first -= 1
    while np.rint(last * step) >= high:
        last -= 1
    while np.rint((last + 1) * step) < high:
        last += 1
    if last < first:
        return 0.0, 0.0
    low, high = np.ceil((first - 0.5) * step), np.ceil((last + 0.5) * step)
    return max(low, -FURTHEST), min(high, FURTHEST)


@numba.njit(cache=True, nogil=True)
def rounded(goal, step):  # type: ignore[no-untyped-def]
    """The goal that a goal is rounded to, as `snapped` has it."""
    if step == 0:
        return goal
    at = np.floor(goal / step + 0.5)
    while goal < np.ceil((at - 0.5) * step):
        at -= 1
    while goal >= np.ceil((at + 0.5) * step):
        at += 1
    return np.rint(at * step)


@numba.njit(cache=True, nogil=True)
def subset_at(own, most, price, goal):  # type: ignore[no-untyped-def]
    """The mask of the subset whose cell a goal lies in."""
    count, best, best_sum, best_mask = own.x.size, 0.0, 0.0, np.int64(0)
    for size in range(1, min(most, count) + 1):
        _room(own, 0, goal, best + goal * goal - price * size)
        if own.window[0, 1] < own.window[0, 0]:
            continue
        _first(own.chosen, size - 1)
        more = True
        while more:
            begun, before = _begun(own, size - 1)
            least = own.chosen[size - 2] + 1 if size > 1 else 0
            at = _from(own, own.window[0, 0] - begun, least)
            while at < count and own.x[at] <= own.window[0, 1] - begun:
                t = begun + own.x[at]
                value = t * t + price * size - 2 * t * goal
                if value < best or (value == best and t > best_sum):
                    best, best_sum, best_mask = value, t, before | own.bit[at]
                at += 1
            more = _next(own.chosen, size - 1, count)
    return best_mask
