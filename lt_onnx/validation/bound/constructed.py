"""Random layers: what their masked weights can be off the target's, over a range of inputs.

For a row r that stands for target channel i, with weights ŵ, with effective weights w̃ on x⁺ and x⁻
(the parts of x above and below zero; one-for-one both are the sum of the weights on a channel's
copies), with errors e of the inputs and γ of `ranges.dot_error`:

    |ŷ_r − y_i| ≤ |Σ (w̃ − w) x + constants − b_i| + Σ |ŵ_p| e_p
                  + γ (Σ |ŵ_p x̂_p| + Σ |w x| + |b_i|)

The first term is evaluated in the middle of x's interval, plus Σ |w̃ − w| times its radius.
"""

import numpy as np
import torch
from torch.nn import functional as nn

from lt_onnx.blueprint import Blueprint, Build, Expand
from lt_onnx.layout import CONSTANT, UNUSED
from lt_onnx.ops.conv_padding import pads_for
from lt_onnx.source.layer import SourceLayer
from lt_onnx.target import Array
from lt_onnx.validation.bound.functions import function_of_all
from lt_onnx.validation.bound.ranges import (
    FUNCTION_ERROR,
    OUTWARD,
    Doubles,
    Range,
    Slopes,
    UnboundedError,
    dot_error,
    parts,
)
from lt_onnx.verification.tensors import Tensors

MAX_WEIGHTS = 1 << 23  # of a layer's rows that are in double precision at a time


def bound_neurons(
    step: Expand, blueprint: Blueprint, tensors: Tensors, ranges: dict[str, Range]
) -> Range:
    """The range of a block's univariate neurons φ(h x + b), from the weights that they really have.

    Raises UnboundedError where x or φ is not bounded.
    """
    if step.input not in ranges:
        raise UnboundedError(f"the inputs of '{step.name}' are not bounded")
    phi = function_of_all(blueprint.activation.nodes, blueprint.target.constants)
    if phi is None:
        raise UnboundedError(
            f"no bound through the neurons of '{step.name}': "
            f"{blueprint.activation.title} is several operators"
        )
    x, model, axis = ranges[step.input], step.model, step.out_layout.axis
    channel, h, bias = _neurons(step, tensors)

    def column(values: Doubles) -> Doubles:  # [neurons] along the channel axis
        return np.asarray(values.reshape(-1, *[1] * (x.low.ndim - axis - 1)))

    def seen(values: Doubles) -> Doubles:
        return np.asarray(np.take(values, channel, axis))

    low, high, error = seen(x.low), seen(x.high), seen(x.error)
    constant = step.out_layout.channel == CONSTANT
    up = np.where(h >= 0, model.positive, model.negative) * h
    down = np.where(h >= 0, model.negative, model.positive) * h
    up, down = np.where(constant, 0, up), np.where(constant, 0, down)
    offset = np.where(constant, 0.0, model.offset)
    axes = tuple(i for i in range(low.ndim) if i != axis)
    reach = np.abs(h) * np.maximum(np.abs(low), np.abs(high)).max(axis=axes)
    # φ(h x̂): off by what x̂ is, by φ's distance from its linear model, and by rounding
    remainder = phi.remainder(model.positive, model.negative, model.offset, reach)
    input_rounding = dot_error(1) * (reach + np.abs(bias))
    if phi.multiplied:  # so that it is an error of the output
        input_rounding = input_rounding + 2 * FUNCTION_ERROR * (reach + np.abs(bias))
    ends = [column(up) * np.maximum(v, 0) + column(down) * np.minimum(v, 0) for v in (low, high)]
    data = Range(
        column(offset) + np.minimum(*ends),
        column(offset) + np.maximum(*ends),
        phi.steepest * (column(np.abs(h)) * error + column(input_rounding)) + column(remainder),
    ).rounded(phi.smooth)
    # a constant stands for its value in the middle, whatever x is
    value = column(phi.of(bias + h * seen(x.middle).mean(axis=axes)))
    value = np.broadcast_to(value, low.shape)
    spread = column(np.abs(h)) * (error + (high - low)) + column(input_rounding)
    fixed = Range(value, value, phi.steepest * spread).rounded(phi.smooth)
    full = np.zeros(low.shape)

    def either(of_constant: Doubles, of_data: Doubles) -> Doubles:
        return np.where(column(constant), of_constant, of_data)

    offsets = either(value, column(offset) + full)
    slopes = Slopes(offsets, column(up) + full, column(down) + full, low, high)
    low, high = either(fixed.low, data.low), either(fixed.high, data.high)
    return Range(low, high, either(fixed.error, data.error), slopes)


def _neurons(step: Expand, tensors: Tensors) -> tuple[Array, Doubles, Doubles]:
    """Of every neuron in the order of its place: the channel it reads, its weight h, its bias."""
    weight = _masked_weight(step.source, tensors)
    weight = weight.reshape(len(weight), -1)
    order = tensors[step.order].array()
    scale = tensors[step.scale].array().astype(np.float64).reshape(-1)
    channel = np.abs(weight).argmax(1)
    h = scale * weight[np.arange(len(weight)), channel]
    bias = np.zeros(len(scale))
    if step.source.bias:
        bias = scale * tensors[f"{step.source.name}/bias"].array()
    return channel[order], h[order], bias[order]


def _masked_weight(layer: SourceLayer, tensors: Tensors) -> Doubles:
    """The masked weight of a random layer, [R, I, *K], from the tensors of the ticket's file."""
    name = layer.name
    if f"{name}/mask" in tensors:
        weight = tensors[f"{name}/source"].array() * tensors[f"{name}/mask"].array()
    else:
        weight = tensors[name if name in tensors else f"{name}/half"].array()
    return np.ascontiguousarray(weight.T if layer.transposed else weight, np.float64)


def bound_layer(step: Build, tensors: Tensors, ranges: dict[str, Range]) -> Range:
    """The range of a constructed layer's output. Raises UnboundedError where its input has none."""
    if step.input not in ranges:
        raise UnboundedError(f"the inputs of '{step.name}' are not bounded")
    x, linear, axis = ranges[step.input], step.linear, step.out_layout.axis
    seen = _Features(step, x)
    target = linear.weight.astype(np.float64)
    bias = linear.bias.astype(np.float64)
    true_middle = _applied(step, target, seen.middle_up - seen.middle_down, bias)
    true_radius = _applied(step, np.abs(target), seen.radius_up + seen.radius_down)
    rounding = dot_error(target[0].size) * _applied(
        step, np.abs(target), seen.largest, np.abs(bias)
    )
    weight = _masked_weight(step.source, tensors)
    scale = tensors[step.scale].array().astype(np.float64).reshape(-1)
    weight = weight * scale.reshape(-1, *[1] * (weight.ndim - 1))

    channel = step.out_layout.channel.astype(np.int64)
    along = (-1, *[1] * (true_middle.ndim - axis - 1))
    middles, errors = [], []
    rows = max(1, MAX_WEIGHTS // max(weight[0].size, 1))
    for group, of_group in enumerate(np.split(np.arange(len(weight)), linear.group)):
        for chosen in np.split(of_group, range(rows, len(of_group), rows)):
            part, stands_for = weight[chosen], np.maximum(channel[chosen], 0)
            middle = _applied(step, part, x.middle, group=group)
            error = _applied(step, np.abs(part), x.error, group=group)
            magnitude = _applied(step, np.abs(part), x.largest + x.error, group=group)
            error += dot_error(part[0].size + 1) * magnitude
            off = np.abs(middle - np.take(true_middle, stands_for, axis))
            for slopes, radius in (
                (seen.slopes_up, seen.radius_up),
                (seen.slopes_down, seen.radius_down),
            ):
                delta = np.abs(seen.effective(part, group, slopes) - target[stands_for])
                off += _applied(step, delta, radius, group=group)
            off += np.take(rounding, stands_for, axis)
            error += np.where((channel[chosen] >= 0).reshape(along), off, 0)
            unused = (channel[chosen] == UNUSED).reshape(along)
            middles.append(middle)
            errors.append(np.where(unused, 0, error) * OUTWARD)
    middle, error = np.concatenate(middles, axis), np.concatenate(errors, axis)
    stands_for, is_data = np.maximum(channel, 0), (channel >= 0).reshape(along)
    center = np.where(is_data, np.take(true_middle, stands_for, axis), middle)
    radius = np.where(is_data, np.take(true_radius + rounding, stands_for, axis), 0)
    return Range(center - radius, center + radius, error).rounded()


class _Features:
    """The target channels that a layer reads, as parts x⁺ and x⁻, and what its inputs make of them.

    `slopes_up` and `slopes_down` [width]: an input is the slope times x where x ≥ 0 and x < 0.
    """

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

        def of_channel(values: Doubles) -> Doubles:
            taken = np.take(values, np.maximum(first, 0), axis)
            absent = (first < 0).reshape(-1, *[1] * (values.ndim - axis - 1))
            return np.where(absent, 0, taken)

        read = x if slopes is None else slopes
        low, high = of_channel(read.low), of_channel(read.high)
        self.middle_up, self.radius_up, self.middle_down, self.radius_down = parts(low, high)
        self.largest = np.maximum(np.abs(low), np.abs(high))
        ones = np.ones(layout.width)
        self.slopes_up = ones if slopes is None else _extreme(slopes.up, axis)
        self.slopes_down = ones if slopes is None else _extreme(slopes.down, axis)

    def effective(self, part: Doubles, group: int, slopes: Doubles) -> Doubles:
        """Effective weights w̃ [R, I, *K] of the rows `part` of one group, at these slopes."""
        width, inputs = part.shape[1], self.step.linear.weight.shape[1]
        places = np.arange(group * width, (group + 1) * width)
        data = np.flatnonzero(self.channel[places] >= 0)
        weighted = part[:, data] * slopes[places[data]].reshape(-1, *[1] * (part.ndim - 2))
        total = np.zeros((inputs, len(part), *part.shape[2:]))
        np.add.at(total, self.channel[places[data]] - group * inputs, np.moveaxis(weighted, 1, 0))
        return np.moveaxis(total, 0, 1)


def _extreme(values: Doubles, axis: int) -> Doubles:
    """Per channel the value of greatest magnitude: slopes are 0 where padding was added."""
    axes = tuple(i for i in range(values.ndim) if i != axis)
    high, low = values.max(axis=axes), values.min(axis=axes)
    return np.asarray(np.where(np.abs(high) >= np.abs(low), high, low))


def _applied(
    step: Build,
    weight: Doubles,
    x: Doubles,
    bias: Doubles | None = None,
    *,
    group: int | None = None,
) -> Doubles:
    """The layer's linear map in double precision with `weight` [R, I, *K], applied to `x`.

    `group` is the one that the rows belong to; None: they are of all groups.
    """
    linear, count = step.linear, step.linear.group
    if group is not None and count > 1:
        x, count = np.split(x, count, axis=1)[group], 1
    if linear.op != "Conv":
        product = x @ weight.reshape(len(weight), -1).T
        return np.asarray(product if bias is None else product + bias)
    pads = pads_for(linear, x.shape[2:]) if step.pads is None else step.pads
    rank = len(linear.kernel)
    around = [n for i in reversed(range(rank)) for n in (pads[i], pads[i + rank])]
    convolve = (nn.conv1d, nn.conv2d, nn.conv3d)[rank - 1]
    y = convolve(
        nn.pad(torch.from_numpy(np.ascontiguousarray(x)), around),
        torch.from_numpy(np.ascontiguousarray(weight)),
        None if bias is None else torch.from_numpy(bias),
        linear.spatial("strides", 1),
        0,
        linear.spatial("dilations", 1),
        count,
    )
    return np.asarray(y.numpy())
