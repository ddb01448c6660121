"""Random layers: what their masked weights can be off the target's, over a range of inputs.

For a row r that stands for target channel i, with effective weights w̃ on x⁺ and x⁻ (the parts of x
above and below zero; one-for-one both are the sum of the weights on a channel's copies):

    |ŷ_r − y_i| ≤ |Σ (w̃ − w) x + constants − b_i| + Σ |ŵ_p| e_p
                  + γ (Σ |ŵ_p x̂_p| + Σ |w x| + |b_i|)
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional as nn

from lt_onnx.blueprint import Blueprint, Build, Expand
from lt_onnx.layout import CONSTANT, UNUSED
from lt_onnx.ops.conv_padding import pads_for
from lt_onnx.validation.bound.functions import function_of
from lt_onnx.validation.bound.ranges import (
    OUTWARD,
    Doubles,
    Range,
    Slopes,
    UnboundedError,
    dot_error,
    parts,
)
from lt_onnx.validation.bound.weights import TicketWeights

WEIGHTS_AT_ONCE = 1 << 23  # of a layer's rows in double precision


def open_block(
    step: Expand, blueprint: Blueprint, weights: TicketWeights, ranges: dict[str, Range]
) -> Range:
    """The range of a univariate layer's neurons, from the weights that each really has."""
    if step.input not in ranges:
        raise UnboundedError(f"the inputs of '{step.name}' are not bounded")
    if len(blueprint.activation.nodes) > 1:
        raise UnboundedError(
            f"no bound through the neurons of '{step.name}': "
            f"{blueprint.activation.title} is several operators"
        )
    phi = function_of(blueprint.activation.nodes[0], blueprint.target.constants)
    x, model, axis = ranges[step.input], step.model, step.out_layout.axis
    weight = weights.layer(step.source)
    weight = weight.reshape(len(weight), -1)
    order = weights.tensor(step.order).astype(np.int64)
    scale = weights.tensor(step.scale).reshape(-1)
    place = np.abs(weight).argmax(1)
    h = (scale * weight[np.arange(len(weight)), place])[order]
    drive = np.zeros(len(order))
    if step.source.bias:
        drive = (scale * weights.tensor(f"{step.source.name}/bias"))[order]

    def column(values: Doubles) -> Doubles:
        return np.asarray(values.reshape(-1, *[1] * (x.low.ndim - axis - 1)))

    def seen(values: Doubles) -> Doubles:
        return np.asarray(np.take(values, place[order], axis))

    low, high, error = seen(x.low), seen(x.high), seen(x.error)
    constant = step.out_layout.channel == CONSTANT
    up = np.where(h >= 0, model.positive, model.negative) * h
    down = np.where(h >= 0, model.negative, model.positive) * h
    up, down = np.where(constant, 0, up), np.where(constant, 0, down)
    offset = np.where(constant, 0.0, model.offset)
    axes = tuple(i for i in range(low.ndim) if i != axis)
    reach = np.abs(h) * np.maximum(np.abs(low), np.abs(high)).max(axis=axes)
    wrong = phi.remainder(model.positive, model.negative, model.offset, reach)
    # φ(h x̂): off by what x̂ is, by φ's distance from its model, and by rounding
    input_rounding = dot_error(1) * (reach + np.abs(drive))
    ends = [column(up) * np.maximum(v, 0) + column(down) * np.minimum(v, 0) for v in (low, high)]
    linear = Range(
        column(offset) + np.minimum(*ends),
        column(offset) + np.maximum(*ends),
        phi.steepest * (column(np.abs(h)) * error + column(input_rounding)) + column(wrong),
    ).rounded(phi.smooth)
    fixed = phi.of(drive + h * seen(x.middle).mean(axis=axes))
    settled = np.broadcast_to(column(fixed), low.shape)
    unsettled = Range(
        settled,
        settled,
        phi.steepest * (column(np.abs(h)) * (error + (high - low)) + column(input_rounding)),
    ).rounded(phi.smooth)
    pick = column(constant.astype(np.float64)) > 0

    def either(one: Doubles, other: Doubles) -> Doubles:
        return np.where(pick, one, other)

    full = np.zeros(low.shape)
    return Range(
        either(unsettled.low, linear.low),
        either(unsettled.high, linear.high),
        either(unsettled.error, linear.error),
        Slopes(
            either(settled, column(offset) + full),
            column(up) + full,
            column(down) + full,
            low,
            high,
        ),
    )


def bound_layer(step: Build, weights: TicketWeights, ranges: dict[str, Range]) -> Range:
    """The range of a constructed layer's output."""
    if step.input not in ranges:
        raise UnboundedError(f"the inputs of '{step.name}' are not bounded")
    x, linear = ranges[step.input], step.linear
    apply = _Applied(step)
    seen = _Features(step, x)
    target = linear.weight.astype(np.float64)
    bias = linear.bias.astype(np.float64)
    true_middle = apply(target, seen.middle_up - seen.middle_down, bias)
    true_radius = apply(np.abs(target), seen.radius_up + seen.radius_down)
    rounding = dot_error(target[0].size) * apply(np.abs(target), seen.largest, np.abs(bias))

    weight = weights.layer(step.source)
    scale = weights.tensor(step.scale).reshape(-1)
    weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))
    out = step.out_layout
    middles, errors = [], []
    rows = max(1, WEIGHTS_AT_ONCE // max(weight[0].size, 1))
    per_group = len(weight) // linear.group
    for start, stop in _pieces(len(weight), rows, per_group):
        part = weight[start:stop]
        groups = slice(start // per_group, -(-stop // per_group))
        made = apply(part, x.middle, groups=groups)
        off = apply(np.abs(part), x.error, groups=groups)
        off += dot_error(part[0].size + 1) * apply(np.abs(part), x.largest + x.error, groups=groups)
        channel = out.channel[start:stop].astype(np.int64)
        data = channel >= 0
        rest = np.maximum(channel, 0)
        local = np.take(true_middle, rest, apply.axis)
        shape = (-1, *[1] * (made.ndim - apply.axis - 1))
        is_data = data.reshape(shape)
        off += np.where(is_data, np.abs(made - local), 0)
        for effective, radius in ((seen.up, seen.radius_up), (seen.down, seen.radius_down)):
            delta = np.abs(effective(part, start, per_group) - target[rest])
            off += np.where(is_data, apply(delta, radius, groups=groups), 0)
        off += np.where(is_data, np.take(rounding, rest, apply.axis), 0)
        off = np.where((channel == UNUSED).reshape(shape), 0, off)
        middles.append(made)
        errors.append(off * OUTWARD)
    made, error = np.concatenate(middles, apply.axis), np.concatenate(errors, apply.axis)
    channel = out.channel.astype(np.int64)
    rest = np.maximum(channel, 0)
    shape = (-1, *[1] * (made.ndim - apply.axis - 1))
    is_data = (channel >= 0).reshape(shape)
    center = np.where(is_data, np.take(true_middle, rest, apply.axis), made)
    radius = np.where(is_data, np.take(true_radius + rounding, rest, apply.axis), 0)
    return Range(center - radius, center + radius, error).rounded()


class _Features:
    """The target channels that a layer listens to, as parts above and below zero, by channel."""

    def __init__(self, step: Build, x: Range) -> None:
        layout, axis = step.in_layout, step.in_layout.axis
        channel = layout.channel.astype(np.int64).copy()
        if layout.mirror:  # a mirror image belongs to its neuron's channel
            twins = np.flatnonzero(channel == UNUSED)
            twins = twins[twins >= layout.mirror]
            channel[twins] = layout.channel[twins - layout.mirror]
        self.channel, self.step = channel, step
        first = np.full(layout.size, -1)
        for place in range(layout.width - 1, -1, -1):
            if layout.channel[place] >= 0:
                first[layout.channel[place]] = place
        slopes = x.slopes
        low, high = (x.low, x.high) if slopes is None else (slopes.low, slopes.high)

        def of_channel(values: Doubles) -> Doubles:
            taken = np.take(values, np.maximum(first, 0), axis)
            absent = (first < 0).reshape(-1, *[1] * (values.ndim - axis - 1))
            return np.where(absent, 0, taken)

        low, high = of_channel(low), of_channel(high)
        self.middle_up, self.radius_up, self.middle_down, self.radius_down = parts(low, high)
        self.largest = np.maximum(np.abs(low), np.abs(high))
        ones = np.ones(layout.width)
        self.slope_up = ones if slopes is None else _extreme(slopes.up, axis)
        self.slope_down = ones if slopes is None else _extreme(slopes.down, axis)

    def up(self, part: Doubles, start: int, per_group: int) -> Doubles:
        """Effective weights on x⁺, [R, I, *K]."""
        return self._effective(part, start, per_group, self.slope_up)

    def down(self, part: Doubles, start: int, per_group: int) -> Doubles:
        """Effective weights on x⁻'s negative, [R, I, *K]."""
        return self._effective(part, start, per_group, self.slope_down)

    def _effective(self, part: Doubles, start: int, per_group: int, slope: Doubles) -> Doubles:
        linear = self.step.linear
        width, inputs = part.shape[1], linear.weight.shape[1]
        made = np.zeros((len(part), inputs, *part.shape[2:]))
        for g in range(start // per_group, -(-(start + len(part)) // per_group)):
            low, high = max(g * per_group - start, 0), min((g + 1) * per_group - start, len(part))
            channel = self.channel[g * width : (g + 1) * width]
            data = np.flatnonzero(channel >= 0)
            gains = slope[g * width : (g + 1) * width][data]
            source = part[low:high][:, data] * gains.reshape(-1, *[1] * (part.ndim - 2))
            moved = np.zeros((inputs, high - low, *part.shape[2:]))
            np.add.at(moved, channel[data] - g * inputs, np.moveaxis(source, 1, 0))
            made[low:high] = np.moveaxis(moved, 0, 1)
        return made


def _extreme(values: Doubles, axis: int) -> Doubles:
    """Per channel the value of greatest magnitude: slopes are 0 where padding was added."""
    axes = tuple(i for i in range(values.ndim) if i != axis)
    high, low = values.max(axis=axes), values.min(axis=axes)
    return np.asarray(np.where(np.abs(high) >= np.abs(low), high, low))


@dataclass(frozen=True)
class _Applied:
    """A layer's linear map in double precision, with weights of one's own."""

    step: Build

    @property
    def axis(self) -> int:
        """Axis of the output's channels."""
        return self.step.out_layout.axis

    def __call__(
        self, weight: Doubles, x: Doubles, bias: Doubles | None = None, groups: slice | None = None
    ) -> Doubles:
        """`weight` [R, I, *K] on `x`; `groups` tells which ones the rows belong to."""
        linear = self.step.linear
        count = linear.group if groups is None else groups.stop - groups.start
        if groups is not None and count < linear.group:
            per = x.shape[1] // linear.group
            x = x[:, groups.start * per : groups.stop * per]
        if linear.op != "Conv":
            made = x @ weight.reshape(len(weight), -1).T
            return np.asarray(made if bias is None else made + bias)
        pads = pads_for(linear, x.shape[2:]) if self.step.pads is None else self.step.pads
        rank = len(linear.kernel)
        value = torch.from_numpy(np.ascontiguousarray(x))
        around = [n for i in reversed(range(rank)) for n in (pads[i], pads[i + rank])]
        convolve = (nn.conv1d, nn.conv2d, nn.conv3d)[rank - 1]
        made = convolve(
            nn.pad(value, around),
            torch.from_numpy(np.ascontiguousarray(weight)),
            None if bias is None else torch.from_numpy(bias),
            linear.spatial("strides", 1),
            0,
            linear.spatial("dilations", 1),
            count,
        ).numpy()
        return np.asarray(made)


def _pieces(count: int, rows: int, per_group: int) -> list[tuple[int, int]]:
    """Rows in pieces: whole groups, or parts of one."""
    if rows >= per_group:
        step = rows // per_group * per_group
        return [(low, min(low + step, count)) for low in range(0, count, step)]
    return [
        (low, min(low + rows, g + per_group))
        for g in range(0, count, per_group)
        for low in range(g, g + per_group, rows)
    ]
