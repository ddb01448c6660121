"""The smallest rule (the paper's Algorithms 1 and 2): the fewest elements within the tolerance.

Problems are searched side by side: one walk over the subsets of a size, in lexicographic order,
serves a whole tile of problems, so that every step is a few vector instructions; what is open after
a size fills new tiles. Problems without any subset within the tolerance get the closest subset, the
first if several: by `meet_in_the_middle` up to MAX_EXHAUSTIVE_SIZE elements; beyond, one walk more
finds the least error, and the search is repeated with that as the tolerance.

Arrays are [element, problem]. A subset's key has bit M-1-s for element s: among subsets of one
size the lexicographically first has the largest key.
"""

from collections.abc import Callable
from functools import partial
from math import comb

import numba
import numpy as np

from lt_onnx.source.threads import share
from lt_onnx.subset_sum.full import INFINITE, bits_of, float_of
from lt_onnx.subset_sum.limits import MAX_EXHAUSTIVE_SIZE
from lt_onnx.subset_sum.meet_in_the_middle import Batch, smallest_of_all
from lt_onnx.subset_sum.problem import Floats, Indices, Masks

TILE = 512  # problems that one walk serves
CLOSEST_TILE = 64  # the same where the least error is wanted
APART = 16  # numbers between two rows of a tile, so that they do not meet in the same cache sets
MEETING_START = 4096  # what meeting in the middle costs, in its steps: 2^M and a start …
WALK_STEPS = 8  # … and what walking over one subset costs in them


@numba.njit()
def _first_keys(x: Floats, z: Floats, tolerance: Floats, size: int, rest: Floats) -> Masks:
    """Keys of the first subsets of `size` elements within the tolerances, 0 where there is none.

    x [M, ≥ W], z and tolerance [W]; scratch space [size, ≥ W] for what is left of z.
    """
    m, count = len(x), len(z)
    key, chosen = np.zeros(count, np.uint32), np.empty(m + 1, np.int64)
    rest[0, :count] = z
    depth = start = 0
    prefix = np.uint32(0)
    while True:
        if depth == size - 1:
            for last in range(start, m):
                subset = prefix | (np.uint32(1) << np.uint32(m - 1 - last))
                for i in range(count):
                    error = abs(rest[depth, i] - x[last, i])
                    key[i] = max(key[i], subset if error <= tolerance[i] else np.uint32(0))
        elif m - start >= size - depth:
            for i in range(count):
                rest[depth + 1, i] = rest[depth, i] - x[start, i]
            chosen[depth] = start
            prefix |= np.uint32(1) << np.uint32(m - 1 - start)
            depth += 1
            start += 1
            continue
        if depth == 0 or key.min() > 0:
            return key
        depth -= 1
        prefix ^= np.uint32(1) << np.uint32(m - 1 - chosen[depth])
        start = chosen[depth] + 1


@numba.njit()
def _fill(batch: Batch, numbers: Indices, out: Floats) -> None:
    """Write the base sets of the problems `numbers` side by side into out [M, W]."""
    base, group, index, gain, _ = batch
    n = index.shape[1]
    for i in range(len(numbers)):
        r, k = numbers[i] // n, numbers[i] % n
        row, g = base[r], group[r]
        for s in range(len(out)):
            out[s, i] = row[max(index[g, k, s], 0)] * gain[g, k, s]


@numba.njit(cache=True, nogil=True)
def _search(
    batch: Batch, tolerance: Floats, mask: Masks, residual: Floats, size: int, numbers: Indices
) -> None:
    """Search one size of the problems `numbers`; solved ones are marked -1 there."""
    _, _, index, _, z = batch
    m = index.shape[2]
    for part in range(-(-len(numbers) // TILE)):
        mine = numbers[part * TILE : (part + 1) * TILE]
        x = np.empty((m, len(mine) + APART), np.float32)
        _fill(batch, mine, x)
        rest = np.empty((size, len(mine) + APART), np.float32)
        key = _first_keys(x, z[mine], tolerance[mine], size, rest)
        for i in np.flatnonzero(key):
            b = mine[i]
            residual[b] = z[b]
            for s in range(m):
                if key[i] >> np.uint32(m - 1 - s) & np.uint32(1):
                    mask[b] |= np.uint32(1) << np.uint32(s)
                    residual[b] -= x[s, i]
            mine[i] = -1


@numba.njit(cache=True, nogil=True)
def _least_errors(batch: Batch, limit: int, least: Floats, numbers: Indices) -> None:
    """The least error that subsets of 1 to `limit` elements leave to the problems `numbers`."""
    _, _, index, _, z = batch
    m = index.shape[2]
    for part in range(-(-len(numbers) // CLOSEST_TILE)):
        mine = numbers[part * CLOSEST_TILE : (part + 1) * CLOSEST_TILE]
        count = len(mine)
        x, rest = np.empty((m, count), np.float32), np.empty((m + 1, count), np.float32)
        _fill(batch, mine, x)
        rest[0] = z[mine]
        bits, chosen = np.full(count, INFINITE), np.empty(m + 1, np.int64)
        depth = start = 0
        while start < m or depth > 0:
            if start == m:
                depth -= 1
                start = chosen[depth] + 1
                continue
            for i in range(count):
                error = rest[depth, i] - x[start, i]
                rest[depth + 1, i] = error
                bits[i] = min(bits[i], bits_of(abs(error)))
            if depth < limit - 1:
                chosen[depth] = start
                depth += 1
            start += 1
        for i in range(count):
            least[mine[i]] = float_of(bits[i])


def smallest_of_batch(batch: Batch, *, tolerance: np.float32, limit: int) -> tuple[Masks, Floats]:
    """Masks and residuals of a batch, flat."""
    _, _, index, _, z = batch
    m = index.shape[2]
    mask, residual = np.zeros(len(z), np.uint32), z.copy()
    allowed = np.full(len(z), tolerance)

    def search(numbers: Indices, last: int) -> Indices:
        """Search all sizes up to `last`; returns the problems that stay open."""
        for size in range(1, last + 1):
            if len(numbers):
                _in_tiles(numbers, TILE, partial(_search, batch, allowed, mask, residual, size))
                numbers = numbers[numbers >= 0]
        return numbers

    unsolved = np.flatnonzero(np.abs(z) > tolerance)
    if m <= MAX_EXHAUSTIVE_SIZE:
        unsolved = search(unsolved, largest_walked(m))
        _in_tiles(unsolved, 1, partial(smallest_of_all, batch, tolerance, mask, residual))
    else:
        unsolved = search(unsolved, limit)
        if len(unsolved):
            _in_tiles(unsolved, CLOSEST_TILE, partial(_least_errors, batch, limit, allowed))
            search(unsolved[allowed[unsolved] < np.abs(z[unsolved])], limit)  # others: none fits
    return mask, residual


def _in_tiles(numbers: Indices, size: int, work: Callable[[Indices], None]) -> None:
    """Call `work` for all `numbers`, parts of whole tiles of that size on each thread."""
    count = -(-len(numbers) // size)
    share(count, lambda start, stop: work(numbers[start * size : stop * size]))


def largest_walked(m: int) -> int:
    """Size up to which walking over subsets is cheaper than meeting in the middle."""
    size = 1
    while size < m and comb(m, size + 1) * WALK_STEPS <= (1 << m) + MEETING_START:
        size += 1
    return size
