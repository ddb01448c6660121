"""A univariate layer, which opens a two-for-one block: each neuron listens to one channel.

Algorithm 1, odd layers. Which neuron serves which channel is `neurons`' business; here the layer is
pruned to that, its scales are set, and some neurons that are left become constants.
"""

import math

import numpy as np
from numpy.typing import NDArray

from lt_onnx.blueprint import Expand
from lt_onnx.construct.constants import SIZES, Response, constant_values
from lt_onnx.construct.neurons import assign, first_places, order, peaks
from lt_onnx.construct.results import BuiltLayer, LayerStats, MaskedRows
from lt_onnx.errors import LostConstantsError
from lt_onnx.ops.activation_fit import Use
from lt_onnx.options import Options, Sigma
from lt_onnx.source.layer import draw_bias, draw_rows
from lt_onnx.target import Array, Floats

MARGIN = 1.25  # of the calibration's largest input that a neuron must still hand on
SPLIT_MARGIN = 16.0  # the same where φ is linear all the way, and smaller inputs cost nothing


def expand(
    step: Expand, options: Options, x: list[Array], response: Response
) -> tuple[MaskedRows, BuiltLayer, Floats]:
    """The layer's rows, what is left of it, and the gain of every slot.

    `x` are its inputs over the calibration, `response` that of its activation.
    """
    source, layout = step.source, step.in_layout
    axis = step.out_layout.axis
    unit = draw_rows(options.seed, source, 0, source.shape[0]).reshape(source.shape[0], -1)
    place = np.arange(step.channels) if layout is None else first_places(layout)
    present = place >= 0
    peak = peaks(x, axis)
    rows = assign(step, unit, place)
    keep = np.zeros(unit.shape, bool)
    scale = np.zeros(len(unit), np.float64)
    gains = np.zeros(len(step.slots), np.float64)

    channel = step.slots[:, 0]
    filled = (rows >= 0) & present[channel]
    slot_rows, slot_places = rows[filled], place[channel[filled]]
    weight = unit[slot_rows, slot_places].astype(np.float64)
    keep[slot_rows, slot_places] = True
    model = step.model
    largest = np.maximum(peak[slot_places], 1e-6) * MARGIN
    if model.use is Use.SPLIT:  # a channel that was silent so far may yet be as loud as the others
        largest[:] = peak[slot_places].max(initial=1e-6) * SPLIT_MARGIN
    allowed = model.reach / largest if math.isfinite(model.reach) else np.ones(len(largest))
    if model.use is Use.SPLIT:
        allowed = np.minimum(allowed, 1.0)
    if options.sigma is Sigma.CHANNEL:
        scale[slot_rows] = allowed / np.abs(weight)
    else:
        scale[slot_rows] = allowed.min(initial=np.inf) if len(allowed) else 1.0
    scale = scale.astype(np.float32).astype(np.float64)
    gain = model.slope * scale[slot_rows] * weight
    gains[filled] = np.abs(gain) if model.use is Use.SPLIT else gain
    half = source.mirror_rows
    if half:
        keep[half : 2 * half] = keep[:half]
        scale[half : 2 * half] = scale[:half]

    bias = None
    chosen = np.zeros(0, np.int64)
    if step.constants:
        size = SIZES[: step.constants] * float(np.abs(gains).max(initial=1e-6))
        sign = response.side(size)
        chosen, bias, columns, drive = _constants(step, options.seed, unit, rows, x, axis, sign)
        keep[chosen, columns] = columns >= 0
        wanted = response.drive(size[: len(chosen)], drive)
        scale[chosen] = wanted / drive
        if options.sigma is Sigma.LAYER:
            scale[chosen] = np.abs(np.median(scale[chosen]))
    stored = np.where(keep, unit, np.float32(0))
    kept = int(np.count_nonzero(stored))
    if bias is not None:
        kept += int(np.count_nonzero(bias))
    tensors: dict[str, Array] = {
        step.scale: scale.astype(np.float32).reshape(-1, *[1] * (x[0].ndim - axis - 1)),
        step.order: order(step, rows, chosen, half),
    }
    stats = LayerStats(
        name=step.name,
        kind="univariate",
        op=step.nodes[0].op,
        target_weights=0,
        kept=kept,
        source_weights=stored.size,
        scales=int(np.count_nonzero(scale)),
        base_size=step.neurons,
    )
    return (
        MaskedRows(step, 0, stored),
        BuiltLayer(step, bias, tensors, stats),
        gains.astype(np.float32),
    )


def _constants(
    step: Expand,
    seed: int,
    unit: Floats,
    rows: NDArray[np.int64],
    x: list[Array],
    axis: int,
    sign: float,
) -> tuple[NDArray[np.int64], Floats | None, NDArray[np.int64], Floats]:
    """Constant neurons: rows, masked biases, the column each listens to (-1), unit drive."""
    free = np.setdiff1d(np.arange(2 * step.source.mirror_rows, len(unit)), rows)
    if step.source.bias:
        drawn = draw_bias(seed, step.source)
        chosen = free[np.argsort(-sign * drawn[free], kind="stable")][: step.constants]
        bias = np.zeros_like(drawn)
        bias[chosen] = drawn[chosen]
        return chosen, bias, np.full(len(chosen), -1), drawn[chosen]
    assert step.in_layout is not None
    places, values = constant_values(step.in_layout, x, axis)
    if not len(places):
        raise LostConstantsError(step.name, step.tensor)
    pull = unit[np.ix_(free, places)] * values
    best = (sign * pull).argmax(1)
    drive = pull[np.arange(len(free)), best]
    first = np.argsort(-sign * drive, kind="stable")[: step.constants]
    return free[first], None, places[best[first]], drive[first]
