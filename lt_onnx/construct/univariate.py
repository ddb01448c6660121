"""A univariate layer, which opens a two-for-one block: each neuron listens to one channel.

Algorithm 1, odd layers. Neurons are assigned to channels (the index permutation I), the layer is
pruned to that, its scales are set, and some neurons that are left become constants. Letters: R
neurons (rows), I input channels, P slots (channel and sign, m of each).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lt_onnx.blueprint import Expand
from lt_onnx.construct.constants import (
    PERIOD,
    SIZES,
    Response,
    constant_places,
    constant_values,
    extremes,
)
from lt_onnx.construct.layer_task import BLOCK_WEIGHTS
from lt_onnx.construct.results import BuiltLayer, LayerStats, MaskedRows
from lt_onnx.construct.stepwise_run import taken
from lt_onnx.errors import LostConstantsError
from lt_onnx.layout import CONSTANT
from lt_onnx.manifest import BlockRecord, ConstantNeurons
from lt_onnx.ops.activation_fit import Use
from lt_onnx.options import Options, Sigma
from lt_onnx.source.layer import draw_bias, draw_rows
from lt_onnx.target import Array, Doubles, Floats, Indices, Node

UNSERVED = -1  # a slot that no neuron is left for
MARGIN = 1.25  # of the calibration's largest input that a neuron must still hand on
SPLIT_MARGIN = 16.0  # the same where φ is linear all the way, and smaller inputs cost nothing


def expand(
    step: Expand, options: Options, *, x: Sequence[Array], response: Response
) -> tuple[MaskedRows, BuiltLayer, Floats]:
    """Prune and scale the layer of `step`: its rows, the rest of it, and the slots' gains [P].

    `x` are its inputs over the calibration, batch by batch, `response` that of its activation. A
    slot's neuron is its gain times the channel; a slot without one has 0. Raises
    LostConstantsError when constants were planned to reach the layer and none does.
    """
    source, model, axis = step.source, step.model, step.out_layout.axis
    unit = draw_rows(options.seed, source, start=0, stop=source.shape[0])
    unit = unit.reshape(len(unit), -1)
    place = np.arange(step.channels)  # of every channel's copy 0
    if step.in_layout is not None:
        place = step.in_layout.find((c, 0) for c in range(step.in_layout.size))
    slot_rows = assign(step, unit, place)
    scale = np.zeros(len(unit), np.float64)
    gains = np.zeros(len(step.slots), np.float64)

    channel = step.slots[:, 0]
    filled = (slot_rows >= 0) & (place >= 0)[channel]
    rows, columns = slot_rows[filled], place[channel[filled]]
    weight = unit[rows, columns].astype(np.float64)
    others = tuple(i for i in range(x[0].ndim) if i != axis)
    largest = [np.maximum(v.max(axis=others), -v.min(axis=others)) for v in x]
    peak = np.max(largest, 0)[columns].astype(np.float64)
    gain = _gain(step, float(peak.max(initial=0.0)))
    scale[rows] = gain / (np.abs(weight) if options.sigma is Sigma.CHANNEL else 1.0)
    scale = scale.astype(np.float32).astype(np.float64)
    handed_on = model.slope * scale[rows] * weight
    gains[filled] = np.abs(handed_on) if model.use is Use.SPLIT else handed_on
    half = source.mirror_rows
    first = rows < half
    rows, columns = (np.append(a, a[first] + shift) for a, shift in ((rows, half), (columns, 0)))
    scale[half : 2 * half] = scale[:half]

    constants, bias, said = np.zeros(0, np.int64), None, None
    if step.constants:
        free = np.setdiff1d(np.arange(2 * half, len(unit)), slot_rows)
        size = SIZES[: step.constants] * float(np.abs(gains).max(initial=1e-6))
        inputs, sign = _constant_inputs(step, x), response.side(size)
        constants, listens, drive = _constants(
            step, options.seed, unit=unit, free=free, inputs=inputs, sign=sign
        )
        # beyond the limit of a ReLU6 a constant is not what a collapsed form takes it for
        straight = model.use is Use.SPLIT and model.positive == 1 and sign > 0
        signs = np.full(len(constants), sign)
        wanted = response.drive(size[: len(constants)], signs, straight=straight)
        scale[constants] = wanted / drive
        if options.sigma is Sigma.LAYER:
            scale[constants] = np.median(np.abs(scale[constants]))
        said = _constants_record(wanted, inputs, sign)
        if source.bias:
            bias = np.zeros(len(unit), np.float32)
            bias[constants] = drive
        else:
            rows, columns = np.append(rows, constants), np.append(columns, listens)
    kept = unit[rows, columns]
    unit[:] = 0  # in place: the layer may be the largest thing there is
    unit[rows, columns] = kept
    tensors: dict[str, Array] = {
        step.scale: scale.astype(np.float32).reshape(-1, *[1] * (x[0].ndim - axis - 1)),
        step.order: order(step, slot_rows, constants=constants),
    }
    stats = LayerStats(
        name=step.name,
        kind="univariate",
        op=step.nodes[0].op,
        target_weights=0,
        kept=int(np.count_nonzero(kept) + (0 if bias is None else np.count_nonzero(bias))),
        source_weights=step.source.count,
        scales=int(np.count_nonzero(scale)),
        base_size=step.neurons,
    )
    rest = BuiltLayer(step, bias, tensors, stats, block=_record(step, place, gain, said))
    return MaskedRows(step, 0, unit), rest, gains.astype(np.float32)


@dataclass(frozen=True)
class Neurons:
    """A univariate layer as the selection of channels that it comes to.

    Its results are the same to the bit, without R·I multiplications for each place.
    """

    step: Expand
    channel: Indices  # [R]  the only one that a neuron listens to …
    weight: Floats  # [R]  … and its weight
    rest: BuiltLayer

    @staticmethod
    def of(rows: MaskedRows, rest: BuiltLayer) -> "Neurons":
        """Those of `rows`, which are a whole layer."""
        assert isinstance(rows.step, Expand)
        parts = np.array_split(rows.weight, -(-rows.weight.size // BLOCK_WEIGHTS))
        channel = np.concatenate([np.abs(part).argmax(1) for part in parts])
        return Neurons(rows.step, channel, rows.weight[np.arange(len(channel)), channel], rest)

    def nodes(self, places: Indices) -> tuple[list[Node], dict[str, Array]]:
        """The nodes that make the channels `places` of the layer's output, and their constants."""
        step, axis, bias = self.step, self.step.out_layout.axis, self.rest.bias
        product, spatial = step.nodes[0], len(step.source.shape) - 2
        column = (-1, *[1] * (spatial if step.nodes[0].op == "Conv" else 0))
        rows, order = np.unique(self.rest.tensors[step.order][places], return_inverse=True)
        names = [f"{step.name}/{key}" for key in ("listens", "weight", "bias")]
        constants: dict[str, Array] = {
            names[0]: self.channel[rows],
            names[1]: self.weight[rows].reshape(column),
            step.scale: self.rest.tensors[step.scale][rows],
            step.order: order,
        }
        output, inside = product.outputs[0], len(product.inputs) > 2  # its bias
        last, heard = f"{output}/product" if inside else output, f"{names[0]}/x"
        nodes = [
            Node("Gather", names[0], (product.inputs[0], names[0]), (heard,), {"axis": axis}),
            Node("Mul", names[1], (heard, names[1]), (last,), {}),
        ]
        if bias is not None:
            constants[f"{step.source.name}/bias"] = bias[rows]
        if inside:
            assert bias is not None
            constants[names[2]] = bias[rows].reshape(column)
            nodes.append(Node("Add", names[2], (last, names[2]), (output,), {}))
        return [*nodes, *step.nodes[1:]], constants


def _gain(step: Expand, peak: float) -> float:
    """What every neuron multiplies its input by before φ, so that this is (leaky) linear there.

    `peak` is the largest input that any neuron has met. A float32.
    """
    model = step.model
    if model.use is Use.SPLIT:  # a channel that was small here may be larger later
        gain = min(model.reach / (max(peak, 1e-6) * SPLIT_MARGIN), 1.0)
    else:
        gain = model.reach / (max(peak, 1e-6) * MARGIN)
    return float(max(np.float32(gain), np.finfo(np.float32).tiny))


def _record(
    step: Expand, place: Indices, gain: float, constants: ConstantNeurons | None
) -> BlockRecord:
    """What the manifest says of the block: with the seed, all that is chosen here follows from it.

    `place` is the input of each channel, -1 where there is none.
    """
    return BlockRecord(
        channels=step.channels,
        neurons=step.neurons,
        parts=tuple(dict.fromkeys(step.slots[:, 1].tolist())),
        group=step.group,
        reads=_runs(place),
        gain=gain,
        constants=constants,
        order=step.order,
    )


def _constants_record(
    wanted: Doubles, inputs: tuple[Indices, Floats], sign: float
) -> ConstantNeurons | None:
    """What the manifest says of neurons that are constant, before φ as large as `wanted` [C]."""
    levels = np.rint(4 * (np.log2(np.abs(wanted[:PERIOD])) + 24)).astype(int).tolist()
    values = tuple((int(p), float(np.float32(value))) for p, value in zip(*inputs, strict=True))
    side: Literal[-1, 1] = 1 if sign > 0 else -1
    return ConstantNeurons(len(wanted), side, values, tuple(levels)) if levels else None


def _runs(place: Indices) -> tuple[tuple[int, int], ...]:
    """Inputs of the channels as runs: the first, and how many follow each other; -1: of none."""
    step = np.where(place[:-1] < 0, -1, place[:-1] + 1)
    starts = np.append(0, np.flatnonzero(place[1:] != step) + 1)
    counts = np.diff(np.append(starts, len(place)))
    return tuple(zip(place[starts].tolist(), counts.tolist(), strict=True))


def _constant_inputs(step: Expand, x: Sequence[Array]) -> tuple[Indices, Floats]:
    """The inputs that constants may listen to, and their values; none where biases drive them.

    Raises LostConstantsError when constants were planned to reach the layer and none does.
    """
    if step.source.bias:
        return np.zeros(0, np.int64), np.zeros(0, np.float32)
    assert step.in_layout is not None
    axis = step.out_layout.axis
    channels = taken(x, constant_places(step.in_layout), axis)
    places, values = constant_values(step.in_layout, [extremes(v, axis) for v in channels])
    if not len(places):
        raise LostConstantsError(step.name, step.tensor)
    return places, values


def _constants(
    step: Expand,
    seed: int,
    *,
    unit: Floats,
    free: Indices,
    inputs: tuple[Indices, Floats],
    sign: float,
) -> tuple[Indices, Indices, Floats]:
    """Which of the `free` neurons become constants, those that are driven hardest in one direction.

    `inputs` are the constant inputs and their values. Returns the neurons' rows, the input that
    each listens to (-1: its own bias), and their pre-activations before any scale.
    """
    if step.source.bias:
        drive = draw_bias(seed, step.source)[free]
        listens = np.full(len(free), -1)
    else:
        places, values = inputs
        pull = unit[np.ix_(free, places)] * values
        best = (sign * pull).argmax(1)
        drive, listens = pull[np.arange(len(free)), best], places[best]
    first = np.argsort(-sign * drive, kind="stable")[: step.constants]
    return free[first], listens[first], drive[first]


def assign(step: Expand, unit: Floats, place: Indices) -> Indices:
    """Give every slot a neuron, [P]: any may serve any channel whose sign its weight has.

    The strongest neurons choose first, each the open (channel, sign) where its weight is largest;
    UNSERVED where none is left. `unit` [R, I] are their weights, `place` the input that is each
    channel's copy 0, -1 where there is none.
    """
    if step.model.use is not Use.SPLIT:
        return np.arange(len(step.slots), dtype=np.int64)
    signs = len(np.unique(step.slots[:, 1]))  # positive, or positive and negative
    m = len(step.slots) // (signs * step.channels)
    rows = np.full(len(step.slots), UNSERVED, np.int64)
    need = np.full((2, step.channels), m)
    need[:, place < 0] = need[signs:] = 0
    columns, channels = np.maximum(place, 0), np.arange(step.channels)
    parts = np.array_split(unit, -(-unit.size // BLOCK_WEIGHTS))
    strength = np.concatenate([np.abs(part[:, columns]).max(1) for part in parts])
    for row in np.argsort(-strength, kind="stable"):
        weights = unit[row, columns]
        negative = (weights < 0).astype(np.int64)
        wanted = need[negative, channels] > 0
        if wanted.any():
            channel = np.where(wanted, np.abs(weights), -1).argmax()
            sign = negative[channel]
            rows[(channel * signs + sign + 1) * m - need[sign, channel]] = row
            need[sign, channel] -= 1
    return rows


def order(step: Expand, slot_rows: Indices, *, constants: Indices) -> Indices:
    """Which neuron stands at each physical channel of the expanded layout, [width].

    `slot_rows` are the slots' neurons, or UNSERVED, and `constants` the neurons that are constant.
    """
    out = step.out_layout
    idle = 0  # a slot without a neuron shows some neuron; its gain of 0 keeps it unread
    places = np.full(out.width, idle, np.int64)
    data, constant = out.channel >= 0, out.channel == CONSTANT
    places[data] = np.maximum(slot_rows[out.copy[data]], idle)
    if step.source.mirror_rows:
        twins = (out.channel < 0) & ~constant
        places[twins] = slot_rows[out.copy[twins]] + step.source.mirror_rows
    if len(constants):
        places[constant] = constants[np.minimum(out.copy[constant], len(constants) - 1)]
    return places
