"""The paper's rule (Algorithms 1 and 2): the fewest elements within the tolerance.

Problems are searched side by side: one walk over the subsets of a size, in lexicographic order,
serves a whole tile of problems, so that every step is a few vector instructions. Whatever is solved
leaves the tile before the next size. Problems without any subset within the tolerance are searched
once more, with their smallest error as the tolerance: the closest subset, the first if several.

Arrays are [element, problem]. A subset's key has bit m-1-s for element s: among subsets of one
size the lexicographically first has the largest key.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from lt_onnx.subset_sum.full import INFINITE, bits_of, float_of

TILE = 256  # problems that one walk serves
VECTORS = 64  # problems in a few vector registers
EARLY = 3  # sizes that are searched before what is open is packed anew

Masks = NDArray[np.uint32]
Floats = NDArray[np.float32]
Places = NDArray[np.int32]
Indices = NDArray[np.int64]


@numba.njit(cache=True)
def _level(x, z, tolerance, size, m, count, rest, key):  # type: ignore[no-untyped-def]
    """Set `key` of every problem to its first subset of `size` elements within its tolerance."""
    chosen = np.empty(m + 1, np.int64)
    for i in range(count):
        rest[0, i] = z[i]
    depth = 0
    start = 0
    prefix = np.uint32(0)
    key[:count] = 0
    while True:
        if depth == size - 1:
            for last in range(start, m):
                subset = prefix | (np.uint32(1) << np.uint32(m - 1 - last))
                for i in range(count):
                    error = abs(rest[depth, i] - x[last, i])
                    found = subset if error <= tolerance[i] else np.uint32(0)
                    key[i] = max(key[i], found)
            if depth == 0:
                return
            open_ = 0
            for i in range(count):
                open_ += (key[i] == 0) & (tolerance[i] >= 0)
            if open_ == 0:
                return  # what is still to come is later in order
        elif m - start >= size - depth:
            for i in range(count):
                rest[depth + 1, i] = rest[depth, i] - x[start, i]
            chosen[depth] = start
            prefix |= np.uint32(1) << np.uint32(m - 1 - start)
            depth += 1
            start += 1
            continue
        elif depth == 0:
            return
        depth -= 1
        prefix ^= np.uint32(1) << np.uint32(m - 1 - chosen[depth])
        start = chosen[depth] + 1


@numba.njit(cache=True)
def _closest(x, z, m, limit, count, rest, least):  # type: ignore[no-untyped-def]
    """Set `least` to the smallest error that any subset of 1 to `limit` elements leaves."""
    chosen = np.empty(m + 1, np.int64)
    for i in range(count):
        rest[0, i] = z[i]
        least[i] = INFINITE
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
def _answer(x, z, key, m, i):  # type: ignore[no-untyped-def]
    """Mask and error of problem i from its key."""
    mask = np.uint32(0)
    error = z[i]
    for s in range(m):
        if key >> np.uint32(m - 1 - s) & np.uint32(1):
            mask |= np.uint32(1) << np.uint32(s)
            error -= x[s, i]
    return mask, error


@numba.njit(cache=True)
def _tile(base, index, gain, problems, out):  # type: ignore[no-untyped-def]
    """Base sets of some problems, side by side: out [M, W]."""
    n = len(index)
    for i in range(len(problems)):
        r, k = problems[i] // n, problems[i] % n
        for s in range(len(out)):
            out[s, i] = base[r, max(index[k, s], 0)] * gain[k, s]


@numba.njit(cache=True)
def _padded(count):  # type: ignore[no-untyped-def]
    """Width of a tile: whole vectors, so that no loop ends element by element."""
    return -(-count // VECTORS) * VECTORS


@numba.njit(cache=True, parallel=True)
def _search(base, index, gain, z, tolerance, low, high, open_, mask, error):  # type: ignore[no-untyped-def]
    """Search the sizes low…high of the `open_` problems; those that stay open are marked -1."""
    m = index.shape[1]
    for part in numba.prange(-(-len(open_) // TILE)):
        some = open_[part * TILE : (part + 1) * TILE]
        count = len(some)
        width = _padded(count)
        x = np.zeros((m, width), np.float32)
        _tile(base, index, gain, some, x)
        goal, allowed = np.zeros(width, np.float32), np.empty(width, np.float32)
        for i in range(count):
            goal[i], allowed[i] = z[some[i]], tolerance[some[i]]
        rest = np.empty((m + 1, width), np.float32)
        key = np.empty(width, np.uint32)
        place = np.arange(count)
        for size in range(low, high + 1):
            width = _padded(count)
            allowed[count:width] = -1  # nothing is within it
            _level(x, goal, allowed, size, m, width, rest, key)
            left = 0
            for i in range(count):
                if key[i]:
                    b = some[place[i]]
                    mask[b], error[b] = _answer(x, goal, key[i], m, i)
                    some[place[i]] = -1
                else:
                    place[left] = place[i]
                    goal[left] = goal[i]
                    allowed[left] = allowed[i]
                    for s in range(m):
                        x[s, left] = x[s, i]
                    left += 1
            count = left


@numba.njit(cache=True, parallel=True)
def _least_errors(base, index, gain, z, limit, open_, least):  # type: ignore[no-untyped-def]
    """The smallest error that subsets of 1 to `limit` elements leave to each open problem."""
    m = index.shape[1]
    for part in numba.prange(-(-len(open_) // TILE)):
        some = open_[part * TILE : (part + 1) * TILE]
        width = _padded(len(some))
        x = np.zeros((m, width), np.float32)
        _tile(base, index, gain, some, x)
        goal = np.zeros(width, np.float32)
        goal[: len(some)] = z[some]
        rest = np.empty((m + 1, width), np.float32)
        bits = np.empty(width, np.int32)
        _closest(x, goal, m, limit, width, rest, bits)
        for i in range(len(some)):
            least[some[i]] = float_of(bits[i])


def solve_smallest(
    base: Floats, index: Places, gain: Floats, z: Floats, tolerance: np.float32, limit: int
) -> tuple[Masks, Floats]:
    """Problems z [R, N] whose base sets are base[r, index[k]] · gain[k]: masks, residuals [R, N].

    After the first sizes few problems are open; for each further size they fill new tiles.
    """
    goal = np.ascontiguousarray(z).reshape(-1)
    mask, error = np.zeros(len(goal), np.uint32), goal.copy()
    allowed = np.full(len(goal), tolerance)

    def sizes(open_: Indices) -> Indices:
        low = 1
        while low <= limit and len(open_):
            high = min(low + EARLY - 1, limit) if low == 1 else low
            _search(base, index, gain, goal, allowed, low, high, open_, mask, error)
            open_ = open_[open_ >= 0]
            low = high + 1
        return open_

    open_ = sizes(np.flatnonzero(np.abs(goal) > tolerance))
    if len(open_):
        _least_errors(base, index, gain, goal, limit, open_, allowed)
        sizes(open_[allowed[open_] < np.abs(goal[open_])])  # else the empty subset is the closest
    return mask.reshape(z.shape), error.reshape(z.shape)
