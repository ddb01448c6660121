"""The paper's rule (Algorithms 1 and 2): the fewest elements within the tolerance.

Problems are searched side by side: one walk over the subsets of a size, in lexicographic order,
serves a whole tile of problems, so that every step is a few vector instructions. Solved problems
leave the tile as soon as half of it is solved; what is open after the first sizes fills new tiles,
size by size. Problems without any subset within the tolerance get the closest subset, the first if
several: see `nearest` up to `EXACT` elements; beyond, one walk more finds the least error, and the
search is repeated with that as the tolerance.

Arrays are [element, problem]. A subset's key has bit m-1-s for element s: among subsets of one
size the lexicographically first has the largest key.
"""

from math import comb

import numba
import numpy as np
from numpy.typing import NDArray

from lt_onnx.subset_sum.full import INFINITE, bits_of, float_of
from lt_onnx.subset_sum.nearest import smallest_of_all
from lt_onnx.subset_sum.problem import EXACT

TILE = 512  # problems that one walk serves
NARROW = 64  # problems under which a tile is not worth closing up
DENSE = 2  # a tile is closed up once no more than one in DENSE of its problems is open
APART = 16  # numbers between two rows of a tile, so that they do not meet in the same cache sets
EARLY = 3  # sizes that are searched before what is open is packed anew
START = 4096  # … plus its start
WORTH = 8  # steps of meeting in the middle for the time of one subset walked over

Masks = NDArray[np.uint32]
Floats = NDArray[np.float32]
Places = NDArray[np.int32]
Indices = NDArray[np.int64]


@numba.njit(cache=True)
def _leave(x, z, tolerance, rest, key, place, count, problems, mask, error):  # type: ignore[no-untyped-def]
    """Write the answers of solved problems; close the gaps once they are many.

    Returns the width of the tile. Nothing is within the tolerance, -1, of a problem that stays in
    it solved.
    """
    m = len(x)
    stay = np.empty(count, np.int64)
    left = 0
    for i in range(count):
        bits = key[i]
        if bits:
            b = problems[place[i]]
            problems[place[i]] = -1
            chosen = np.uint32(0)
            off = z[i]
            for s in range(m):
                if bits >> np.uint32(m - 1 - s) & np.uint32(1):
                    chosen |= np.uint32(1) << np.uint32(s)
                    off -= x[s, i]
            mask[b], error[b] = chosen, off
            tolerance[i] = -1
            key[i] = 0
        elif tolerance[i] >= 0:
            stay[left] = i
            left += 1
    if (count <= NARROW and left) or DENSE * left > count:
        return count
    for j in range(left):
        i = stay[j]
        z[j], tolerance[j], place[j] = z[i], tolerance[i], place[i]
    for s in range(m):
        row = x[s]
        for j in range(left):
            row[j] = row[stay[j]]
    for d in range(len(rest)):
        row = rest[d]
        for j in range(left):
            row[j] = row[stay[j]]
    return left


@numba.njit(cache=True)
def _level(x, z, tolerance, size, count, rest, key, place, problems, mask, error):  # type: ignore[no-untyped-def]
    """Find every problem's first subset of `size` elements within its tolerance."""
    m = len(x)
    chosen = np.empty(m + 1, np.int64)
    rest[0, :count] = z[:count]
    key[:count] = 0
    depth = 0
    start = 0
    prefix = np.uint32(0)
    while count:
        if depth == size - 1:
            for last in range(start, m):
                subset = prefix | (np.uint32(1) << np.uint32(m - 1 - last))
                for i in range(count):
                    off = abs(rest[depth, i] - x[last, i])
                    found = subset if off <= tolerance[i] else np.uint32(0)
                    key[i] = max(key[i], found)
            if depth == 0:
                break
            open_ = 0
            for i in range(count):
                open_ += (key[i] == 0) & (tolerance[i] >= 0)
            if open_ == 0 or (count > NARROW and DENSE * open_ <= count):
                some = rest[: depth + 1]
                count = _leave(x, z, tolerance, some, key, place, count, problems, mask, error)
        elif m - start >= size - depth:
            for i in range(count):
                rest[depth + 1, i] = rest[depth, i] - x[start, i]
            chosen[depth] = start
            prefix |= np.uint32(1) << np.uint32(m - 1 - start)
            depth += 1
            start += 1
            continue
        elif depth == 0:
            break
        depth -= 1
        prefix ^= np.uint32(1) << np.uint32(m - 1 - chosen[depth])
        start = chosen[depth] + 1
    return _leave(x, z, tolerance, rest[:0], key, place, count, problems, mask, error)


@numba.njit(cache=True)
def _closest(x, z, m, limit, count, rest, least):  # type: ignore[no-untyped-def]
    """Set `least` to the smallest error that any subset of 1 to `limit` elements leaves."""
    chosen = np.empty(m + 1, np.int64)
    rest[0, :count] = z[:count]
    least[:count] = INFINITE
    depth = 0
    start = 0
    while True:
        if start < m:
            for i in range(count):
                error = rest[depth, i] - x[start, i]
                rest[depth + 1, i] = error
                least[i] = min(least[i], bits_of(abs(error)))
            if depth < limit - 1:
                chosen[depth] = start
                depth += 1
            start += 1
        elif depth == 0:
            return
        else:
            depth -= 1
            start = chosen[depth] + 1


@numba.njit(cache=True)
def _tile(base, index, gain, problems, out):  # type: ignore[no-untyped-def]
    """Base sets of some problems, side by side: out [M, W]."""
    n = len(index)
    for i in range(len(problems)):
        r, k = problems[i] // n, problems[i] % n
        row = base[r]
        for s in range(len(out)):
            out[s, i] = row[max(index[k, s], 0)] * gain[k, s]


@numba.njit(cache=True, parallel=True)
def _search(base, index, gain, z, tolerance, low, high, open_, mask, error):  # type: ignore[no-untyped-def]
    """Search the sizes low…high of the `open_` problems; solved ones are marked -1."""
    m = index.shape[1]
    for part in numba.prange(-(-len(open_) // TILE)):
        some = open_[part * TILE : (part + 1) * TILE]
        count = len(some)
        x = np.empty((m, count + APART), np.float32)
        _tile(base, index, gain, some, x)
        goal, allowed = z[some], tolerance[some]
        rest = np.empty((high, count + APART), np.float32)
        key = np.empty(count, np.uint32)
        place = np.arange(count)
        for size in range(low, high + 1):
            count = _level(x, goal, allowed, size, count, rest, key, place, some, mask, error)


@numba.njit(cache=True, parallel=True)
def _least_errors(base, index, gain, z, limit, open_, least):  # type: ignore[no-untyped-def]
    """The smallest error that subsets of 1 to `limit` elements leave to each open problem."""
    m = index.shape[1]
    for part in numba.prange(-(-len(open_) // NARROW)):
        some = open_[part * NARROW : (part + 1) * NARROW]
        x = np.empty((m, len(some)), np.float32)
        _tile(base, index, gain, some, x)
        rest = np.empty((m + 1, len(some)), np.float32)
        bits = np.empty(len(some), np.int32)
        _closest(x, z[some], m, limit, len(some), rest, bits)
        for i in range(len(some)):
            least[some[i]] = float_of(bits[i])


def solve_smallest(
    base: Floats, index: Places, gain: Floats, z: Floats, tolerance: np.float32, limit: int
) -> tuple[Masks, Floats]:
    """Problems z [R, N] whose base sets are base[r, index[k]] · gain[k]: masks, residuals [R, N].

    After the first sizes few problems are open; for each further size they fill new tiles.
    """
    m = index.shape[1]
    goal = np.ascontiguousarray(z).reshape(-1)
    mask, error = np.zeros(len(goal), np.uint32), goal.copy()
    allowed = np.full(len(goal), tolerance)

    def sizes(open_: Indices, last: int) -> Indices:
        low = 1
        while low <= last and len(open_):
            high = min(low + EARLY - 1, last) if low == 1 else low
            _search(base, index, gain, goal, allowed, low, high, open_, mask, error)
            open_ = open_[open_ >= 0]
            low = high + 1
        return open_

    open_ = np.flatnonzero(np.abs(goal) > tolerance)
    if m <= EXACT:
        open_ = sizes(open_, walked(m))
        smallest_of_all(base, index, gain, goal, tolerance, open_, mask, error)
    else:
        open_ = sizes(open_, limit)
        if len(open_):
            _least_errors(base, index, gain, goal, limit, open_, allowed)
            sizes(open_[allowed[open_] < np.abs(goal[open_])], limit)  # others: the empty subset
    return mask.reshape(z.shape), error.reshape(z.shape)


def walked(m: int) -> int:
    """Sizes up to which walking is cheaper than meeting in the middle."""
    size = 1
    while size < m and comb(m, size + 1) * WORTH <= (1 << m) + START:
        size += 1
    return size
