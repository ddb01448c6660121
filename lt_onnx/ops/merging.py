"""Operators of several tensors: all are brought to the same physical order first."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lt_onnx.layout import CONSTANT, INT, Layout, plain_layout, whole_channels
from lt_onnx.ops.rule import Emitter, RefusalError, repeated, rewired
from lt_onnx.target import Node

# what a constant may have where the channels hold constants: it changes nothing there
NEUTRAL = {"Add": 0.0, "Sub": 0.0, "Sum": 0.0, "Mul": 1.0, "Div": 1.0}


def merge(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """A function of several tensors, position by position: same physical order on all."""
    data = [i for i, name in enumerate(node.inputs) if name and name not in to.target.constants]
    if len(data) == 1:
        return _with_constants(node, layouts[data[0]], data[0], to)
    for i, name in enumerate(node.inputs):
        value = to.target.constants.get(name)
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
    wanted = _common(node, carried, to)
    inputs = {i: _aligned(node, i, layouts[i], wanted, to) for i in wide}
    inputs |= {i: to.collapsed(node.inputs[i]) for i in single}
    to.emit(rewired(node, to, inputs))
    if single:  # one channel that serves all: what was constant no longer is
        wanted = wanted.without_constants()
    return wanted


def _with_constants(node: Node, layout: Layout | None, data: int, to: Emitter) -> Layout:
    """The inputs but `data` are constants: repeated along the channels where they vary there."""
    shape, out = to.shape(node.inputs[data]), to.shape(node.outputs[0])
    assert layout is not None
    if shape is None or out is None or len(out) != len(shape):
        raise RefusalError("it changes the rank of its input")
    names = {}
    for i, name in enumerate(node.inputs):
        value = to.target.constants.get(name)
        if i == data or value is None:
            continue
        neutral = NEUTRAL.get(node.op)
        if neutral is None and value.size != 1:
            raise RefusalError("a constant of it has more than one element")
        if value.size == 1:
            continue
        values = repeated(value, layout, rank=len(shape), rest=neutral or 0.0)
        if values is None or (node.op == "Div" and i == 0):
            raise RefusalError("a constant of it does not broadcast over the channels")
        names[i] = name if values is value else to.parameter(node, f"{node.name}/{i}", values)
        if values is value or values.size != values.shape[layout.axis]:
            layout = layout.without_constants()  # it varies over positions, and so would they
    to.emit(rewired(node, to, names))
    return layout


def _copies(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> int:
    """Copies of the output: as many as the fewest inputs have, unless a later layer wants more."""
    counts = [1 if layout is None else layout.copies for layout in layouts]
    return max(counts) if to.copies_wanted(node.outputs[0]) else min(counts)


def _common(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """The order that inputs of one operator are brought to.

    Where the inputs differ in copies, a single copy serves as every copy; the constants are those
    that all inputs carry.
    """
    copies = _copies(node, layouts, to)
    given = [layout for layout in layouts if layout is not None]
    fullest = max(given, key=lambda layout: layout.copies)
    constants = [set(layout.copy[layout.channel == CONSTANT].tolist()) for layout in given]
    shared = list(set.intersection(*constants)) if len(given) == len(layouts) else []
    keep = (fullest.channel >= 0) & (fullest.copy < copies)
    keep |= (fullest.channel == CONSTANT) & np.isin(fullest.copy, shared)
    common = fullest.take(np.flatnonzero(keep))
    present = {c for layout in given for c in layout.channel.tolist() if c >= 0}
    if len(given) < len(layouts):  # a plain one has all
        present = set(range(common.size))
    absent = sorted(present - set(common.channel.tolist()))
    if not absent:
        return common
    # channels that the fullest input has as zeros
    return whole_channels(
        common.size,
        common.axis,
        channel=np.concatenate([np.repeat(absent, copies), common.channel]),
        copy=np.concatenate([np.tile(np.arange(copies), len(absent)), common.copy]),
    )


def _aligned(node: Node, i: int, layout: Layout | None, wanted: Layout, to: Emitter) -> str:
    """The ticket's tensor for input `i`, gathered into the order `wanted` where it is not yet."""
    tensor = to.place(node.inputs[i])
    if layout is None:
        places = np.where(wanted.channel >= 0, wanted.channel, -1).astype(np.int64)
    else:
        copies = layout.copies
        places = layout.find(
            (c, q % copies if c >= 0 else q)
            for c, q in zip(wanted.channel.tolist(), wanted.copy.tolist(), strict=True)
        )
        if np.array_equal(places, np.arange(layout.width)):
            return tensor
    return to.gather(tensor, places, wanted.axis, f"{node.name}/order{i}")


def concat(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Concat: along the channels, copies stand beside copies; along another axis, as merging."""
    reference = next(layout for layout in layouts if layout is not None)
    shape = to.shape(node.outputs[0])
    if shape is None or any(to.target.constants.get(name) is not None for name in node.inputs):
        raise RefusalError("a part of it is constant, or its shape is unknown")
    axis = node.attributes.get("axis", 1) % len(shape)
    if any(layout is not None and layout.axis != reference.axis for layout in layouts):
        raise RefusalError("its inputs have their channels on different axes")
    if axis != reference.axis:
        wanted = _common(node, layouts, to)
        inputs = {i: _aligned(node, i, layout, wanted, to) for i, layout in enumerate(layouts)}
        to.emit(rewired(node, to, inputs))
        return wanted
    copies = _copies(node, layouts, to)
    parts: list[Layout] = []
    inputs = {}
    offset = constants = 0
    for i, (name, given) in enumerate(zip(node.inputs, layouts, strict=True)):
        size = (to.shape(name) or ())[axis] if given is None else given.size
        if not isinstance(size, int):
            raise RefusalError(f"the number of channels of '{name}' is unknown")
        layout = given or plain_layout(size, axis)
        if layout.copies != copies:
            layout = _with_copies(layout, copies)
            inputs[i] = _aligned(node, i, given, layout, to)
        is_constant = layout.channel == CONSTANT
        numbering = np.cumsum(is_constant) - 1 + constants
        channel = np.where(layout.channel >= 0, layout.channel + offset, layout.channel)
        copy = np.where(is_constant, numbering, layout.copy)
        parts.append(replace(layout, channel=channel, copy=copy))
        offset += size
        constants += int(is_constant.sum())
    to.emit(rewired(node, to, inputs))
    entries = [[getattr(part, key) for part in parts] for key in ("channel", "copy", "part")]
    channels, copy_numbers, signs = (np.concatenate(arrays).astype(INT) for arrays in entries)
    return Layout(axis, offset, channels, copy_numbers, signs)


def _with_copies(layout: Layout, copies: int) -> Layout:
    """Copies 0 to `copies` - 1 of all channels of `layout`, then its constants."""
    data = layout.channel >= 0
    channels, ends = np.unique(layout.channel[data]), np.flatnonzero(~data)
    return whole_channels(
        layout.size,
        layout.axis,
        channel=np.concatenate([np.tile(channels, copies), layout.channel[ends]]),
        copy=np.concatenate([np.repeat(np.arange(copies), len(channels)), layout.copy[ends]]),
    )
