"""How a layer's goals are spread, told by the subsets before.

In: the sums of the subsets so far. Out: for each whole goal the mass of those below it.

Goals are taken to be spread as a mixture of distributions, each one histogram of |goal - centre| in
units of a spread. Centres and spreads follow from the sums of the row, the channel, the same
position in other rows, and the kernel's taps beside it. All arithmetic is of IEEE 754's own
operations in a fixed order, so that packs are read alike everywhere.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from lt_onnx.packing.cells import FURTHEST, UNIT
from lt_onnx.target import Doubles

MASS = 2.0**36  # all goals together; each whole one has at least 1
COMPONENTS, TRACES, KINDS = 5, 4, 3
PLAIN, TWIN, COPY = range(KINDS)  # kinds of problems: by what is known of their goals
LEAST_SPREAD = 1.0  # of goals, which are whole numbers
MAX_ECHOES = 5  # copies of a row before that count
EDGES = np.concatenate(
    [
        np.arange(16) / 10,
        np.arange(8, 16) / 5,
        [3.2, 3.6, 4, 4.5, 5, 6, 7, 8.5, 10, 12, 15, 20, 30, 60, 200, 1e4],
    ]
)
BINS = len(EDGES) - 1
PRIOR = np.concatenate(
    [[0.0], np.cumsum(np.diff(EDGES) / ((1 + EDGES[:-1]) * (1 + EDGES[:-1]) * (1 + EDGES[:-1])))]
)


class Shape(NamedTuple):
    """What is known of all layers' goals; its arrays are written to."""

    histogram: Doubles  # [COMPONENTS, BINS + 1]  running sums
    mixture: Doubles  # [KINDS, COMPONENTS]
    slope: Doubles  # [KINDS, TRACES]  of a goal on the sums near it
    energy: Doubles  # [KINDS, TRACES]
    miss: Doubles  # [KINDS, 2]  |goal - centre|, sum and weight


class Positions(NamedTuple):
    """What is known of a layer, position by position; its arrays are written to."""

    level: NDArray[np.int64]  # [V·K]  of the price
    spread: Doubles  # [V·K, 2]  |sum|: sum and weight
    channel: Doubles  # [V, 2]
    layer: Doubles  # [2]
    echo: Doubles  # [lag, V·K]  mean sum of the copies of a row
    echoes: NDArray[np.int64]  # [lag]  copies that it is of
    sums: Doubles  # [2, V·K]  of the row, and the last one


def fresh_shape() -> Shape:
    """What is known before the first layer."""
    histogram = np.tile(PRIOR * (16 / PRIOR[-1]), (COMPONENTS, 1))
    return Shape(
        histogram,
        np.full((KINDS, COMPONENTS), 1 / COMPONENTS),
        np.zeros((KINDS, TRACES)),
        np.full((KINDS, TRACES), 24.0),
        np.tile([0.2 * UNIT, 1.0], (KINDS, 1)),
    )


def fresh_positions(features: int, taps: int, lag: int) -> Positions:
    """What is known before a layer's first row; each row is a copy of the one `lag` before it."""
    return Positions(
        np.zeros(features * taps, np.int64),
        np.zeros((features * taps, 2)),
        np.zeros((features, 2)),
        np.array([0.2 * UNIT, 1.0]),
        np.zeros((max(lag, 1), features * taps)),
        np.zeros(max(lag, 1), np.int64),
        np.zeros((2, features * taps)),
    )


@numba.njit(cache=True, nogil=True)
def _share(histogram, y):  # type: ignore[no-untyped-def]
    """The share of goals up to y spreads off the centre."""
    a, low, high, total = abs(y), 0, BINS, histogram[BINS]
    if a >= EDGES[BINS]:
        half = total
    else:
        while high - low > 1:
            at = (low + high) >> 1
            if EDGES[at] <= a:
                low = at
            else:
                high = at
        piece = (a - EDGES[low]) / (EDGES[low + 1] - EDGES[low])
        half = histogram[low] + (histogram[low + 1] - histogram[low]) * piece
        half = min(half, histogram[low + 1])
    half = 0.5 * half / total
    return 0.5 + half if y >= 0 else 0.5 - half


@numba.njit(cache=True, nogil=True)
def up_to(shape, weights, frame, goal, parts):  # type: ignore[no-untyped-def]
    """The mass of the goals below a whole one; `parts` [C] are the components' shares."""
    total = 0.0
    for c in range(COMPONENTS):
        parts[c] = _share(shape.histogram[c], (goal - frame[0, c]) / frame[1, c])
        total += weights[c] * parts[c]
    return np.floor(total * (MASS - 2.0**27)) + (goal + FURTHEST)


@numba.njit(cache=True, nogil=True)
def expect(shape, positions, plan, at, trace, frame):  # type: ignore[no-untyped-def]
    """Centre and spread of every component [2, C], from what lies around `at`.

    `trace` [TRACES + 3] are the sums near by, and |sum| of the row and the kernel so far, and
    problems of the row.
    """
    p, t, taps, kind, echo = at
    row, kernel = trace[TRACES], trace[TRACES + 1]
    sums, width = positions.sums[0], plan.kernel_width
    layer = positions.layer[0] / positions.layer[1]
    v = p // taps
    column = (positions.spread[p, 0] + 2 * layer) / (positions.spread[p, 1] + 2)
    channel = (positions.channel[v, 0] + 2 * layer) / (positions.channel[v, 1] + 2)
    row = (row + 6 * layer) / (trace[TRACES + 2] + 6) / layer
    near = (kernel + 1.5 * row * column) / (t + 1.5)
    trace[0] = sums[p - 1] if t % width else 0.0
    trace[1] = sums[p - width] if t >= width and width < taps else 0.0
    trace[2] = sums[p - taps] if v else 0.0
    trace[3] = positions.echo[echo, p] if kind == COPY else 0.0
    centre = 0.0
    for i in range(TRACES):
        centre += shape.slope[kind, i] * trace[i]
    both = np.sqrt(near * np.sqrt(column * channel) * row)
    for c in range(COMPONENTS):
        frame[0, c] = centre if c > 1 else 0.0
    frame[1, 0], frame[1, 1], frame[1, 2] = column * row, near, both
    frame[1, 3] = np.sqrt(near * column * row)
    frame[1, 4] = shape.miss[kind, 0] / shape.miss[kind, 1]
    for c in range(COMPONENTS):
        frame[1, c] = max(frame[1, c], LEAST_SPREAD)


@numba.njit(cache=True, nogil=True)
def _fade(mean, keep, value):  # type: ignore[no-untyped-def]
    """Take a value up into a fading mean, sum and weight."""
    mean[0] = mean[0] * keep + value
    mean[1] = mean[1] * keep + 1


@numba.njit(cache=True, nogil=True)
def echoed(positions, echo, p, total):  # type: ignore[no-untyped-def]
    """Take a subset's sum up into what is known of the copies of its row."""
    seen = min(positions.echoes[echo], MAX_ECHOES - 1)
    positions.echo[echo, p] += (total - positions.echo[echo, p]) / (seen + 1)


@numba.njit(cache=True, nogil=True)
def learn(shape, positions, at, trace, frame, found):  # type: ignore[no-untyped-def]
    """Take up a subset's sum, and the width of its cell if it is empty."""
    p, _, taps, kind, echo = at
    total, width = found
    size = abs(total) + 0.25 * width
    for c in range(COMPONENTS):
        is_wide = width > 0 and (kind != COPY or c < 2)
        y = (size if is_wide else abs(total - frame[0, c])) / frame[1, c]
        low, high = 0, BINS
        while high - low > 1:
            middle = (low + high) >> 1
            if EDGES[middle] <= y:
                low = middle
            else:
                high = middle
        for b in range(low + 1, BINS + 1):
            shape.histogram[c, b] += 1
        if shape.histogram[c, BINS] > 4000:
            for b in range(BINS + 1):
                shape.histogram[c, b] *= 0.5
    error = min(max((total - frame[0, 2]) / frame[1, 2], -3.0), 3.0)
    for i in range(TRACES):
        x = min(max(trace[i] / frame[1, 2], -3.0), 3.0)
        shape.energy[kind, i] = min(shape.energy[kind, i] + 0.5 * x * x, 4000.0)
        shape.slope[kind, i] += 0.5 * error * x / shape.energy[kind, i]
    _fade(shape.miss[kind], 0.98, abs(total - frame[0, 2]))
    _fade(positions.spread[p], 0.95, size)
    _fade(positions.channel[p // taps], 0.98, size)
    _fade(positions.layer, 0.9995, size)
    trace[TRACES] += size
    trace[TRACES + 1] += size
    trace[TRACES + 2] += 1
    echoed(positions, echo, p, total)
    positions.sums[0, p] = total
