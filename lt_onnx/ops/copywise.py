"""Operators that are applied unchanged to all physical channels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lt_onnx.layout import CONSTANT, UNUSED, Layout
from lt_onnx.ops.rule import Emitter, RefusalError, axes_of, only, rewired, spread
from lt_onnx.target import Node


def elementwise(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """A function of one tensor, position by position, with scalar parameters at most."""
    layout = only(layouts)
    for i, name in enumerate(node.inputs[1:], 1):
        value = to.constant(name) if name else None
        if name and (value is None or value.size != 1):
            raise RefusalError(f"input {i} is not a constant scalar")
    to.emit(rewired(node, to))
    return layout


def prelu(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """PRelu: the slope of a channel is repeated for its copies."""
    layout = only(layouts)
    slope, shape = to.constant(node.inputs[1]), to.shape(node.inputs[0])
    if slope is None or shape is None:
        raise RefusalError("the slope is not constant")
    repeated = spread(slope, layout, len(shape), 1.0)
    if repeated is None:
        raise RefusalError("the slope varies along another axis than the channels")
    if repeated is slope:
        to.emit(rewired(node, to))
    else:
        name = to.parameter(node, f"{node.name}/slope", repeated)
        to.emit(rewired(node, to, {1: name}))
    return layout


def instance_norm(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """InstanceNormalization: its scales and shifts are repeated; a constant becomes zero."""
    layout = only(layouts)
    if layout.axis != 1:
        raise RefusalError("the channels are not on axis 1")
    names = {}
    for i in (1, 2):
        value = to.constant(node.inputs[i])
        if value is None or value.size != layout.size:
            raise RefusalError("its scale and shift are not constants per channel")
        repeated = np.where(layout.channel >= 0, value.reshape(-1)[layout.channel], 0)
        names[i] = to.parameter(node, f"{node.name}/{i}", repeated.astype(np.float32))
    to.emit(rewired(node, to, names))
    return replace(layout, channel=np.where(layout.channel >= 0, layout.channel, UNUSED))


def along(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Softmax and its like, along another axis than the channels'."""
    layout, shape = only(layouts), to.shape(node.inputs[0])
    if shape is None or to.opset < 13:
        raise RefusalError("it flattens its input (before operator set 13), or its rank is unknown")
    if node.attributes.get("axis", -1) % len(shape) == layout.axis:
        raise RefusalError("it mixes the channels")
    to.emit(rewired(node, to))
    # constants beside each other are no constants any more
    return replace(layout, channel=np.where(layout.channel >= 0, layout.channel, UNUSED))


def resize(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Resize and Upsample of other axes than the channels'."""
    layout, shape = only(layouts), to.shape(node.inputs[0])
    if shape is None:
        raise RefusalError("its rank is unknown")
    if node.attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise RefusalError("it crops and fills what lies outside")
    rank = len(shape)
    axes = list(node.attributes.get("axes") or range(rank))
    at = axes.index(layout.axis) if layout.axis in axes else None
    if node.op == "Upsample" or to.opset < 11:
        scales = node.attributes.get("scales")
        if scales is None:
            value = to.constant(node.inputs[1])
            scales = None if value is None else value.tolist()
        if scales is None or scales[layout.axis] != 1:
            raise RefusalError("its scales are computed, or it resizes the channels")
        to.emit(rewired(node, to))
        return layout
    if len(node.inputs) > 3 and node.inputs[3]:
        if at is None:
            to.emit(rewired(node, to))
            return layout
        sizes = to.constant(node.inputs[3])
        if sizes is not None:
            if sizes[at] != layout.size:
                raise RefusalError("it resizes the channels")
            sizes = sizes.copy()
            sizes[at] = layout.width
            name = to.add_constant(f"{node.name}/sizes", sizes)
        else:
            name = to.with_entry(node.inputs[3], at, layout.width, f"{node.name}/sizes")
        to.emit(rewired(node, to, {3: name}))
        return layout
    scales_name = node.inputs[2] if len(node.inputs) > 2 else ""
    value = to.constant(scales_name) if scales_name else None
    if value is None or (at is not None and value[at] != 1):
        raise RefusalError("its scales are computed, or it resizes the channels")
    to.emit(rewired(node, to))
    return layout


def repeat(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Tile and Expand along other axes than the channels'."""
    layout, shape = only(layouts), to.shape(node.inputs[0])
    goal, out = to.constant(node.inputs[1]), to.shape(node.outputs[0])
    if shape is None or out is None or len(out) != len(shape):
        raise RefusalError("it changes the rank")
    if node.op == "Tile":
        if goal is None or goal[layout.axis] != 1:
            raise RefusalError("its repeats are computed, or it repeats the channels")
        to.emit(rewired(node, to))
        return layout
    if out[layout.axis] != layout.size:
        raise RefusalError("it repeats the channels")
    at = layout.axis - len(shape)
    if goal is None:
        name = to.with_entry(node.inputs[1], at, 1, f"{node.name}/shape")
    else:
        goal = goal.copy()
        if len(goal) >= -at:
            goal[at] = 1
        name = to.add_constant(f"{node.name}/shape", goal)
    to.emit(rewired(node, to, {1: name}))
    return layout


def spatial(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Pooling over the axes behind the channels."""
    layout = only(layouts)
    if layout.axis != 1:
        raise RefusalError("the channels are not on axis 1")
    if len([name for name in node.outputs if name]) > 1:
        raise RefusalError("its indices are read")
    pads = any(node.attributes.get("pads") or ()) or "SAME" in str(
        node.attributes.get("auto_pad", "")
    )
    to.emit(rewired(node, to))
    if node.op == "AveragePool" and pads and node.attributes.get("count_include_pad", 0):
        # averaged with the padding's zeros, a constant is none at the border
        return replace(layout, channel=np.where(layout.channel == CONSTANT, -2, layout.channel))
    return layout


def reduce(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Reduction over other axes than the batch's and the channels'."""
    layout = only(layouts)
    shape, axes = to.shape(node.inputs[0]), axes_of(node, to)
    if shape is None or not axes:
        raise RefusalError("it reduces over all axes, or its rank is unknown")
    places = sorted(axis % len(shape) for axis in axes)
    if layout.axis in places or 0 in places:
        raise RefusalError("it reduces over the channels or the batch")
    to.emit(rewired(node, to))
    if node.attributes.get("keepdims", 1):
        return layout
    return replace(layout, axis=layout.axis - sum(axis < layout.axis for axis in places))
