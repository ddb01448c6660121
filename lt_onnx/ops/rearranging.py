"""Operators that move channels about: index arithmetic on the layout, data as in the target."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_onnx.layout import CONSTANT, Layout
from lt_onnx.ops.rule import Emitter, RefusalError, UndecidedError, axes_of, only, rewired
from lt_onnx.target import Node, Shape

LARGEST = 1 << 23  # elements of a tensor that a permutation is looked for in


def reshape(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Reshape and Flatten: the channels stay whole, or merge with axes beside them."""
    layout = only(layouts)
    before = to.shape(node.inputs[0])
    if before is None:
        raise RefusalError("its rank is unknown")
    sizes = _stand_ins(before)
    goal = _goal(node, sizes, to)
    after = _resolve(goal, sizes)
    a, channels = layout.axis, layout.size
    for b in range(len(after)):
        outer, rest = divmod(math.prod(sizes[:a]), math.prod(after[:b]))
        if rest or not outer or after[b] % (outer * channels):
            continue
        inner = after[b] // (outer * channels)
        if math.prod(after[b + 1 :]) * inner != math.prod(sizes[a + 1 :]):
            continue
        for factor, merged in ((outer, before[:a]), (inner, before[a + 1 :])):
            if factor > 1 and any(not isinstance(d, int) for d in merged):
                raise RefusalError("it merges the channels with an axis of unknown size")
        if outer > 1 and layout.mirror:
            raise RefusalError("mirror images would come between each other")
        spread = layout.spread(inner, b, outer)
        # an axis that was to be inferred may be the channels' own, and is known now
        goal[b] = spread.width
        name = to.add_constant(f"{node.name}/shape", np.array(goal, np.int64))
        again = Node("Reshape", node.name, (node.inputs[0], name), node.outputs)
        to.emit(rewired(again, to, {1: name}))
        return spread
    raise UndecidedError("it splits the channels")


def composed(chain: Sequence[Node], layout: Layout, to: Emitter) -> Layout:
    """A chain of Reshape and Transpose that only permutes the channels before its last Reshape."""
    before, last = to.shape(chain[0].inputs[0]), chain[-1]
    if before is None or last.op != "Reshape":
        raise UndecidedError("it splits the channels")
    sizes = _stand_ins(before)
    if math.prod(sizes) > LARGEST:
        raise RefusalError("it splits the channels of a very large tensor")
    start = np.arange(math.prod(sizes)).reshape(sizes)
    if any(node.op == "Flatten" for node in chain):
        raise RefusalError("it splits the channels")
    moved = _moved(chain, start, [_goal(n, (), to) for n in chain if n.op != "Transpose"])
    if moved.size == start.size and (order := _permutation(start, moved, layout)) is not None:
        number = np.empty(layout.size, np.int32)
        number[order] = np.arange(layout.size)
        renamed = np.where(layout.channel >= 0, number[layout.channel], layout.channel)
        again = replace(last, inputs=(chain[0].inputs[0], *last.inputs[1:]))
        return reshape(again, [replace(layout, channel=renamed)], to)
    return _blocks(chain, start, layout, to)


def _moved(chain: Sequence[Node], start: NDArray[np.int64], goals: list[list[int]]) -> Any:
    """`start` after the chain, whose reshapes go to `goals`."""
    moved, left = start, iter(goals)
    for node in chain:
        if node.op == "Transpose":
            moved = moved.transpose(_order(node, moved.ndim))
        else:
            moved = moved.reshape(_resolve(next(left), moved.shape))
    return moved


def _permutation(
    start: NDArray[np.int64], moved: NDArray[np.int64], layout: Layout
) -> NDArray[np.int64] | None:
    """The order of channels, if that is all that changed."""
    moved = moved.reshape(start.shape)
    channel = moved // math.prod(start.shape[layout.axis + 1 :]) % layout.size
    order = np.moveaxis(channel, layout.axis, 0).reshape(layout.size, -1)[:, 0]
    return order if np.array_equal(moved, np.take(start, order, layout.axis)) else None


def _blocks(chain: Sequence[Node], start: NDArray[np.int64], layout: Layout, to: Emitter) -> Layout:
    """A chain that makes one channel of several, all of them alike (a pixel shuffle by hand).

    Each physical channel of the output is made of the right copies of its channels, gathered into
    the order in which the same chain, with more channels, expects them.
    """
    goals = [_goal(node, (), to) for node in chain if node.op != "Transpose"]
    final = _moved(chain, start, goals)
    axis = layout.axis
    if final.ndim <= axis or layout.size % final.shape[axis] or layout.mirror or layout.part.any():
        raise UndecidedError("it splits the channels")
    size = final.shape[axis]
    many = layout.size // size
    inner = math.prod(start.shape[axis + 1 :])

    def channels(moved: NDArray[np.int64], count: int) -> NDArray[np.int64]:
        """Channel and position of every output element, by output channel; checked to be alike."""
        front = np.moveaxis(moved, axis, 0).reshape(moved.shape[axis], -1)
        channel = front // inner % count
        place = front // (inner * count) * inner + front % inner
        shift = channel - channel[:1]
        if (place != place[:1]).any() or (shift != shift[:, :1]).any():
            raise UndecidedError("it splits the channels")
        return channel

    meant = channels(final, layout.size)
    copies = layout.copies
    ends = np.flatnonzero(layout.channel == CONSTANT)
    out = [(c, q) for q in range(copies) for c in range(size)]
    width = len(out) + len(ends)
    wider = [
        [width if d == size and i == goal.index(size) else d for i, d in enumerate(goal)]
        if size in goal
        else goal
        for goal in goals
    ]
    shape = list(start.shape)
    shape[axis] = width * many
    laid = channels(_moved(chain, np.arange(math.prod(shape)).reshape(shape), wider), width * many)
    if laid.shape[0] != width or laid.shape[1] != meant.shape[1]:
        raise UndecidedError("it splits the channels")
    places = np.full(width * many, -1)
    for number, (c, q) in enumerate(out):
        found = layout.find((int(old), q) for old in np.unique(meant[c]))
        lookup = dict(zip(np.unique(meant[c]).tolist(), found.tolist(), strict=True))
        places[laid[number]] = [lookup[int(old)] for old in meant[c]]
    for number, place in enumerate(ends):
        places[laid[len(out) + number]] = place
    source = to.gather(to.place(chain[0].inputs[0]), places, axis, f"{chain[0].name}/channels")
    left = iter(wider)
    for node in chain:
        inputs: tuple[str, ...] = (source,)
        if node.op != "Transpose":
            name = f"{node.name}/shape"
            inputs = (source, to.add_constant(name, np.array(next(left), np.int64)))
        source = to.place(node.outputs[0])
        op = "Transpose" if node.op == "Transpose" else "Reshape"
        to.emit(Node(op, node.name, inputs, (source,), node.attributes if op == node.op else {}))
    return Layout(
        axis=axis,
        size=size,
        channel=np.array([c for c, _ in out] + [CONSTANT] * len(ends), np.int32),
        copy=np.array([q for _, q in out] + layout.copy[ends].tolist(), np.int32),
        part=np.zeros(width, np.int32),
    )


def _stand_ins(shape: Shape) -> tuple[int, ...]:
    """A shape with small sizes for unknown axes, no two alike."""
    unknown = iter((2, 3, 5, 7, 11, 13, 17, 19))
    return tuple(d if isinstance(d, int) else next(unknown) for d in shape)


def _goal(node: Node, sizes: Sequence[int], to: Emitter) -> list[int]:
    """What Reshape or Flatten is asked for, with 0 and -1 as ONNX has them."""
    if node.op == "Flatten":
        axis = node.attributes.get("axis", 1) % len(sizes)
        return [0 if axis == 1 else -1, -1] if axis == 1 else [math.prod(sizes[:axis]), -1]
    value = to.constant(node.inputs[1])
    if value is None:
        raise RefusalError("its shape is computed")
    if node.attributes.get("allowzero", 0) and (value == 0).any():
        raise RefusalError("it makes an empty tensor")
    return [int(d) for d in value]


def _resolve(goal: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    """The sizes that a Reshape of `sizes` to `goal` gives."""
    if any(d == 0 and i >= len(sizes) for i, d in enumerate(goal)):
        raise RefusalError("its shape does not fit")
    full = [sizes[i] if d == 0 else d for i, d in enumerate(goal)]
    known = math.prod(d for d in full if d != -1)
    full = [math.prod(sizes) // max(known, 1) if d == -1 else d for d in full]
    if math.prod(full) != math.prod(sizes):
        raise RefusalError("its shape fixes an axis that is open elsewhere")
    return tuple(full)


def _order(node: Node, rank: int) -> list[int]:
    order = list(node.attributes.get("perm") or reversed(range(rank)))
    if sorted(order) != list(range(rank)):
        raise RefusalError(f"its perm is no order of {rank} axes")
    return order


def transpose(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Transpose: the channels move to another axis."""
    layout = only(layouts)
    shape = to.shape(node.inputs[0])
    if shape is None:
        raise RefusalError("its rank is unknown")
    to.emit(rewired(node, to))
    return replace(layout, axis=_order(node, len(shape)).index(layout.axis))


def squeeze(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Squeeze of other axes than the channels'."""
    layout, shape, axes = only(layouts), to.shape(node.inputs[0]), axes_of(node, to)
    if shape is None or (axes is None and any(not isinstance(d, int) for d in shape)):
        raise RefusalError("its axes are not named, or its rank is unknown")
    gone = (
        [i for i, d in enumerate(shape) if d == 1]
        if axes is None
        else [i % len(shape) for i in axes]
    )
    if layout.axis in gone:
        raise RefusalError("it drops the channels' axis")
    if axes is None and layout.width == 1:
        raise RefusalError("its axes are not named")
    to.emit(rewired(node, to))
    return replace(layout, axis=layout.axis - sum(i < layout.axis for i in gone))


def unsqueeze(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Unsqueeze."""
    layout, shape, axes = only(layouts), to.shape(node.inputs[0]), axes_of(node, to)
    if shape is None or axes is None:
        raise RefusalError("its rank is unknown")
    rank = len(shape) + len(axes)
    fresh = {axis % rank for axis in axes}
    to.emit(rewired(node, to))
    return replace(layout, axis=[i for i in range(rank) if i not in fresh][layout.axis])


def depth_to_space(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """DepthToSpace: the b² channels that become one stand as the operator wants them, per copy.

    A constant is repeated b² times, so that it stays constant.
    """
    layout = only(layouts)
    if layout.axis != 1 or layout.mirror or (layout.part != 0).any():
        raise RefusalError("the channels are not on axis 1")
    square = node.attributes["blocksize"] ** 2
    size = layout.size // square
    by_column = node.attributes.get("mode", "DCR") == "CRD"
    first = np.array([(c, q) for q in range(layout.copies) for c in range(size)], np.int64)
    block = np.arange(square)
    if by_column:
        channel = first[:, 0, None] * square + block
        keys = [(int(c), int(q)) for row, q in zip(channel, first[:, 1], strict=True) for c in row]
    else:
        channel = block[:, None] * size + first[:, 0]
        keys = [(int(c), int(q)) for row in channel for c, q in zip(row, first[:, 1], strict=True)]
    places = layout.find(keys)
    constants = np.flatnonzero(layout.channel == CONSTANT)
    if by_column:
        places = np.concatenate([places, np.repeat(constants, square)])
    else:
        grid = places.reshape(square, -1)
        places = np.concatenate([grid, np.tile(constants, (square, 1))], 1).reshape(-1)
    gathered = to.gather(to.place(node.inputs[0]), places, 1, f"{node.name}/channels")
    to.emit(rewired(node, to, {0: gathered}))
    ends = np.full(len(constants), CONSTANT)
    return Layout(
        axis=1,
        size=size,
        channel=np.concatenate([first[:, 0], ends]).astype(np.int32),
        copy=np.concatenate([first[:, 1], layout.copy[constants]]).astype(np.int32),
        part=np.zeros(len(first) + len(ends), np.int32),
    )


def space_to_depth(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """SpaceToDepth: every channel becomes b² channels, b² times the physical ones in all."""
    layout = only(layouts)
    if layout.axis != 1 or layout.mirror or (layout.part != 0).any():
        raise RefusalError("the channels are not on axis 1")
    square = node.attributes["blocksize"] ** 2
    to.emit(rewired(node, to))
    block = np.repeat(np.arange(square), layout.width)
    channel, copy = np.tile(layout.channel, square), np.tile(layout.copy, square)
    return Layout(
        axis=1,
        size=layout.size * square,
        channel=np.where(channel >= 0, block * layout.size + channel, channel).astype(np.int32),
        copy=np.where(channel == CONSTANT, block * layout.width + copy, copy).astype(np.int32),
        part=np.zeros(len(channel), np.int32),
    )


def gather(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Gather by constant indices: along the channels those taken stay."""
    layout, shape = only(layouts), to.shape(node.inputs[0])
    index = to.constant(node.inputs[1])
    if shape is None or index is None or to.constant(node.inputs[0]) is not None:
        raise RefusalError("its indices are computed, or its rank is unknown")
    axis = node.attributes.get("axis", 0) % len(shape)
    if axis == layout.axis:
        if index.ndim != 1:
            raise RefusalError("it takes the channels apart")
        return _channels(node, layout, index.astype(np.int64) % layout.size, node.outputs[0], to)
    to.emit(rewired(node, to))
    moved = index.ndim - 1 if axis < layout.axis else 0
    return replace(layout, axis=layout.axis + moved)


def split(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> list[Layout]:
    """Split: along the channels each output takes its own; along another axis all go along."""
    layout, shape = only(layouts), to.shape(node.inputs[0])
    if shape is None:
        raise RefusalError("its rank is unknown")
    axis = node.attributes.get("axis", 0) % len(shape)
    if axis != layout.axis:
        to.emit(rewired(node, to))
        return [layout] * len(node.outputs)
    sizes = [(to.shape(name) or (None,) * len(shape))[axis] for name in node.outputs]
    if any(not isinstance(d, int) for d in sizes) or sum(sizes) != layout.size:
        raise RefusalError("the sizes of its parts are unknown")
    made, start = [], 0
    for name, size in zip(node.outputs, sizes, strict=True):
        assert isinstance(size, int)
        made.append(_channels(node, layout, np.arange(start, start + size), name, to))
        start += size
    return made


def _channels(
    node: Node, layout: Layout, kept: NDArray[np.int64], output: str, to: Emitter
) -> Layout:
    """The channels `kept`, in that order, as the tensor `output`; constants go along."""
    channel, copy, places = [], [], []
    for number, old in enumerate(kept):
        copies = np.flatnonzero(layout.channel == old)
        channel += [number] * len(copies)
        copy += layout.copy[copies].tolist()
        places += copies.tolist()
    ends = np.flatnonzero(layout.channel == CONSTANT)
    places += ends.tolist()
    if layout.mirror:
        raise RefusalError("mirror images would come apart")
    index = np.array(places, np.int64)
    name = f"{node.name}/{output}" if len(node.outputs) > 1 else f"{node.name}/channels"
    gathered = to.gather(to.place(node.inputs[0]), index, layout.axis, name)
    to.emit(Node("Identity", name + "/out", (gathered,), (to.place(output),)))
    taken = layout.take(index)
    return replace(
        taken, size=len(kept), channel=np.array(channel + [CONSTANT] * len(ends), np.int32)
    )


def slice_(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Slice: unchanged along other axes; along the channels, those outside are left behind."""
    layout = only(layouts)
    shape = to.shape(node.inputs[0])
    axes: list[int] | None
    steps: list[int] | None
    if "starts" in node.attributes:
        starts, ends = list(node.attributes["starts"]), list(node.attributes["ends"])
        axes = list(node.attributes.get("axes") or range(len(starts)))
        steps = [1] * len(starts)
    else:
        values = [to.constant(name) if name else None for name in node.inputs[1:]]
        given = [n for n, v in zip(node.inputs[1:], values, strict=True) if n and v is None]
        if given:
            raise RefusalError("its bounds are computed")
        starts, ends = values[0].tolist(), values[1].tolist()  # type: ignore[union-attr]
        axes = values[2].tolist() if len(values) > 2 and values[2] is not None else None
        axes = axes or list(range(len(starts)))
        steps = values[3].tolist() if len(values) > 3 and values[3] is not None else None
        steps = steps or [1] * len(starts)
    if shape is None:
        raise RefusalError("its rank is unknown")
    axes = [axis % len(shape) for axis in axes]
    if layout.axis not in axes:
        to.emit(rewired(node, to))
        return layout
    if len(axes) > 1:
        raise RefusalError("it cuts the channels and another axis at once")
    kept = np.arange(layout.size)[slice(starts[0], ends[0], steps[0])]
    return _channels(node, layout, kept, node.outputs[0], to)


def pad(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Pad: zeros around the other axes; along the channels only the layout changes.

    Constants lose their constancy where zeros are padded beside them, and are dropped.
    """
    layout = only(layouts)
    shape = to.shape(node.inputs[0])
    mode = node.attributes.get("mode", "constant")
    if "pads" in node.attributes:
        pads = list(node.attributes["pads"])
        value = node.attributes.get("value", 0.0)
    else:
        given = to.constant(node.inputs[1])
        fill = to.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
        if given is None or (len(node.inputs) > 2 and node.inputs[2] and fill is None):
            raise RefusalError("its pads are computed")
        pads = given.tolist()
        axes = axes_of(node, to, 3)
        if axes is not None and shape is not None:
            rank = len(shape)
            pads = [0] * (2 * rank)
            for i, axis in enumerate(axes):
                pads[axis % rank], pads[axis % rank + rank] = given[i], given[i + len(axes)]
        value = float(fill.reshape(-1)[0]) if fill is not None else 0.0
    if shape is None:
        raise RefusalError("its rank is unknown")
    if (pads[layout.axis] or pads[layout.axis + len(shape)]) and (mode != "constant" or value):
        raise RefusalError("it pads the channels with something else than zeros")
    rank, axis = len(shape), layout.axis
    before, after = pads[axis], pads[axis + rank]
    if before < 0 or after < 0:
        raise RefusalError("it cuts channels by negative pads")
    others = list(pads)
    others[axis] = others[axis + rank] = 0
    if "pads" in node.attributes:
        to.emit(rewired(replace(node, attributes={**node.attributes, "pads": others}), to))
    else:
        name = to.add_constant(f"{node.name}/pads", np.array(others, np.int64))
        inputs = (*node.inputs[:3], *([""] if len(node.inputs) > 3 else []))
        to.emit(rewired(replace(node, inputs=inputs), to, {1: name}))
    channel = np.where(layout.channel >= 0, layout.channel + before, layout.channel)
    if any(others) and mode == "constant":
        channel = np.where(channel == CONSTANT, -2, channel)
    return replace(layout, size=layout.size + before + after, channel=channel.astype(np.int32))
