"""Numba kernels: parallel over problems or rows, vectorised over subsets, no 2^M allocation.

The arithmetic and the ties are those of `reference`, to the bit.
"""

import numba
import numpy as np

from lt_onnx.subset_sum import EXACT

CHUNKS = 256  # pieces of a flat batch, each with scratch memory of its own
HALF = 1 << (EXACT - EXACT // 2)  # longest table of half a base set's subsets


@numba.njit(cache=True, fastmath={"nnan", "nsz"})
def _least(z, low, low_cost, high, high_cost, a):  # type: ignore[no-untyped-def]
    """Least objective over one table of subsets; only compared, so the flags change no bit."""
    least = np.float32(np.inf)
    rest = z - high
    for i in range(low.size):
        error = rest - low[i]
        value = a * (error * error) + (high_cost + low_cost[i])
        least = min(least, value)
    return least


@numba.njit(cache=True)
def _table(values, start, stop, out):  # type: ignore[no-untyped-def]
    """Sums of all subsets of values[start:stop], ascending, indexed by their bits."""
    out[0] = np.float32(0)
    filled = 1
    for s in range(start, stop):
        for i in range(filled):
            out[filled + i] = out[i] + values[s]
        filled *= 2
    return out[:filled]


@numba.njit(cache=True)
def _full(x, z, a, p, m, limit, work):  # type: ignore[no-untyped-def]
    """Mask and error of the lowest objective of one problem."""
    if m > EXACT:
        return _full_limited(x, z, a, p, m, limit)
    half = m // 2
    low = _table(x, 0, half, work[0])
    low_cost = _table(p, 0, half, work[1])
    high = _table(x, half, m, work[2])
    high_cost = _table(p, half, m, work[3])
    best = np.float32(np.inf)
    best_high = 0
    for i in range(high.size):
        if high_cost[i] < best:
            least = _least(z, low, low_cost, high[i], high_cost[i], a)
            if least < best:
                best = least
                best_high = i
    rest = z - high[best_high]
    for i in range(low.size):
        error = rest - low[i]
        if a * (error * error) + (high_cost[best_high] + low_cost[i]) == best:
            return np.uint32((best_high << half) | i), error
    return np.uint32(0), z


@numba.njit(cache=True)
def _full_limited(x, z, a, p, m, limit):  # type: ignore[no-untyped-def]
    """The same among subsets of at most `limit` elements."""
    best = a * (z * z)
    best_mask = np.uint32(0)
    best_error = z
    chosen = np.empty(m, np.int64)
    sums = np.zeros(m + 1, np.float32)
    costs = np.zeros(m + 1, np.float32)
    depth = 0
    nxt = 0
    mask = np.uint32(0)
    while True:
        if nxt < m and depth < limit:
            sums[depth + 1] = sums[depth] + x[nxt]
            costs[depth + 1] = costs[depth] + p[nxt]
            chosen[depth] = nxt
            mask |= np.uint32(1) << np.uint32(nxt)
            depth += 1
            nxt += 1
            error = z - sums[depth]
            value = a * (error * error) + costs[depth]
            if value < best or (value == best and mask < best_mask):
                best = value
                best_mask = mask
                best_error = error
        else:
            if depth == 0:
                return best_mask, best_error
            depth -= 1
            mask &= ~(np.uint32(1) << np.uint32(chosen[depth]))
            nxt = chosen[depth] + 1


@numba.njit(cache=True)
def _smallest(x, z, tolerance, m, limit, chosen, sums):  # type: ignore[no-untyped-def]
    """First subset by (size, lexicographic order) within the tolerance, else the closest."""
    best_error = z
    best_mask = np.uint32(0)
    if abs(z) <= tolerance:
        return best_mask, best_error
    sums[0] = np.float32(0)
    for size in range(1, limit + 1):
        depth = 0
        nxt = 0
        while True:
            if m - nxt >= size - depth:
                chosen[depth] = nxt
                if depth == size - 1:
                    # the last element: scan it without touching the stack
                    for last in range(nxt, m):
                        error = z - (sums[depth] + x[last])
                        if abs(error) < abs(best_error):
                            best_error = error
                            best_mask = np.uint32(1) << np.uint32(last)
                            for i in range(depth):
                                best_mask |= np.uint32(1) << np.uint32(chosen[i])
                            if abs(error) <= tolerance:
                                return best_mask, best_error
                else:
                    sums[depth + 1] = sums[depth] + x[nxt]
                    depth += 1
                    nxt += 1
                    continue
            if depth == 0:
                break
            depth -= 1
            nxt = chosen[depth] + 1
    return best_mask, best_error


@numba.njit(cache=True, parallel=True)
def full(x, z, a, p, limit):  # type: ignore[no-untyped-def]
    """A flat batch under the full objective: masks [B], residuals [B]."""
    count, m = x.shape
    mask = np.empty(count, np.uint32)
    residual = np.empty(count, np.float32)
    chunks = min(count, CHUNKS)
    for chunk in numba.prange(chunks):
        work = np.empty((4, HALF), np.float32)
        for b in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            mask[b], residual[b] = _full(x[b], z[b], a[b], p[b], m, limit, work)
    return mask, residual


@numba.njit(cache=True, parallel=True)
def smallest(x, z, tolerance, limit):  # type: ignore[no-untyped-def]
    """A flat batch under the paper's rule: masks [B], residuals [B]."""
    count, m = x.shape
    mask = np.empty(count, np.uint32)
    residual = np.empty(count, np.float32)
    chunks = min(count, CHUNKS)
    for chunk in numba.prange(chunks):
        chosen = np.empty(m + 1, np.int64)
        sums = np.empty(m + 1, np.float32)
        for b in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            mask[b], residual[b] = _smallest(x[b], z[b], tolerance, m, limit, chosen, sums)
    return mask, residual


@numba.njit(cache=True, parallel=True)
def rows(base, z, index, gain, weight, noise, price, order, upper, rule, tolerance, limit):  # type: ignore[no-untyped-def]
    """Rows of problems with error feedback; see `solve_rows`."""
    count, n = z.shape
    m = index.shape[1]
    masks = np.zeros((count, n), np.uint32)
    residuals = np.zeros((count, n), np.float32)
    for r in numba.prange(count):
        work = np.empty((4, HALF), np.float32)
        chosen = np.empty(m + 1, np.int64)
        sums = np.empty(m + 1, np.float32)
        x = np.empty(m, np.float32)
        p = np.empty(m, np.float32)
        rest = np.empty(n, np.float32)
        for t in range(n):
            rest[t] = z[r, order[t]]
        for t in range(n):
            k = order[t]
            error = rest[t]
            if z[r, k] != 0:
                for s in range(m):
                    if index[k, s] < 0:
                        x[s] = 0
                        p[s] = price[k]
                    else:
                        x[s] = base[r, index[k, s]] * gain[k, s]
                        p[s] = x[s] * x[s] * noise[k, s] + price[k]
                if rule == 1:
                    masks[r, k], error = _smallest(x, rest[t], tolerance, m, limit, chosen, sums)
                elif rule == 2:
                    p[:] = 0
                    masks[r, k], error = _full(x, rest[t], np.float32(1), p, m, limit, work)
                else:
                    masks[r, k], error = _full(x, rest[t], weight[k], p, m, limit, work)
            residuals[r, k] = error
            if upper.size and error != 0:
                share = error / upper[t, t]
                for later in range(t + 1, n):
                    rest[later] -= share * upper[t, later]
    return masks, residuals
