"""The full objective for one problem: exact, visiting only subsets that could still win.

Up to MAX_EXHAUSTIVE_SIZE elements (meet in the middle): every subset is a part of the first half of
the elements and a part of the second. The best subset of at most two elements gives a bound; a half
whose penalties alone exceed it cannot win, and neither can anything that contains it, so both lists
of halves stay short. Where nothing costs anything they do not, and `sorted_halves` takes over from
SORTED elements on. Beyond: a walk over the subsets up to the size limit that leaves out whatever
costs more than the best so far. Float addition of numbers ≥ 0 is monotone, rounding included, so
nothing that could win or tie is ever left out.

Values are ≥ 0, and such floats are ordered like their bit patterns: minima are taken over integers,
which compilers vectorise without being allowed to change a single bit.
"""

from typing import TypeAlias

import numba
import numpy as np

from lt_onnx.subset_sum.lanes import LANES
from lt_onnx.subset_sum.limits import MAX_EXHAUSTIVE_SIZE
from lt_onnx.subset_sum.problem import Floats, Masks
from lt_onnx.subset_sum.sorted_halves import SORTED, closest

MAX_HALVES = 1 << (MAX_EXHAUSTIVE_SIZE - MAX_EXHAUSTIVE_SIZE // 2)  # subsets of half the elements
INFINITE = np.int32(0x7F800000)  # the bits of float32 infinity

# scratch space: sums, costs and masks of subsets of either half, each [2, MAX_HALVES + LANES], the
# last places of which are never chosen; and of `sorted_halves`, [4, the same]
Halves: TypeAlias = tuple[Floats, Floats, Masks, Floats]


def no_halves() -> Halves:
    """Scratch space for `full`, of one thread; what compiled code makes takes long to compile."""
    shape = (2, MAX_HALVES + LANES)
    sums, costs = np.empty(shape, np.float32), np.empty(shape, np.float32)
    return sums, costs, np.empty(shape, np.uint32), np.empty((4, shape[1]), np.float32)


@numba.njit()
def bits_of(value: np.float32) -> np.int32:
    """The bit pattern of a float32."""
    return np.float32(value).view(np.int32)


@numba.njit()
def float_of(bits: np.int32) -> np.float32:
    """The float32 of a bit pattern."""
    return np.int32(bits).view(np.float32)


@numba.njit()
def _least(
    z: np.float32,
    a: np.float32,
    cost: np.float32,
    sums: Floats,
    costs: Floats,
    count: int | np.int64,
) -> np.int32:
    """Bits of the least objective when one of sums[:count] is added to a subset of that cost."""
    least = INFINITE
    for i in range(count):
        error = z - sums[i]
        least = min(least, bits_of(a * (error * error) + (cost + costs[i])))
    return least


@numba.njit()
def upper_bound(x: Floats, z: np.float32, a: np.float32, p: Floats) -> np.float32:
    """A little above the objective of the best subset of at most two elements."""
    best = bits_of(a * (z * z))
    for i in range(len(x)):
        rest = z - x[i]
        best = min(best, bits_of(a * (rest * rest) + p[i]))
        best = min(best, _least(rest, a, p[i], x, p, i))
    # the same subset is summed in another order below: room for its rounding
    scale = abs(z)
    for i in range(len(x)):
        scale += abs(x[i])
    slack = np.float32(1e-6) * scale
    value = float_of(best)
    margin = slack * (a * slack + np.float32(2) * np.sqrt(a * value))
    above: np.float32 = value * np.float32(1.00001) + margin
    return above


@numba.njit()
def list_halves(x: Floats, p: Floats, half: np.int64, cap: np.float32, out: Halves) -> int:
    """List the subsets of the first (`half` 0) or last (1) elements that cost at most `cap`.

    They stand in place `half` of `out`, by ascending mask; returns how many there are.
    """
    sums, costs, masks = out[0][half], out[1][half], out[2][half]
    sums[0] = np.float32(0)
    costs[0] = np.float32(0)
    masks[0] = np.uint32(0)
    count = 1
    middle = len(x) // 2
    for s in range(half * middle, len(x) if half else middle):
        if p[s] > cap:
            continue
        bit = np.uint32(1) << np.uint32(s)
        for i in range(count):
            cost = costs[i] + p[s]
            sums[count] = sums[i] + x[s]
            costs[count] = cost
            masks[count] = masks[i] | bit
            count += cost <= cap
    return count


@numba.njit()
def full(
    x: Floats, z: np.float32, a: np.float32, p: Floats, limit: int, scratch: Halves
) -> tuple[np.uint32, np.float32]:
    """Mask and error of the lowest objective a · error² + Σ p; the lowest mask if several tie.

    Of at most `limit` elements where there are more than MAX_EXHAUSTIVE_SIZE.
    """
    if len(x) > MAX_EXHAUSTIVE_SIZE:
        return _full_limited(x, z, a, p, limit, scratch)
    cap = upper_bound(x, z, a, p)
    lows = list_halves(x, p, np.int64(0), cap, scratch)
    highs = list_halves(x, p, np.int64(1), cap, scratch)
    sums, costs, masks, space = scratch
    free = lows * highs == 1 << len(x) and costs[0, lows - 1] + costs[1, highs - 1] == 0
    if free and len(x) >= SORTED:
        return closest(x, z, a, sums, space)
    best = INFINITE
    place = 0
    for h in range(highs):
        cost = costs[1, h]
        if bits_of(cost) < best:
            least = _least(z - sums[1, h], a, cost, sums[0], costs[0], lows)
            if least < best:
                best = least
                place = h
    rest = z - sums[1, place]
    for i in range(lows):
        error = rest - sums[0, i]
        if bits_of(a * (error * error) + (costs[1, place] + costs[0, i])) == best:
            return masks[1, place] | masks[0, i], error
    return np.uint32(0), z


@numba.njit()
def _full_limited(
    x: Floats, z: np.float32, a: np.float32, p: Floats, limit: int, scratch: Halves
) -> tuple[np.uint32, np.float32]:
    """The same among subsets of at most `limit` elements, each taken from z in ascending order."""
    m = len(x)
    best = bits_of(a * (z * z))
    best_mask = np.uint32(0)
    best_error = z
    rest, cost, chosen = scratch[0][0], scratch[1][0], scratch[2][0]
    rest[0] = z
    cost[0] = np.float32(0)
    depth = 0
    start = np.int64(0)
    mask = np.uint32(0)
    fresh = True
    while True:
        if fresh:  # all subsets that add one element to the chosen ones
            least = _least(rest[depth], a, cost[depth], x[start:], p[start:], m - start)
            if least <= best:
                for s in range(start, m):
                    error = rest[depth] - x[s]
                    if bits_of(a * (error * error) + (cost[depth] + p[s])) == least:
                        candidate = mask | (np.uint32(1) << np.uint32(s))
                        if least < best or candidate < best_mask:
                            best = least
                            best_mask = candidate
                            best_error = error
                        break
        fresh = False
        if start < m - 1 and depth < limit - 1:
            total = cost[depth] + p[start]
            if bits_of(total) <= best:
                chosen[depth] = np.uint32(start)
                rest[depth + 1] = rest[depth] - x[start]
                cost[depth + 1] = total
                mask |= np.uint32(1) << np.uint32(start)
                depth += 1
                fresh = True
            start += 1
        elif depth == 0:
            return best_mask, best_error
        else:
            depth -= 1
            mask ^= np.uint32(1) << chosen[depth]
            start = np.int64(chosen[depth]) + 1
