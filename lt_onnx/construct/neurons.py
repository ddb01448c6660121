"""Which neuron of a univariate layer serves which channel (Algorithm 1, index permutation I)."""

import numpy as np
from numpy.typing import NDArray

from lt_onnx.blueprint import Expand
from lt_onnx.layout import CONSTANT, Layout
from lt_onnx.ops.activation_fit import Use
from lt_onnx.target import Array, Floats


def assign(step: Expand, unit: Floats, place: NDArray[np.int64]) -> NDArray[np.int64]:
    """Give every slot a neuron: any neuron may serve any channel whose sign its weight has.

    The strongest neurons choose first, each the open (channel, sign) where its weight is largest.
    A slot that stays empty has -1.
    """
    if step.model.use is not Use.SPLIT:
        return np.arange(len(step.slots), dtype=np.int64)
    parts = sorted(set(step.slots[:, 1].tolist()), reverse=True)
    m = len(step.slots) // (len(parts) * step.channels)
    rows = np.full(len(step.slots), -1, np.int64)
    need = np.full((2, step.channels), m)
    need[:, place < 0] = 0
    if -1 not in parts:
        need[1] = 0
    left = int(need.sum())
    candidates = unit[:, np.maximum(place, 0)]
    strongest = np.argsort(-np.abs(candidates).max(1), kind="stable")
    for row in strongest:
        weights = candidates[row]
        if not left:
            break
        negative = (weights < 0).astype(np.int64)
        open_ = need[negative, np.arange(step.channels)] > 0
        if not open_.any():
            continue
        channel = int(np.where(open_, np.abs(weights), -1).argmax())
        sign = int(negative[channel])
        number = m - int(need[sign, channel])
        rows[(channel * len(parts) + sign) * m + number] = row
        need[sign, channel] -= 1
        left -= 1
    return rows


def order(
    step: Expand, rows: NDArray[np.int64], constants: NDArray[np.int64], half: int
) -> NDArray[np.int64]:
    """Which neuron stands at each physical channel of the expanded layout."""
    out = step.out_layout
    idle = 0  # a slot without a neuron shows some neuron; its gain of 0 keeps it unread
    places = np.full(out.width, idle, np.int64)
    data = out.channel >= 0
    places[data] = np.maximum(rows[out.copy[data]], 0)
    if half:
        twins = (out.channel < 0) & (out.channel != CONSTANT)
        places[twins] = rows[out.copy[twins]] + half
    constant = out.channel == CONSTANT
    if len(constants):
        places[constant] = constants[np.minimum(out.copy[constant], len(constants) - 1)]
    return places


def first_places(layout: Layout) -> NDArray[np.int64]:
    """Place of copy 0 of every channel, -1 where there is none."""
    return layout.find((c, 0) for c in range(layout.size))


def peaks(x: list[Array], axis: int) -> NDArray[np.float64]:
    """Largest magnitude of every physical channel."""
    largest = []
    for value in x:
        others = tuple(i for i in range(value.ndim) if i != axis)
        largest.append(np.maximum(value.max(axis=others), -value.min(axis=others)))
    peak: NDArray[np.float64] = np.asarray(np.max(largest, 0), np.float64)
    return peak
