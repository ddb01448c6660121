"""Operators that move channels about: index arithmetic on the layout, data as in the target."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lt_onnx.layout import CONSTANT, UNUSED, Indices, Layout, copies_in_order, whole_channels
from lt_onnx.ops.rule import Emitter, RefusalError, numbers_of, only, rewired, shape_of
from lt_onnx.target import Node

MAX_BLOCK = 64  # places a side of DepthToSpace and its inverse
BOUNDS = ("starts", "ends", "axes", "steps")  # of a Slice


def squeeze(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Squeeze of other axes than the channels'."""
    layout, shape, axes = only(layouts), to.shape(node.inputs[0]), numbers_of(node, "axes", 1, to)
    unnamed = axes is None
    if shape is None or (unnamed and not all(isinstance(d, int) for d in shape)):
        raise RefusalError("its axes are not named, or its rank is unknown")
    dropped = (
        [i for i, d in enumerate(shape) if d == 1] if unnamed else [i % len(shape) for i in axes]
    )
    if layout.axis in dropped:
        raise RefusalError("it drops the channels' axis")
    if unnamed and layout.width == 1:
        raise RefusalError("its axes are not named")
    to.emit(rewired(node, to))
    return replace(layout, axis=layout.axis - sum(i < layout.axis for i in dropped))


def unsqueeze(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Unsqueeze: the channels' axis moves behind the axes that are put before it."""
    layout, axes, shape = only(layouts), numbers_of(node, "axes", 1, to), shape_of(node, to)
    rank = len(shape) + len(axes)
    added = {axis % rank for axis in axes}
    to.emit(rewired(node, to))
    return replace(layout, axis=[i for i in range(rank) if i not in added][layout.axis])


def depth_to_space(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """DepthToSpace: the b² channels that become one stand as the operator wants them, per copy.

    A constant is repeated b² times, so that it stays constant.
    """
    layout = _first_axis(only(layouts))
    square = _square(node)
    if layout.size % square:
        raise RefusalError("its blocks do not divide the channels")
    size = layout.size // square
    out = [(c, q) for q in range(layout.copies) for c in range(size)]
    constants = np.flatnonzero(layout.channel == CONSTANT)
    if node.attributes.get("mode", "DCR") == "CRD":
        places = layout.find((c * square + k, q) for c, q in out for k in range(square))
        places = np.concatenate([places, np.repeat(constants, square)])
    else:
        places = layout.find((k * size + c, q) for k in range(square) for c, q in out)
        blocks = [places.reshape(square, -1), np.tile(constants, (square, 1))]
        places = np.concatenate(blocks, axis=1).reshape(-1)
    gathered = to.gather(to.place(node.inputs[0]), places, 1, f"{node.name}/channels")
    to.emit(rewired(node, to, {0: gathered}))
    return copies_in_order(size, 1, copies=layout.copies, constants=layout.copy[constants])


def space_to_depth(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """SpaceToDepth: every channel becomes b² channels, b² times the physical ones in all."""
    layout = _first_axis(only(layouts))
    square = _square(node)
    to.emit(rewired(node, to))
    block = np.repeat(np.arange(square), layout.width)
    channel, copy = np.tile(layout.channel, square), np.tile(layout.copy, square)
    return whole_channels(
        layout.size * square,
        axis=1,
        channel=np.where(channel >= 0, block * layout.size + channel, channel),
        copy=np.where(channel == CONSTANT, block * layout.width + copy, copy),
    )


def _square(node: Node) -> int:
    """Places of a block."""
    side: int = node.attributes["blocksize"]
    if not 1 <= side <= MAX_BLOCK:
        raise RefusalError(f"its blocks are not of 1 to {MAX_BLOCK} places a side")
    return side**2


def _first_axis(layout: Layout) -> Layout:
    """The layout, whose whole channels must be on axis 1."""
    if layout.axis != 1 or layout.mirror or layout.part.any():
        raise RefusalError("the channels are not on axis 1")
    return layout


def gather(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Gather by constant indices: along the channels those taken stay."""
    layout, shape = only(layouts), to.shape(node.inputs[0])
    index = to.target.constants.get(node.inputs[1])
    if shape is None or index is None or to.target.constants.get(node.inputs[0]) is not None:
        raise RefusalError("its indices are computed, or its rank is unknown")
    axis = node.attributes.get("axis", 0) % len(shape)
    if axis == layout.axis:
        if index.ndim != 1:
            raise RefusalError("it takes the channels apart")
        chosen = index.astype(np.int64) % layout.size
        return _selected(node, layout, chosen, node.outputs[0], to)
    to.emit(rewired(node, to))
    return replace(layout, axis=layout.axis + (index.ndim - 1 if axis < layout.axis else 0))


def split(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> list[Layout]:
    """Split: along the channels each output takes its own; along another axis all go along."""
    layout, shape = only(layouts), shape_of(node, to)
    axis = node.attributes.get("axis", 0) % len(shape)
    if axis != layout.axis:
        to.emit(rewired(node, to))
        return [layout] * len(node.outputs)
    sizes = [(to.shape(name) or (None,) * len(shape))[axis] for name in node.outputs]
    counts = [size for size in sizes if isinstance(size, int)]
    if len(counts) < len(sizes) or sum(counts) != layout.size:
        raise RefusalError("the sizes of its parts are unknown")
    ends = np.cumsum(counts)
    return [
        _selected(node, layout, np.arange(end - size, end), name, to)
        for name, size, end in zip(node.outputs, counts, ends, strict=True)
    ]


def _selected(node: Node, layout: Layout, chosen: Indices, output: str, to: Emitter) -> Layout:
    """The channels `chosen`, in that order, as the tensor `output`; constants go along."""
    if layout.mirror:
        raise RefusalError("mirror images would come apart")
    copies = [np.flatnonzero(layout.channel == old) for old in chosen]
    constants = np.flatnonzero(layout.channel == CONSTANT)
    channel = [number for number, places in enumerate(copies) for _ in places]
    places = np.concatenate([*copies, constants])
    name = f"{node.name}/{output}" if len(node.outputs) > 1 else f"{node.name}/channels"
    gathered = to.gather(to.place(node.inputs[0]), places, layout.axis, name)
    to.emit(Node("Identity", name + "/out", (gathered,), (to.place(output),)))
    channels = np.array(channel + [CONSTANT] * len(constants), np.int32)
    return replace(layout.take(places), size=len(chosen), channel=channels)


def slice_(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Slice: unchanged along other axes; along the channels, those outside are left behind."""
    layout = only(layouts)
    bounds = [
        numbers_of(node, key, position, to, "bounds are") for position, key in enumerate(BOUNDS, 1)
    ]
    rank, count = len(shape_of(node, to)), len(bounds[0])
    starts, ends, axes, steps = bounds[0], bounds[1], bounds[2] or range(count), bounds[3]
    along = [i for i, axis in enumerate(axes) if axis % rank == layout.axis]
    if not along:
        to.emit(rewired(node, to))
        return layout
    own = along[0]
    chosen = np.arange(layout.size)[slice(starts[own], ends[own], (steps or [1] * count)[own])]
    if count == 1:
        return _selected(node, layout, chosen, node.outputs[0], to)
    if not np.array_equal(chosen, np.arange(layout.size)):
        raise RefusalError("it cuts the channels and another axis at once")
    kept = [i for i in range(count) if i not in along]
    others = {key: [v[i] for i in kept] for key, v in zip(BOUNDS, bounds, strict=True) if v}
    others["axes"] = [axes[i] for i in kept]
    if "starts" in node.attributes:
        to.emit(rewired(replace(node, attributes={**node.attributes, **others}), to))
        return layout
    names = {
        position: to.add_constant(f"{node.name}/{key}", np.array(others[key], np.int64))
        for position, key in enumerate(BOUNDS, 1)
        if key in others
    }
    inputs = (node.inputs[0], *("" for _ in range(max(names))))
    to.emit(rewired(replace(node, inputs=inputs), to, names))
    return layout


def pad(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Pad: zeros around the other axes; along the channels only the layout changes.

    Constants lose their constancy where zeros are padded beside them, and are dropped.
    """
    layout, mode = only(layouts), node.attributes.get("mode", "constant")
    pads, value = _pads(node, to)
    begin, end = layout.axis, layout.axis + len(shape_of(node, to))
    before, after = pads[begin], pads[end]
    if (before or after) and (mode != "constant" or value):
        raise RefusalError("it pads the channels with something else than zeros")
    if before < 0 or after < 0:
        raise RefusalError("it cuts channels by negative pads")
    pads[begin] = pads[end] = 0
    if "pads" in node.attributes:
        to.emit(rewired(replace(node, attributes={**node.attributes, "pads": pads}), to))
    else:
        name = to.add_constant(f"{node.name}/pads", np.array(pads, np.int64))
        inputs = (*node.inputs[:3], *([""] if len(node.inputs) > 3 else []))
        to.emit(rewired(replace(node, inputs=inputs), to, {1: name}))
    channel = np.where(layout.channel >= 0, layout.channel + before, layout.channel)
    if any(pads) and mode == "constant":
        channel = np.where(channel == CONSTANT, UNUSED, channel)
    return replace(layout, size=layout.size + before + after, channel=channel.astype(np.int32))


def _pads(node: Node, to: Emitter) -> tuple[list[int], float]:
    """Pads of every axis, begins then ends, and the number that is filled in."""
    given: list[int] = numbers_of(node, "pads", 1, to) or []
    value = numbers_of(node, "value", 2, to, "pads are") or [0.0]
    axes, rank = numbers_of(node, "axes", 3, to), len(shape_of(node, to))
    if len(given) != 2 * (rank if axes is None else len(axes)):
        raise RefusalError("its pads are not two for each axis")
    if axes is None:
        return given, value[0]
    pads = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        pads[axis % rank], pads[axis % rank + rank] = given[i], given[i + len(axes)]
    return pads, value[0]
