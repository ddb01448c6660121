"""The smallest rule (the paper's Algorithms 1 and 2): the fewest elements within the tolerance.

Problems are searched side by side: one walk over the subsets of a size, in lexicographic order,
serves a whole tile of problems, so that every step is a few vector instructions. Solved problems
leave the tile as soon as half of it is solved; what is open after the first sizes fills new tiles,
size by size. Problems without any subset within the tolerance get the closest subset, the first if
several: by `meet_in_the_middle` up to MAX_EXHAUSTIVE_SIZE elements; beyond, one walk more finds the
least error, and the search is repeated with that as the tolerance.

Arrays are [element, problem]. A subset's key has bit M-1-s for element s: among subsets of one
size the lexicographically first has the largest key.
"""

from math import comb
from typing import TypeAlias

import numba
import numpy as np

from lt_onnx.subset_sum.full import INFINITE, bits_of, float_of
from lt_onnx.subset_sum.limits import MAX_EXHAUSTIVE_SIZE
from lt_onnx.subset_sum.meet_in_the_middle import Batch, smallest_of_all
from lt_onnx.subset_sum.problem import Floats, Indices, Masks, Places

TILE = 512  # problems that one walk serves
NARROW = 64  # problems under which a tile is not worth closing up
DENSE = 2  # a tile is closed up once no more than one in DENSE of its problems is open
APART = 16  # numbers between two rows of a tile, so that they do not meet in the same cache sets
FIRST_SIZES = 3  # sizes that are searched before what is open is packed anew
MEETING_START = 4096  # what meeting in the middle costs, in its steps: 2^M and a start …
WALK_STEPS = 8  # … and what walking over one subset costs in them

# problems that are searched side by side, W of those that entered; the solved may leave
Tile: TypeAlias = tuple[
    Floats,  # x [M, ≥ W]  base sets
    Floats,  # z [W]  targets
    Floats,  # tolerance [W]  -1 for a solved problem that is still here
    Masks,  # key [W]  of the first subset of the present size, 0 if there is none yet
    Indices,  # place [W]  where in `numbers` the problem is
    Indices,  # numbers  of problems in the batch, -1 once they are solved
    Floats,  # rest [sizes, ≥ W]  what the elements chosen so far leave of z
]


@numba.njit(cache=True)
def _leave(tile: Tile, count: int, depth: int, mask: Masks, residual: Floats) -> int:
    """Write the answers of solved problems; close the gaps once they are many.

    `depth` rows of `rest` are needed afterwards. Returns the width of the tile.
    """
    x, z, tolerance, key, place, numbers, rest = tile
    m = len(x)
    stay = np.empty(count, np.int64)
    left = 0
    for i in range(count):
        bits = key[i]
        if bits:
            b = numbers[place[i]]
            numbers[place[i]] = -1
            chosen = np.uint32(0)
            error = z[i]
            for s in range(m):
                if bits >> np.uint32(m - 1 - s) & np.uint32(1):
                    chosen |= np.uint32(1) << np.uint32(s)
                    error -= x[s, i]
            mask[b], residual[b] = chosen, error
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
    for d in range(depth):
        row = rest[d]
        for j in range(left):
            row[j] = row[stay[j]]
    return left


@numba.njit(cache=True)
def _search_size(tile: Tile, size: int, count: int, mask: Masks, residual: Floats) -> int:
    """Find every problem's first subset of `size` elements within its tolerance."""
    x, z, tolerance, key, _, _, rest = tile
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
                    error = abs(rest[depth, i] - x[last, i])
                    hit = subset if error <= tolerance[i] else np.uint32(0)
                    key[i] = max(key[i], hit)
            if depth == 0:
                break
            unsolved = 0
            for i in range(count):
                unsolved += (key[i] == 0) & (tolerance[i] >= 0)
            if unsolved == 0 or (count > NARROW and DENSE * unsolved <= count):
                count = _leave(tile, count, depth + 1, mask, residual)
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
    return _leave(tile, count, 0, mask, residual)


@numba.njit(cache=True)
def _fill(batch: Batch, numbers: Indices, out: Floats) -> None:
    """Write the base sets of the problems `numbers` side by side into out [M, W]."""
    base, group, index, gain, _ = batch
    n = index.shape[1]
    for i in range(len(numbers)):
        r, k = numbers[i] // n, numbers[i] % n
        row, g = base[r], group[r]
        for s in range(len(out)):
            out[s, i] = row[max(index[g, k, s], 0)] * gain[g, k, s]


@numba.njit(cache=True, parallel=True)
def _search(
    batch: Batch,
    tolerance: Floats,
    sizes: tuple[int, int],
    numbers: Indices,
    mask: Masks,
    residual: Floats,
) -> None:
    """Search the sizes from … to of the problems `numbers`; solved ones are marked -1 there."""
    _, _, index, _, z = batch
    m = index.shape[2]
    low, high = sizes
    for part in numba.prange(-(-len(numbers) // TILE)):
        mine = numbers[part * TILE : (part + 1) * TILE]
        count = len(mine)
        x = np.empty((m, count + APART), np.float32)
        _fill(batch, mine, x)
        key, rest = np.empty(count, np.uint32), np.empty((high, count + APART), np.float32)
        tile = x, z[mine], tolerance[mine], key, np.arange(count), mine, rest
        for size in range(low, high + 1):
            count = _search_size(tile, size, count, mask, residual)


@numba.njit(cache=True)
def _closest(x: Floats, z: Floats, limit: int, rest: Floats, least: Places) -> None:
    """Set `least` to the bits of the least error that subsets of 1 to `limit` elements leave."""
    m, count = x.shape
    chosen = np.empty(m + 1, np.int64)
    rest[0] = z
    least[:] = INFINITE
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


@numba.njit(cache=True, parallel=True)
def _least_errors(batch: Batch, limit: int, numbers: Indices, least: Floats) -> None:
    """The least error that subsets of 1 to `limit` elements leave to the problems `numbers`."""
    _, _, index, _, z = batch
    m = index.shape[2]
    for part in numba.prange(-(-len(numbers) // NARROW)):
        mine = numbers[part * NARROW : (part + 1) * NARROW]
        x = np.empty((m, len(mine)), np.float32)
        _fill(batch, mine, x)
        rest = np.empty((m + 1, len(mine)), np.float32)
        bits = np.empty(len(mine), np.int32)
        _closest(x, z[mine], limit, rest, bits)
        for i in range(len(mine)):
            least[mine[i]] = float_of(bits[i])


def smallest_of_batch(batch: Batch, *, tolerance: np.float32, limit: int) -> tuple[Masks, Floats]:
    """Masks and residuals of a batch, flat.

    After the first sizes few problems are open; for each further size they fill new tiles.
    """
    _, _, index, _, z = batch
    m = index.shape[2]
    mask, residual = np.zeros(len(z), np.uint32), z.copy()
    allowed = np.full(len(z), tolerance)

    def search(numbers: Indices, last: int) -> Indices:
        """Search all sizes up to `last`; returns the problems that stay open."""
        low = 1
        while low <= last and len(numbers):
            high = min(FIRST_SIZES, last) if low == 1 else low
            _search(batch, allowed, (low, high), numbers, mask, residual)
            numbers = numbers[numbers >= 0]
            low = high + 1
        return numbers

    unsolved = np.flatnonzero(np.abs(z) > tolerance)
    if m <= MAX_EXHAUSTIVE_SIZE:
        unsolved = search(unsolved, largest_walked(m))
        smallest_of_all(batch, tolerance, unsolved, mask, residual)
    else:
        unsolved = search(unsolved, limit)
        if len(unsolved):
            _least_errors(batch, limit, unsolved, allowed)
            search(unsolved[allowed[unsolved] < np.abs(z[unsolved])], limit)  # others: none fits
    return mask, residual


def largest_walked(m: int) -> int:
    """Size up to which walking over subsets is cheaper than meeting in the middle."""
    size = 1
    while size < m and comb(m, size + 1) * WALK_STEPS <= (1 << m) + MEETING_START:
        size += 1
    return size
