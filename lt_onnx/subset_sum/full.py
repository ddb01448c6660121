"""The full objective for one problem: exact, visiting only subsets that could still win.

Up to `EXACT` elements (meet in the middle): every subset is a part of the first half of the
elements and a part of the second. The best subset of at most two elements gives a bound; a half
whose penalties alone exceed it cannot win, and neither can anything that contains it, so both lists
of halves stay short. Beyond `EXACT`: a walk over the subsets up to the size limit that leaves out
whatever costs more than the best so far. Float addition of numbers ≥ 0 is monotone, rounding
included, so nothing that could win or tie is ever left out.

Values are ≥ 0, and such floats are ordered like their bit patterns: minima are taken over integers,
which compilers vectorise without being allowed to change a single bit.
"""

import numba
import numpy as np

from lt_onnx.subset_sum.problem import EXACT

HALF = 1 << (EXACT - EXACT // 2)  # longest list of halves
INFINITE = np.int32(0x7F800000)


@numba.njit(cache=True)
def bits_of(value):  # type: ignore[no-untyped-def]
    """The bit pattern of a float32."""
    return np.float32(value).view(np.int32)


@numba.njit(cache=True)
def float_of(bits):  # type: ignore[no-untyped-def]
    """The float32 of a bit pattern."""
    return np.int32(bits).view(np.float32)


@numba.njit(cache=True)
def _least(z, cost, a, sums, costs, count):  # type: ignore[no-untyped-def]
    """Bits of the least objective when one of sums[:count] is added."""
    least = INFINITE
    for i in range(count):
        error = z - sums[i]
        least = min(least, bits_of(a * (error * error) + (cost + costs[i])))
    return least


@numba.njit(cache=True)
def _bound(x, z, a, p, m):  # type: ignore[no-untyped-def]
    """A little above the objective of the best subset of at most two elements."""
    best = bits_of(a * (z * z))
    for i in range(m):
        rest = z - x[i]
        best = min(best, bits_of(a * (rest * rest) + p[i]))
        best = min(best, _least(rest, p[i], a, x, p, i))
    # the same subset is summed in another order below: room for its rounding
    scale = abs(z)
    for i in range(m):
        scale += abs(x[i])
    slack = np.float32(1e-6) * scale
    value = float_of(best)
    return value * np.float32(1.00001) + slack * (a * slack + np.float32(2) * np.sqrt(a * value))


@numba.njit(cache=True)
def _halves(x, p, start, stop, cap, sums, costs, masks):  # type: ignore[no-untyped-def]
    """Subsets of x[start:stop] that cost at most `cap`, by ascending mask; returns how many."""
    sums[0] = np.float32(0)
    costs[0] = np.float32(0)
    masks[0] = np.uint32(0)
    count = 1
    for s in range(start, stop):
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


@numba.njit(cache=True)
def full(x, z, a, p, m, limit, sums, costs, masks):  # type: ignore[no-untyped-def]
    """Mask and error of the lowest objective; scratch arrays of shape [2, HALF + 1]."""
    if m > EXACT:
        return _full_limited(x, z, a, p, m, limit)
    cap = _bound(x, z, a, p, m)
    half = m // 2
    low = _halves(x, p, 0, half, cap, sums[0], costs[0], masks[0])
    high = _halves(x, p, half, m, cap, sums[1], costs[1], masks[1])
    best = INFINITE
    place = 0
    for h in range(high):
        cost = costs[1, h]
        if bits_of(cost) < best:
            least = _least(z - sums[1, h], cost, a, sums[0], costs[0], low)
            if least < best:
                best = least
                place = h
    rest = z - sums[1, place]
    for i in range(low):
        error = rest - sums[0, i]
        if bits_of(a * (error * error) + (costs[1, place] + costs[0, i])) == best:
            return masks[1, place] | masks[0, i], error
    return np.uint32(0), z


@numba.njit(cache=True)
def _full_limited(x, z, a, p, m, limit):  # type: ignore[no-untyped-def]
    """The same among subsets of at most `limit` elements, each taken from z in ascending order."""
    best = bits_of(a * (z * z))
    best_mask = np.uint32(0)
    best_error = z
    chosen = np.empty(m + 1, np.int64)
    rest = np.empty(m + 1, np.float32)
    cost = np.empty(m + 1, np.float32)
    rest[0] = z
    cost[0] = np.float32(0)
    depth = 0
    start = 0
    mask = np.uint32(0)
    fresh = True
    while True:
        if fresh:  # all subsets that add one element to the chosen ones
            least = _least(rest[depth], cost[depth], a, x[start:], p[start:], m - start)
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
                chosen[depth] = start
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
            mask ^= np.uint32(1) << np.uint32(chosen[depth])
            start = chosen[depth] + 1
