"""Operators that are applied unchanged to all physical channels."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lt_onnx.layout import Layout
from lt_onnx.ops.rule import (
    Emitter,
    RefusalError,
    numbers_of,
    only,
    repeated,
    repeated_tensor,
    rewired,
    shape_of,
)
from lt_onnx.target import Node


def elementwise(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """A function of one tensor, position by position, with scalar parameters at most."""
    layout = only(layouts)
    for i, name in enumerate(node.inputs[1:], 1):
        value = to.target.constants.get(name) if name else None
        if name and (value is None or value.size != 1):
            raise RefusalError(f"input {i} is not a constant scalar")
    to.emit(rewired(node, to))
    return layout


def prelu(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """PRelu: the slope of a channel is repeated for its copies; one that is computed, too."""
    layout, (data, slope_name) = only(layouts), node.inputs
    shape, slopes_shape = to.shape(data), to.shape(slope_name)
    slope = to.target.constants.get(slope_name)
    if shape is None:
        raise RefusalError("its rank is unknown")
    if slope is None:
        if slope_name not in to.target.unvarying or slopes_shape is None:
            raise RefusalError("the slope is not constant")
        to.emit(rewired(node, to, {1: repeated_tensor(node, 1, layout, to)}))
        return layout
    slopes = repeated(slope, layout, rank=len(shape), rest=1.0)
    if slopes is None:
        raise RefusalError("the slope varies along another axis than the channels")
    names = {} if slopes is slope else {1: to.parameter(node, f"{node.name}/slope", slopes)}
    to.emit(rewired(node, to, names))
    return layout


def instance_norm(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """InstanceNormalization: its scales and shifts are repeated; a constant becomes zero."""
    layout = only(layouts)
    if layout.axis != 1:
        raise RefusalError("the channels are not on axis 1")
    names = {}
    for i in (1, 2):
        value, maker = to.target.constants.get(node.inputs[i]), to.target.makers.get(node.inputs[i])
        if maker is not None and maker.op == "Expand" and to.shape(maker.inputs[0]) == (1,):
            sizes = to.add_constant(f"{node.name}/{i}/sizes", np.array([layout.width], np.int64))
            names[i] = to.unused(f"{node.name}/{i}")
            source = to.place(maker.inputs[0])
            to.emit(Node("Expand", names[i], (source, sizes), (names[i],)))
            continue
        if value is None or value.size != layout.size:
            raise RefusalError("its scale and shift are not constants per channel")
        values = np.where(layout.channel >= 0, value.reshape(-1)[layout.channel], 0)
        names[i] = to.parameter(node, f"{node.name}/{i}", values.astype(np.float32))
    to.emit(rewired(node, to, names))
    return layout.without_constants()


def along(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Softmax, LogSoftmax and Hardmax along another axis than the channels'."""
    layout, shape = only(layouts), to.shape(node.inputs[0])
    if shape is None or to.target.opset < 13:
        raise RefusalError("it flattens its input (before operator set 13), or its rank is unknown")
    if node.attributes.get("axis", -1) % len(shape) == layout.axis:
        raise RefusalError("it mixes the channels")
    to.emit(rewired(node, to))
    # of a constant it depends on the length of the axis
    return layout.without_constants()


def resize(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Resize and Upsample of other axes than the channels'."""
    layout, shape = only(layouts), shape_of(node, to)
    if node.attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        raise RefusalError("it crops and fills what lies outside")
    axes = [axis % len(shape) for axis in node.attributes.get("axes") or range(len(shape))]
    at, inputs = axes.index(layout.axis) if layout.axis in axes else None, {}
    if any(node.inputs[3:]):
        sizes = to.target.constants.get(node.inputs[3])
        if at is not None:
            if sizes is not None and sizes[at] != layout.size:
                raise RefusalError("it resizes the channels")
            name = f"{node.name}/sizes"
            inputs[3] = _with_entry(node.inputs[3], at, value=layout.width, name=name, to=to)
    else:
        place = 1 if node.op == "Upsample" or to.target.opset < 11 else 2
        given = to.target.constants.get("".join(node.inputs[place : place + 1]))
        scales = node.attributes.get("scales", given)
        if scales is None or (at is not None and list(np.ravel(scales)[at : at + 1]) != [1]):
            raise RefusalError("its scales are computed, or it resizes the channels")
    to.emit(rewired(node, to, inputs))
    return layout


def _with_entry(tensor: str, place: int, *, value: int, name: str, to: Emitter) -> str:
    """A vector of integers, with the entry at `place`, if there is one, replaced by `value`."""
    if tensor in to.target.constants:
        entries = to.target.constants[tensor].copy()
        entries[place : place + 1 or None] = value
        return to.add_constant(name, entries)
    source, parts = to.collapsed(tensor), []
    for end, start, stop in (("head", 0, place), ("tail", place + 1, 2**31)):
        if start == stop or (end == "tail" and place == -1):
            continue
        part = to.unused(f"{name}/{end}")
        bounds, keys = [], {"starts": [start], "ends": [stop], "axes": [0]}
        if to.target.opset >= 10:  # bounds became inputs
            named, keys = {"start": start, "stop": stop}, {}
            bounds = [to.add_constant(f"{part}/{k}", np.array([v])) for k, v in named.items()]
        to.emit(Node("Slice", part, (source, *bounds), (part,), keys))
        parts.append(part)
    entry = to.add_constant(f"{name}/entry", np.array([value], np.int64))
    parts.insert(0 if place == 0 else 1, entry)
    out = to.unused(name)
    to.emit(Node("Concat", out, tuple(parts), (out,), {"axis": 0}))
    return out


def repeat(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Tile and Expand along other axes than the channels'."""
    layout, shape = only(layouts), to.shape(node.inputs[0])
    out = to.shape(node.outputs[0])
    if shape is None or out is None or len(out) != len(shape):
        raise RefusalError("it changes the rank")
    if node.op == "Tile":
        repeats = to.target.constants.get(node.inputs[1])
        if repeats is None or repeats[layout.axis] != 1:
            raise RefusalError("its repeats are computed, or it repeats the channels")
        to.emit(rewired(node, to))
        return layout
    if out[layout.axis] != layout.size:
        raise RefusalError("it repeats the channels")
    at = layout.axis - len(shape)
    name = _with_entry(node.inputs[1], at, value=1, name=f"{node.name}/shape", to=to)
    to.emit(rewired(node, to, {1: name}))
    return layout


def spatial(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Pooling over the axes behind the channels."""
    layout = only(layouts)
    if layout.axis != 1:
        raise RefusalError("the channels are not on axis 1")
    if len([name for name in node.outputs if name]) > 1:
        raise RefusalError("its indices are read")
    keys = node.attributes
    padded = any(keys.get("pads") or ()) or "SAME" in str(keys.get("auto_pad", ""))
    to.emit(rewired(node, to))
    if node.op == "AveragePool" and padded and keys.get("count_include_pad", 0):
        # averaged with the padding's zeros, a constant is none at the border
        return layout.without_constants()
    return layout


def reduce(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Reduction over other axes than the batch's and the channels'."""
    layout = only(layouts)
    shape, axes = to.shape(node.inputs[0]), numbers_of(node, "axes", 1, to)
    if shape is None or not axes:
        raise RefusalError("it reduces over all axes, or its rank is unknown")
    places = sorted(axis % len(shape) for axis in axes)
    if layout.axis in places or 0 in places:
        raise RefusalError("it reduces over the channels or the batch")
    to.emit(rewired(node, to))
    if node.attributes.get("keepdims", 1):
        return layout
    return replace(layout, axis=layout.axis - sum(axis < layout.axis for axis in places))
