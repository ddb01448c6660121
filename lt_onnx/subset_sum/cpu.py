"""Numba drivers: all cores over tiles of problems or rows; scratch memory never grows with 2^M.

The arithmetic and the ties are those of `reference`, to the bit.
"""

import numba
import numpy as np
from numpy.typing import NDArray

from lt_onnx.source import philox
from lt_onnx.subset_sum.full import HALF, bits_of, float_of, full
from lt_onnx.subset_sum.problem import Drawn, Rows
from lt_onnx.subset_sum.smallest import solve_smallest

CHUNKS = 256  # pieces of a flat batch under the full objective
ROWS = 16  # rows that one thread holds, so that it reads the feedback's factor once for all
BLOCK = 64  # problems after which their errors reach the rest of the row

Masks = NDArray[np.uint32]
Floats = NDArray[np.float32]


def draw(rows: Drawn) -> Floats:
    """The rows as an array, [R, width]."""
    return _draw(np.uint64(rows.seed), rows.layer, rows.numbers, rows.width)  # type: ignore[no-any-return]


class Cpu:
    """The kernels on all cores; see `device.Kernels`."""

    def solve_full(
        self, x: Floats, z: Floats, a: Floats, p: Floats, limit: int
    ) -> tuple[Masks, Floats]:
        """A flat batch under the full objective."""
        return _solve_full(x, z, a, p, limit)  # type: ignore[no-any-return]

    def solve_smallest(
        self, base: Floats | Drawn, z: Floats, rows: Rows, tolerance: np.float32, limit: int
    ) -> tuple[Masks, Floats]:
        """Rows of independent problems under the paper's rule."""
        given = draw(base) if isinstance(base, Drawn) else base
        return solve_smallest(given, rows.index, rows.gain, z, tolerance, limit)

    def solve_rows(
        self, base: Floats | Drawn, z: Floats, rows: Rows, limit: int
    ) -> tuple[Masks, Floats]:
        """Rows under the full objective, with error feedback."""
        given = np.empty((0, 0), np.float32) if isinstance(base, Drawn) else base
        drawn = base if isinstance(base, Drawn) else Drawn(0, 0, np.empty(0, np.int64), 0)
        upper = np.empty((0, 0), np.float32) if rows.upper is None else rows.upper
        height = min(ROWS, -(-len(z) // (2 * numba.get_num_threads())))
        return _solve_rows(  # type: ignore[no-any-return]
            given,
            np.uint64(drawn.seed),
            drawn.layer,
            drawn.numbers,
            drawn.width,
            z,
            rows.index,
            rows.gain,
            rows.weight,
            rows.noise,
            rows.price,
            rows.order,
            upper,
            limit,
            max(height, 1),
        )


@numba.njit(cache=True, parallel=True)
def largest(values):  # type: ignore[no-untyped-def]
    """Largest magnitude of a flat array, NaN if there is one."""
    bits = np.zeros(CHUNKS, np.int32)
    for chunk in numba.prange(CHUNKS):
        most = np.int32(0)
        some = values[chunk * values.size // CHUNKS : (chunk + 1) * values.size // CHUNKS]
        for i in range(some.size):
            most = max(most, bits_of(abs(some[i])))
        bits[chunk] = most
    return float_of(bits.max())


def write_masked(
    out: Floats,
    at: NDArray[np.int64],
    rows: Drawn,
    masks: Masks,
    index: NDArray[np.int32],
    twin: int = 0,
) -> None:
    """Write the chosen weights of `rows` into the rows `at` of `out`, 0 elsewhere.

    masks is [R, N], index [N, M]. With `twin` the weights twin…2·twin-1 of a row are the negatives
    of the first ones.
    """
    _write_masked(out, at, np.uint64(rows.seed), rows.layer, rows.numbers, masks, index, twin)


@numba.njit(cache=True, parallel=True)
def _write_masked(out, at, seed, layer, numbers, masks, index, twin):  # type: ignore[no-untyped-def]
    width = out.shape[1]
    for r in numba.prange(len(at)):
        row = out[at[r]]
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
def _solve_full(x, z, a, p, limit):  # type: ignore[no-untyped-def]
    """A flat batch under the full objective: masks [B], residuals [B]."""
    count, m = x.shape
    mask = np.empty(count, np.uint32)
    residual = np.empty(count, np.float32)
    chunks = min(count, CHUNKS)
    for chunk in numba.prange(chunks):
        sums = np.empty((2, HALF + 1), np.float32)
        costs = np.empty((2, HALF + 1), np.float32)
        masks = np.empty((2, HALF + 1), np.uint32)
        for b in range(chunk * count // chunks, (chunk + 1) * count // chunks):
            mask[b], residual[b] = full(x[b], z[b], a[b], p[b], m, limit, sums, costs, masks)
    return mask, residual


@numba.njit(cache=True, parallel=True)
def _draw(seed, layer, numbers, width):  # type: ignore[no-untyped-def]
    out = np.empty((len(numbers), width), np.float32)
    for r in numba.prange(len(numbers)):
        philox.fill(out[r], numbers[r] * width, seed, layer, 0)
    return out


@numba.njit(cache=True)
def _spread(rest, share, upper, start, stop):  # type: ignore[no-untyped-def]
    """Pass the errors of problems start…stop-1 on to the rest of the rows, in their order."""
    n = rest.shape[1]
    for low in range(stop, n, 256):
        high = min(low + 256, n)
        for r in range(len(rest)):
            some = rest[r, low:high]
            for t in range(start, stop):
                if share[r, t - start] != 0:
                    factor = share[r, t - start]
                    row = upper[t, low:high]
                    for i in range(some.size):
                        some[i] -= factor * row[i]


@numba.njit(cache=True)
def _within(rest, share, error, upper, t, start, stop):  # type: ignore[no-untyped-def]
    """Pass one error on to the later problems of its block; the others follow in `_spread`."""
    factor = error / upper[t, t]
    share[t - start] = factor
    if factor != 0:
        for later in range(t + 1, stop):
            rest[later] -= factor * upper[t, later]


@numba.njit(cache=True, parallel=True)
def _solve_rows(  # type: ignore[no-untyped-def]
    base,
    seed,
    layer,
    numbers,
    width,
    z,
    index,
    gain,
    weight,
    noise,
    price,
    order,
    upper,
    limit,
    rows,
):
    """Rows of problems with error feedback, `rows` of them in one thread's hands.

    With an empty `base` the rows `numbers` of `width` weights are drawn here; for the rest see
    `solve_rows` of the package.
    """
    count, n = z.shape
    m = index.shape[1]
    masks = np.zeros((count, n), np.uint32)
    residuals = np.zeros((count, n), np.float32)
    drawn = base.size == 0
    for tile in numba.prange(-(-count // rows)):
        first = tile * rows
        height = min(rows, count - first)
        own = np.empty((height, width if drawn else 0), np.float32)
        rest = np.empty((height, n), np.float32)
        share = np.zeros((height, BLOCK), np.float32)
        for r in range(height):
            if drawn:
                philox.fill(own[r], numbers[first + r] * width, seed, layer, 0)
            for t in range(n):
                rest[r, t] = z[first + r, order[t]]
        source = own if drawn else base[first : first + height]
        sums = np.empty((2, HALF + 1), np.float32)
        costs = np.empty((2, HALF + 1), np.float32)
        halves = np.empty((2, HALF + 1), np.uint32)
        x = np.empty(m, np.float32)
        p = np.empty(m, np.float32)
        for start in range(0, n, BLOCK):
            stop = min(start + BLOCK, n)
            for r in range(height):
                for t in range(start, stop):
                    k = order[t]
                    left = rest[r, t]
                    if z[first + r, k] != 0:
                        for s in range(m):
                            x[s] = source[r, max(index[k, s], 0)] * gain[k, s]
                            p[s] = x[s] * x[s] * noise[k, s] + price[k]
                        masks[first + r, k], left = full(
                            x, left, weight[k], p, m, limit, sums, costs, halves
                        )
                    residuals[first + r, k] = left
                    if upper.size:
                        _within(rest[r], share[r], left, upper, t, start, stop)
            if upper.size:
                _spread(rest, share, upper, start, stop)
    return masks, residuals
