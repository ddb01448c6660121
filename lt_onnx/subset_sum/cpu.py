"""Numba kernels for all cores, over tiles of problems or rows; scratch never grows with 2^M.

The arithmetic and the ties are those of the package, to the bit. The first three functions are what
`device.Kernels` asks for.
"""

from typing import TypeAlias

import numba
import numpy as np

from lt_onnx.source import philox
from lt_onnx.subset_sum.full import full, no_halves
from lt_onnx.subset_sum.problem import Drawn, Floats, Indices, Masks, Places, Rows
from lt_onnx.subset_sum.smallest import smallest_of_batch

CHUNKS = 256  # pieces of a flat batch, for the threads
MAX_HEIGHT = 16  # rows that one thread holds, so that it reads the feedback's factor once for all
BLOCK = 64  # problems after which their errors reach the rest of the row
SPREAD = 256  # numbers of a row that errors are passed on to at a time

# rows of random weights [R, L], or, where those are empty, seed, layer, numbers [R] and width
Source: TypeAlias = tuple[Floats, np.uint64, int, Indices, int]
# the fields of `Rows` in their order; `upper` is empty where there is no error feedback
Shared: TypeAlias = tuple[Places, Floats, Floats, Floats, Floats, Indices, Floats, Indices]


def solve_full(
    x: Floats, z: Floats, *, weight: Floats, penalty: Floats, limit: int
) -> tuple[Masks, Floats]:
    """A flat batch under the full objective."""
    mask, residual = _solve_full(x, z, weight, penalty, limit)
    return mask, residual


def solve_smallest(
    base: Floats | Drawn, z: Floats, *, rows: Rows, tolerance: np.float32, limit: int
) -> tuple[Masks, Floats]:
    """Rows of independent problems under the smallest rule."""
    given = draw(base) if isinstance(base, Drawn) else base
    shared = rows.groups(len(z)), rows.index, rows.gain
    batch = given, *shared, np.ascontiguousarray(z).reshape(-1)
    mask, residual = smallest_of_batch(batch, tolerance=tolerance, limit=limit)
    return mask.reshape(z.shape), residual.reshape(z.shape)


def solve_rows(base: Floats | Drawn, z: Floats, *, rows: Rows, limit: int) -> tuple[Masks, Floats]:
    """Rows under the full objective, with error feedback."""
    upper = np.empty((len(rows.index), 0, 0), np.float32) if rows.upper is None else rows.upper
    group = rows.groups(len(z))
    shared = rows.index, rows.gain, rows.weight, rows.noise, rows.price, rows.order, upper, group
    height = max(1, min(MAX_HEIGHT, -(-len(z) // (2 * numba.get_num_threads()))))
    number = np.arange(len(z)) - np.searchsorted(group, group)  # of a row in its group
    tiles = np.append(np.flatnonzero(number % height == 0), len(z))
    mask, residual = _solve_rows(_source(base), z, shared, limit, tiles)
    return mask, residual


def draw(rows: Drawn) -> Floats:
    """The rows as an array, [R, width]."""
    drawn: Floats = _draw(_source(rows))
    return drawn


def _source(base: Floats | Drawn) -> Source:
    if isinstance(base, Drawn):
        none = np.empty((0, 0), np.float32)
        return none, np.uint64(base.seed), base.layer, base.numbers, base.width
    return base, np.uint64(0), 0, np.empty(0, np.int64), 0


def write_masked(
    out: Floats,
    at: Indices,
    *,
    drawn: Drawn,
    masks: Masks,
    rows: tuple[Places, Indices],
    twin: int = 0,
) -> None:
    """Write the chosen weights of R rows into the rows `at` [R] of `out` [any, width], 0 elsewhere.

    masks is [R, N], rows are `index` and `group` as in `Rows`. With `twin` the weights twin …
    2·twin-1 of a row are the negatives of the first ones.
    """
    _write_masked(out, at, _source(drawn), masks, rows, twin)


@numba.njit(cache=True, parallel=True)
def _write_masked(
    out: Floats, at: Indices, source: Source, masks: Masks, rows: tuple[Places, Indices], twin: int
) -> None:
    _, seed, layer, numbers, width = source
    places, group = rows
    for r in numba.prange(len(at)):
        row, index = out[at[r]], places[group[r]]
        philox.fill(row, numbers[r] * width, seed, layer, 0)
        chosen = np.zeros(width, np.bool_)
        for k in range(index.shape[0]):
            mask = masks[r, k]
            s = 0
            while mask:
                if mask & np.uint32(1):
                    chosen[index[k, s]] = True
                mask >>= np.uint32(1)
                s += 1
        for i in range(width):
            row[i] = row[i] if chosen[i] else np.float32(0)
        for i in range(twin):
            row[twin + i] = -row[i] if chosen[i] else np.float32(0)


@numba.njit(cache=True, parallel=True)
def _solve_full(x: Floats, z: Floats, a: Floats, p: Floats, limit: int) -> tuple[Masks, Floats]:
    """A flat batch under the full objective."""
    count = len(z)
    mask, residual = np.empty(count, np.uint32), np.empty(count, np.float32)
    chunks = min(count, CHUNKS)
    for chunk in numba.prange(chunks):
        scratch = no_halves()
        for b in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            mask[b], residual[b] = full(x[b], z[b], a[b], p[b], limit, scratch)
    return mask, residual


@numba.njit(cache=True, parallel=True)
def _draw(source: Source) -> Floats:
    _, seed, layer, numbers, width = source
    out = np.empty((len(numbers), width), np.float32)
    for r in numba.prange(len(numbers)):
        philox.fill(out[r], numbers[r] * width, seed, layer, 0)
    return out


@numba.njit(cache=True)
def _feed(rest: Floats, share: np.float32, row: Floats) -> None:
    """rest −= share · row, the step of error feedback."""
    if share != 0:
        for i in range(rest.size):
            rest[i] -= share * row[i]


@numba.njit(cache=True)
def _feed_block(rest: Floats, share: Floats, upper: Floats, start: int, stop: int) -> None:
    """Pass the errors of problems start…stop-1 on to the rest of the rows, in their order."""
    n = rest.shape[1]
    for low in range(stop, n, SPREAD):
        high = min(low + SPREAD, n)
        for r in range(len(rest)):
            for t in range(start, stop):
                _feed(rest[r, low:high], share[r, t - start], upper[t, low:high])


@numba.njit(cache=True, parallel=True)
def _solve_rows(
    source: Source, z: Floats, rows: Shared, limit: int, tiles: Indices
) -> tuple[Masks, Floats]:
    """Rows of problems with error feedback; one thread holds those of a tile, all of one group.

    `tiles` are their first rows, and the end.
    """
    given, seed, layer, numbers, width = source
    indices, gains, weights, noises, prices, orders, uppers, group = rows
    count, n = z.shape
    m = indices.shape[2]
    masks, residuals = np.zeros((count, n), np.uint32), np.zeros((count, n), np.float32)
    drawn = given.size == 0
    for tile in numba.prange(len(tiles) - 1):
        first, last = tiles[tile], tiles[tile + 1]
        g = group[first]
        index, gain, weight, noise = indices[g], gains[g], weights[g], noises[g]
        price, order, upper = prices[g], orders[g], uppers[g]
        own = np.empty((last - first, width if drawn else 0), np.float32)
        rest = np.empty((last - first, n), np.float32)
        share = np.zeros((last - first, BLOCK), np.float32)
        for r in range(last - first):
            if drawn:
                philox.fill(own[r], numbers[first + r] * width, seed, layer, 0)
            for t in range(n):
                rest[r, t] = z[first + r, order[t]]
        base = own if drawn else given[first:last]
        scratch = no_halves()
        x, p = np.empty(m, np.float32), np.empty(m, np.float32)
        for start in range(0, n, BLOCK):
            stop = min(start + BLOCK, n)
            for r in range(last - first):
                for t in range(start, stop):
                    k = order[t]
                    left = rest[r, t]
                    if z[first + r, k] != 0:
                        for s in range(m):
                            x[s] = base[r, max(index[k, s], 0)] * gain[k, s]
                            p[s] = x[s] * x[s] * noise[k, s] + price[k]
                        masks[first + r, k], left = full(x, left, weight[k], p, limit, scratch)
                    residuals[first + r, k] = left
                    if upper.size:
                        share[r, t - start] = left / upper[t, t]
                        _feed(rest[r, t + 1 : stop], share[r, t - start], upper[t, t + 1 : stop])
            if upper.size:
                _feed_block(rest, share, upper, start, stop)
    return masks, residuals
