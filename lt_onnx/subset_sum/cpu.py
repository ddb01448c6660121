"""Numba kernels, run on all cores over tiles of problems or rows; scratch never grows with 2^M.

The arithmetic and the ties are those of the package, to the bit. The first three functions are what
`device.Kernels` asks for.
"""

from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lt_onnx.cores import share, solver_threads
from lt_onnx.source import philox
from lt_onnx.subset_sum.feedback import pass_on
from lt_onnx.subset_sum.full import Halves, full, no_halves
from lt_onnx.subset_sum.lanes import LANES, kernel
from lt_onnx.subset_sum.limits import check, check_sign
from lt_onnx.subset_sum.objective import bits_of, float_of
from lt_onnx.subset_sum.problem import Drawn, Floats, Indices, Masks, Places, Rows
from lt_onnx.subset_sum.smallest import smallest_of_batch

MIN_BATCH = 16  # problems of a flat batch that are worth a thread
MAX_HEIGHT = 16  # rows that one thread holds, so that it reads the feedback's factor once for all
BLOCK = 64  # problems after which their errors reach the rest of the row

# rows of random weights [R, L], or, where those are empty, seed, layer, numbers [R] and width
Source: TypeAlias = tuple[Floats, np.uint64, int, Indices, int]
# scratch space of a thread, of as many rows as a tile may have: random weights, what is left of the
# targets, shares of errors; and x and p of one problem, [2, M + LANES]
Space: TypeAlias = tuple[Floats, Floats, Floats, Floats]
Answers: TypeAlias = tuple[Masks, Floats]  # masks and residuals, to be written
Search: TypeAlias = tuple[int, Halves]  # the largest subsets' size, and scratch space of `full`
# the fields of `Rows` in their order; `upper` is empty where there is no error feedback
Shared: TypeAlias = tuple[Places, Floats, Floats, Floats, Floats, Indices, Floats, Indices, Floats]


def solve_full(
    x: Floats, z: Floats, *, weight: Floats, penalty: Floats, limit: int
) -> tuple[Masks, Floats]:
    """A flat batch under the full objective."""
    mask, residual = np.empty(len(z), np.uint32), np.empty(len(z), np.float32)

    met = [(np.float32(0),) * 3]

    def work(start: int, stop: int) -> None:
        part, own = slice(start, stop), slice(None) if len(penalty) == 1 else slice(start, stop)
        batch = x[part], z[part], weight[part], penalty[own]
        met.append(solve_part(batch, (mask[part], residual[part]), (limit, no_halves())))

    share(len(z), work, least=MIN_BATCH)
    elements, prices, lowest = zip(*met, strict=True)  # NumPy's maximum is NaN where there is one
    check(np.max(elements), "x")
    check(np.max(prices), "penalty")
    check_sign(min(lowest), "penalty")
    return mask, residual


def solve_smallest(
    base: Floats | Drawn, z: Floats, *, rows: Rows, tolerance: np.float32, limit: int
) -> tuple[Masks, Floats]:
    """Rows of independent problems under the smallest rule."""
    given = draw(base) if isinstance(base, Drawn) else base
    group = np.empty(0, np.int64) if rows.group is None else rows.group
    batch = given, group, rows.index, rows.gain, np.ascontiguousarray(z).reshape(-1)
    mask, residual, largest = smallest_of_batch(batch, tolerance=tolerance, limit=limit)
    check(largest, "x")
    return mask.reshape(z.shape), residual.reshape(z.shape)


def solve_rows(base: Floats | Drawn, z: Floats, *, rows: Rows, limit: int) -> tuple[Masks, Floats]:
    """Rows under the full objective, with error feedback."""
    upper = np.empty((len(rows.index), 0, 0), np.float32) if rows.upper is None else rows.upper
    group = rows.groups(len(z))
    step = np.zeros_like(rows.price) if rows.step is None else rows.step
    given = rows.index, rows.gain, rows.weight, rows.noise, rows.price, rows.order
    shared = *given, upper, group, step
    height = max(1, min(MAX_HEIGHT, -(-len(z) // (2 * solver_threads()))))
    number = np.arange(len(z)) - np.searchsorted(group, group)  # of a row in its group
    tiles = np.append(np.flatnonzero(number % height == 0), len(z))
    masks, residuals = np.zeros(z.shape, np.uint32), np.zeros(z.shape, np.float32)
    source, width = _source(base), base.width if isinstance(base, Drawn) else 0

    def work(start: int, stop: int) -> None:
        space = (
            np.empty((height, width), np.float32),
            np.empty((height, z.shape[1]), np.float32),
            np.empty((height, BLOCK), np.float32),
            np.empty((2, rows.index.shape[2] + LANES), np.float32),
        )
        batch, answers = (z, tiles[start : stop + 1]), (masks, residuals)
        _solve_rows(source, batch, shared, answers, (limit, no_halves()), space)

    share(len(tiles) - 1, work)
    return masks, residuals


def draw(rows: Drawn) -> Floats:
    """The rows as an array, [R, width]."""
    drawn = np.empty((len(rows.numbers), rows.width), np.float32)
    source = _source(rows)
    share(len(drawn), lambda start, stop: _draw(drawn, source, start, stop))
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
    places, group = rows

    def work(start: int, stop: int) -> None:
        part = slice(start, stop)
        source = _source(replace(drawn, numbers=drawn.numbers[part]))
        chosen = np.empty(drawn.width, bool)
        _write_masked(out, at[part], source, masks[part], (places, group[part]), (twin, chosen))

    share(len(at), work)


@kernel
def _write_masked(
    out: Floats,
    at: Indices,
    source: Source,
    masks: Masks,
    rows: tuple[Places, Indices],
    spare: tuple[int, NDArray[np.bool_]],
) -> None:
    """Leave of every row what its masks choose; `spare` are `twin` and scratch space [width]."""
    _, seed, layer, numbers, width = source
    places, group = rows
    twin, chosen = spare
    for r in range(len(at)):
        row, index = out[at[r]], places[group[r]]
        philox.fill(row, numbers[r] * width, seed, layer, philox.WEIGHTS)
        chosen[:] = False
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


@kernel
def solve_part(
    batch: tuple[Floats, Floats, Floats, Floats], answers: Answers, search: Search
) -> tuple[np.float32, np.float32, np.float32]:
    """A flat batch (x, z, a, p) under the full objective; p is of one row, or of all.

    Returns the largest |x|, the largest |p| and the least p, NaN above all numbers.
    """
    x, z, a, p = batch
    mask, residual = answers
    limit, scratch = search
    m = x.shape[1]
    problem = np.empty((2, m + LANES), np.float32)
    element, price = problem[0, :m], problem[1, :m]
    most, dearest, least = np.int32(0), np.int32(0), np.float32(0)
    for b in range(len(z)):
        own = b if len(p) > 1 else 0
        for s in range(m):
            element[s] = x[b, s]
            price[s] = p[own, s] + np.float32(0)  # no negative zero
            most = max(most, bits_of(abs(x[b, s])))
            dearest = max(dearest, bits_of(abs(price[s])))
            least = min(least, price[s])
        mask[b], residual[b] = full(element, z[b], a[b], price, limit, scratch)
    return float_of(most), float_of(dearest), least


@kernel
def _draw(out: Floats, source: Source, start: int, stop: int) -> None:
    """The rows start … stop-1."""
    _, seed, layer, numbers, width = source
    for r in range(start, stop):
        philox.fill(out[r], numbers[r] * width, seed, layer, philox.WEIGHTS)


@kernel
def _solve_rows(
    source: Source,
    batch: tuple[Floats, Indices],
    rows: Shared,
    answers: Answers,
    search: Search,
    space: Space,
) -> None:
    """Rows of problems with error feedback, tile by tile, each of rows of one group.

    `batch` has the targets z [R, N] and the tiles: their first rows, and the end.
    """
    z, tiles = batch
    masks, residuals = answers
    limit, halves = search
    given, seed, layer, numbers, width = source
    indices, gains, weights, noises, prices, orders, uppers, group, steps = rows
    n, m = z.shape[1], indices.shape[2]
    drawn = given.size == 0
    own, rest, share, problem = space
    x, p = problem[0, :m], problem[1, :m]
    for tile in range(len(tiles) - 1):
        first, last = tiles[tile], tiles[tile + 1]
        g = group[first]
        index, gain, weight, noise = indices[g], gains[g], weights[g], noises[g]
        price, order, upper, step = prices[g], orders[g], uppers[g], steps[g]
        for r in range(last - first):
            if drawn:
                philox.fill(own[r], numbers[first + r] * width, seed, layer, philox.WEIGHTS)
            for t in range(n):
                rest[r, t] = z[first + r, order[t]]
        base = own if drawn else given[first:last]
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
                        goal = left
                        if step[k] > 0:
                            goal = np.rint(left / step[k]) * step[k]
                        mask, missed = full(x, goal, weight[k], p, limit, halves)
                        masks[first + r, k] = mask
                        left = missed if step[k] == 0 else (left - goal) + missed
                    residuals[first + r, k] = left
                    if upper.size:
                        share[r, t - start] = left / upper[t, t]
                        errors = share[r, t - start :]
                        pass_on(rest[r, :stop], errors, upper, t, t + 1, t + 1)
            if upper.size:
                for r in range(last - first):
                    pass_on(rest[r], share[r], upper, start, stop, stop)


slowest: Any = _solve_rows  # to compile; it calls most others
