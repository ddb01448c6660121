"""The subsets of a block's base sets as symbols: whether they are empty, and in which cell.

In: base sets, their masks, row by row. Out, through a coder: one or two symbols for every problem,
whether its subset is empty, and which cell (`cells`) its goal lies in; so the bits that a mask
takes are those of the target weight behind it, to the accuracy that its cell has.
"""

from typing import NamedTuple

import numba
import numpy as np

from lt_onnx.packing.cells import FURTHEST, cell_of, order, rounded, snapped, subset_at
from lt_onnx.packing.goals import (
    COMPONENTS,
    COPY,
    MASS,
    PLAIN,
    TRACES,
    TWIN,
    echoed,
    expect,
    learn,
    up_to,
)
from lt_onnx.packing.prices import LEVELS, MAX_LEVEL, price_of, step_of
from lt_onnx.packing.range_coder import code_bit, code_symbol, narrow, sought

EMPTY, SPARSE, ESCAPED, ROW, OFFSET, SIZE = 0, 256, 268, 269, 270, 334  # kinds of bits
BIT_KINDS = SIZE + 2 * LEVELS


class Plan(NamedTuple):
    """How a layer's subsets are told."""

    most: int  # members of a subset that has a cell
    base: int  # level of the price
    own_levels: bool  # of each position
    kernel_width: int
    twins: bool  # every second feature is the other's for inputs of the other sign
    sparse: bool  # whether a subset is empty is told without a search
    rows: int  # of a group
    lag: int  # rows from one copy of a row to the next; 0: there are none
    square: float  # of the step between goals, over the price; 0: there is none


@numba.njit(cache=True, nogil=True)
def _chance_kind(mass):  # type: ignore[no-untyped-def]
    """A kind of bits for a mass: by its eighths of an octave, or those of what it lacks."""
    share, first = mass / MASS, 0
    if share > 0.5:
        share, first = 1 - share, 128
    octave = 0
    while share < 0.5 and octave < 30:
        share *= 2
        octave += 1
    return first + 4 * octave + min(int((share - 0.5) * 8), 3)


@numba.njit(cache=True, nogil=True)
def _code_levels(coder, bits, positions, plan, levels):  # type: ignore[no-untyped-def]
    """The price's level at every position of a group."""
    for p in range(levels.size):
        offset = levels[p] - plan.base + LEVELS // 2
        if plan.own_levels:
            offset = code_symbol(coder, bits, OFFSET, offset, 6)
        level = plan.base + (offset - LEVELS // 2 if plan.own_levels else 0)
        positions.level[p] = min(max(level, 0), MAX_LEVEL)


@numba.njit(cache=True, nogil=True)
def _code_escaped(coder, bits, mask, count):  # type: ignore[no-untyped-def]
    """A subset that has no cell, by its size and its rank."""
    size = 0
    for i in range(count):
        size += (mask >> i) & 1
    left = code_symbol(coder, bits, SIZE, size, 6)
    found = np.int64(0)
    for i in range(count):
        rest = count - i
        left = min(left, rest)
        is_in = (mask >> i) & 1
        if coder.decoding:
            is_in = np.int64(sought(coder, rest) < left)
        if is_in:
            narrow(coder, 0, left, rest)
            found |= np.int64(1) << i
            left -= 1
        else:
            narrow(coder, left, rest - left, rest)
    return found


@numba.njit(cache=True, nogil=True)
def _goal_at(shape, weights, frame, mass, parts):  # type: ignore[no-untyped-def]
    """The goal that a mass from below leads to."""
    low, high = -FURTHEST, FURTHEST
    while high - low > 1:
        middle = np.floor((low + high) / 2)
        if up_to(shape, weights, frame, middle, parts[0]) <= mass:
            low = middle
        else:
            high = middle
    return low


@numba.njit(cache=True, nogil=True)
def _code_cell(coder, known, own, frame, problem):  # type: ignore[no-untyped-def]
    """A subset that is not empty, by its cell; -1 for what no encoder writes."""
    most, price, step, kind, mask, low, high = problem  # the cell of the empty subset
    bits, shape = known
    weights, parts = shape.mixture[kind], np.empty((2, COMPONENTS))
    below = up_to(shape, weights, frame, low, parts[0])
    without = up_to(shape, weights, frame, high, parts[0]) - below
    first, last = 0.0, 0.0
    if not coder.decoding:
        first, last = cell_of(own, most, price, mask)
        first, last = snapped(first, last, step)
    escaped = code_bit(coder, bits, ESCAPED, np.int64(last <= first))
    if escaped:
        return _code_escaped(coder, bits, mask, own.x.size)
    total = np.int64(MASS - without)
    if coder.decoding:
        mass = np.float64(sought(coder, total))
        goal = _goal_at(shape, weights, frame, mass + (without if mass >= below else 0), parts)
        mask = subset_at(own, most, price, rounded(goal, step))
        first, last = cell_of(own, most, price, mask)
        first, last = snapped(first, last, step)
        if last <= first or mask == 0:
            return np.int64(-1)
    start = up_to(shape, weights, frame, first, parts[0])
    size = up_to(shape, weights, frame, last, parts[1]) - start
    if first >= high:
        start -= without
    narrow(coder, np.int64(start), np.int64(size), total)
    whole = 0.0
    for c in range(COMPONENTS):
        parts[1, c] = weights[c] * max(parts[1, c] - parts[0, c], 1e-9)
        whole += parts[1, c]
    for c in range(COMPONENTS):
        weights[c] = 0.98 * parts[1, c] / whole + 0.02 / COMPONENTS
    return mask


@numba.njit(cache=True, nogil=True)
def code_rows(coder, known, positions, plan, own, rows):  # type: ignore[no-untyped-def]
    """The masks of some rows, which are written to while decoding; the problems that took a search.

    Stops, with -1, at what no encoder writes, and where more searches are needed than are allowed.
    """
    (bits, shape), (x, masks, levels, first, allowed) = known, rows
    taps, searched = positions.sums.shape[1] // positions.channel.shape[0], 0
    trace, frame, parts = np.zeros(TRACES + 3), np.zeros((2, COMPONENTS)), np.empty((1, COMPONENTS))
    for r in range(masks.shape[0]):
        if (first + r) % plan.rows == 0:
            group = (first + r) // plan.rows - first // plan.rows
            _code_levels(coder, bits, positions, plan, levels[group])
        is_any = 0
        for p in range(masks.shape[1]):
            is_any |= masks[r, p] != 0
        if not code_bit(coder, bits, ROW, np.int64(is_any)):
            for p in range(masks.shape[1]):
                masks[r, p] = 0
            continue
        echo = (first + r) % plan.lag if plan.lag else 0
        for i in range(trace.size):
            trace[i] = 0
        for p in range(masks.shape[1]):
            positions.sums[1, p], positions.sums[0, p] = positions.sums[0, p], 0
        for p in range(masks.shape[1]):
            t, v = p % taps, p // taps
            kind = TWIN if plan.twins and v & 1 else PLAIN
            kind = COPY if positions.echoes[echo] else kind
            if t == 0:
                trace[TRACES + 1] = 0
            at = (p, t, taps, kind, echo)
            price, is_empty = price_of(positions.level[p]), np.int64(masks[r, p] == 0)
            step = step_of(positions.level[p], plan.square)
            if plan.sparse:
                near = positions.sums[0, p - 1] == 0 if p else True
                near = SPARSE + 2 * np.int64(near) + np.int64(positions.sums[1, p] == 0)
                if kind == COPY:
                    near += 4 if positions.echo[echo, p] == 0 else 8
                if code_bit(coder, bits, near, is_empty):
                    masks[r, p] = 0
                    echoed(positions, echo, p, 0.0)
                    continue
            searched += 1
            if searched > allowed:
                return -1
            order(own, x[r, p])
            expect(shape, positions, plan, at, trace, frame)
            low, high = cell_of(own, plan.most, price, np.int64(0))
            low, high = snapped(low, high, step)
            if not plan.sparse:
                weights = shape.mixture[kind]
                mass = up_to(shape, weights, frame, high, parts[0])
                mass -= up_to(shape, weights, frame, low, parts[0])
                if code_bit(coder, bits, EMPTY + _chance_kind(mass), is_empty):
                    masks[r, p] = 0
                    learn(shape, positions, at, trace, frame, (0.0, high - low))
                    continue
            problem = (plan.most, price, step, kind, masks[r, p], low, high)
            mask = _code_cell(coder, known, own, frame, problem)
            if mask < 0:
                return -1
            masks[r, p], total = mask, 0.0
            for i in range(own.x.size):
                if own.bit[i] & mask:
                    total += own.x[i]
            learn(shape, positions, at, trace, frame, (total, 0.0))
        positions.echoes[echo] += plan.lag > 0
    return searched
