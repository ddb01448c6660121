"""Operators of several tensors: all are brought to the same physical order first."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lt_onnx.layout import CONSTANT, UNUSED, Layout
from lt_onnx.ops.rule import Emitter, RefusalError, rewired, spread
from lt_onnx.target import Node

NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Sum": 0.0, "Mul": 1.0, "Div": 1.0}


def _data(node: Node, to: Emitter) -> list[int]:
    """Positions of the inputs that are not constants."""
    return [i for i, n in enumerate(node.inputs) if n and to.constant(n) is None]


def merge(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """A function of several tensors, position by position: same physical order on all."""
    data = _data(node, to)
    if len(data) == 1:
        return _with_constants(node, layouts[data[0]], data[0], to)
    for i, name in enumerate(node.inputs):
        value = to.constant(name)
        if i not in data and (value is None or value.size != 1):
            raise RefusalError("a constant of it has more than one element")
    shapes = [to.shape(node.inputs[i]) for i in data]
    axis = next(layout for layout in layouts if layout is not None).axis
    sizes = []
    for shape, i in zip(shapes, data, strict=True):
        if shape is None or len(shape) != len(shapes[0] or ()):
            raise RefusalError("its inputs differ in rank")
        layout = layouts[i]
        if layout is not None and layout.axis != axis:
            raise RefusalError("its inputs have their channels on different axes")
        sizes.append(shape[axis] if layout is None else layout.size)
    size = max((s for s in sizes if isinstance(s, int)), default=0)
    wide = [i for i, s in zip(data, sizes, strict=True) if s == size]
    single = [i for i, s in zip(data, sizes, strict=True) if s == 1 and size > 1]
    if len(wide) + len(single) < len(data):
        raise RefusalError("the numbers of its inputs' channels are unknown")
    carried = [layouts[i] for i in wide]
    if all(layout is None for layout in carried):
        raise RefusalError("it broadcasts one channel over single copies")
    reference = next(layout for layout in carried if layout is not None)
    wanted = common(node, carried, reference, to)
    inputs = {
        i: aligned(node.inputs[i], layouts[i], wanted, f"{node.name}/order{i}", to) for i in wide
    }
    inputs |= {i: to.collapsed(node.inputs[i]) for i in single}
    to.emit(rewired(node, to, inputs))
    if single:  # one channel that serves all: what was constant no longer is
        wanted = replace(wanted, channel=np.where(wanted.channel >= 0, wanted.channel, UNUSED))
    return wanted


def _with_constants(node: Node, layout: Layout | None, data: int, to: Emitter) -> Layout:
    """The other inputs are constants: repeated along the channels where they vary there."""
    shape, names = to.shape(node.inputs[data]), {}
    out = to.shape(node.outputs[0])
    assert layout is not None
    if shape is None or out is None or len(out) != len(shape):
        raise RefusalError("it changes the rank of its input")
    for i, name in enumerate(node.inputs):
        if i == data:
            continue
        value = to.constant(name)
        assert value is not None
        neutral = NEUTRAL.get(node.op)
        if neutral is None and value.size != 1:
            raise RefusalError("a constant of it has more than one element")
        if value.size == 1:
            continue
        repeated = spread(value, layout, len(shape), neutral or 0.0)
        if repeated is None or (node.op == "Div" and i == 0):
            raise RefusalError("a constant of it does not broadcast over the channels")
        names[i] = name if repeated is value else to.parameter(node, f"{node.name}/{i}", repeated)
        flat = repeated.ndim <= len(shape) and np.prod(repeated.shape, dtype=int) in (
            1,
            repeated.shape[layout.axis - len(shape)] if repeated.ndim > 0 else 1,
        )
        if not flat or repeated is value:  # varies over positions: constants do not stay constant
            layout = replace(layout, channel=np.where(layout.channel >= 0, layout.channel, UNUSED))
    to.emit(rewired(node, to, names))
    return layout


def common(node: Node, layouts: Sequence[Layout | None], reference: Layout, to: Emitter) -> Layout:
    """The order that inputs of one operator are brought to.

    As many copies as the fewest inputs have, unless a later layer wants more (a single copy then
    serves as every copy); the constants that all inputs carry.
    """
    counts = [1 if layout is None else layout.copies for layout in layouts]
    copies = max(counts) if to.copies_wanted(node.outputs[0]) else min(counts)
    fullest = max(
        (layout for layout in layouts if layout is not None), key=lambda layout: layout.copies
    )
    keep = fullest.channel >= 0
    keep &= fullest.copy < copies
    numbers = [
        set(layout.copy[layout.channel == CONSTANT].tolist()) if layout is not None else set()
        for layout in layouts
    ]
    shared = set.intersection(*numbers)
    keep |= (fullest.channel == CONSTANT) & np.isin(fullest.copy, list(shared))
    channels = np.flatnonzero(keep)
    kept = fullest.take(channels)
    absent = sorted(
        {c for layout in layouts for c in _channels(layout, reference)} - set(kept.channel.tolist())
    )
    if absent:  # channels that the fullest input has as zeros
        extra = np.repeat(np.array(absent, np.int32), copies)
        number = np.tile(np.arange(copies, dtype=np.int32), len(absent))
        kept = replace(
            kept,
            channel=np.concatenate([extra, kept.channel]),
            copy=np.concatenate([number, kept.copy]),
            part=np.zeros(len(extra) + kept.width, np.int32),
        )
    return kept


def _channels(layout: Layout | None, reference: Layout) -> list[int]:
    if layout is None:
        return list(range(reference.size))
    return sorted({int(c) for c in layout.channel if c >= 0})


def aligned(tensor: str, layout: Layout | None, wanted: Layout, name: str, to: Emitter) -> str:
    """The ticket's tensor for `tensor`, gathered into the order `wanted` where it is not yet."""
    if layout is None:
        places = np.where(wanted.channel >= 0, wanted.channel, -1).astype(np.int64)
    else:
        copies = layout.copies
        keys = [
            (c, q % copies if c >= 0 else q)
            for c, q in zip(wanted.channel.tolist(), wanted.copy.tolist(), strict=True)
        ]
        places = layout.find(keys)
        if np.array_equal(places, np.arange(layout.width)):
            return to.place(tensor)
    return to.gather(to.place(tensor), places, wanted.axis, name)


def concat(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Concat: along the channels, copies stand beside copies; along another axis, as merging."""
    reference = next(layout for layout in layouts if layout is not None)
    shape = to.shape(node.outputs[0])
    if shape is None or any(to.constant(name) is not None for name in node.inputs):
        raise RefusalError("a part of it is constant, or its shape is unknown")
    axis = node.attributes.get("axis", 1) % len(shape)
    if any(layout is not None and layout.axis != reference.axis for layout in layouts):
        raise RefusalError("its inputs have their channels on different axes")
    if axis != reference.axis:
        wanted = common(node, layouts, reference, to)
        inputs = {
            i: aligned(name, layouts[i], wanted, f"{node.name}/order{i}", to)
            for i, name in enumerate(node.inputs)
        }
        to.emit(rewired(node, to, inputs))
        return wanted
    many = to.copies_wanted(node.outputs[0])
    counts = [1 if layout is None else layout.copies for layout in layouts]
    copies = max(counts) if many else min(counts)
    parts: list[Layout] = []
    inputs = {}
    offset = constants = 0
    for i, name in enumerate(node.inputs):
        layout = layouts[i]
        size = (to.shape(name) or ())[axis] if layout is None else layout.size
        if not isinstance(size, int):
            raise RefusalError(f"the number of channels of '{name}' is unknown")
        layout = layout or plain(size, axis)
        if layout.copies != copies:
            keep = layout.channel >= 0
            channels = np.unique(layout.channel[keep])
            numbers = np.arange(copies)
            ends = np.flatnonzero(~keep)
            wanted = replace(
                layout,
                channel=np.concatenate([np.tile(channels, copies), layout.channel[ends]]).astype(
                    np.int32
                ),
                copy=np.concatenate([np.repeat(numbers, len(channels)), layout.copy[ends]]).astype(
                    np.int32
                ),
                part=np.zeros(copies * len(channels) + len(ends), np.int32),
            )
            inputs[i] = aligned(name, layouts[i], wanted, f"{node.name}/order{i}", to)
            layout = wanted
        is_constant = layout.channel == CONSTANT
        numbering = np.cumsum(is_constant) - 1 + constants
        parts.append(
            replace(
                layout,
                channel=np.where(layout.channel >= 0, layout.channel + offset, layout.channel),
                copy=np.where(is_constant, numbering, layout.copy),
            )
        )
        offset += size
        constants += int(is_constant.sum())
    to.emit(rewired(node, to, inputs))
    return Layout(
        axis=axis,
        size=offset,
        channel=np.concatenate([part.channel for part in parts]).astype(np.int32),
        copy=np.concatenate([part.copy for part in parts]).astype(np.int32),
        part=np.concatenate([part.part for part in parts]).astype(np.int32),
    )


def plain(size: int, axis: int) -> Layout:
    """The layout that says what a plain tensor is: one copy, in order."""
    return Layout(
        axis,
        size,
        np.arange(size, dtype=np.int32),
        np.zeros(size, np.int32),
        np.zeros(size, np.int32),
    )
