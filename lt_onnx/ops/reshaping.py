"""Reshape, Flatten and Transpose, alone or in chains: what becomes of the channels' axis."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lt_onnx.layout import CONSTANT, Indices, Layout, copies_in_order
from lt_onnx.ops.rule import (
    Emitter,
    RefusalError,
    UndecidedError,
    numbers_of,
    only,
    rewired,
    shape_of,
)
from lt_onnx.target import Node, Shape

MAX_CHAIN_ELEMENTS = 1 << 23  # of a tensor whose elements are followed through a chain
SMALL_PRIMES = (2, 3, 5, 7, 11, 13, 17, 19)
LARGE_PRIMES = (10007, 10009, 10037, 10039, 10061, 10067, 10069, 10079)
Nodes = Sequence[Node]
Goals = list[list[int]]  # what the reshapes of a chain are asked for
SPLITS = "it splits the channels"


def reshape(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Reshape and Flatten: the channels stay whole, or merge with axes beside them."""
    layout, before = only(layouts), shape_of(node, to)
    sizes = _stand_ins(before, LARGE_PRIMES)  # no constant of the shape is one of these
    goal = _goal(node, sizes, to)
    after = _resolved(goal, sizes)
    a, channels = layout.axis, layout.size
    for b in range(len(after)):
        outer, rest = divmod(math.prod(sizes[:a]), math.prod(after[:b]))
        if rest or not outer or after[b] % (outer * channels):
            continue
        inner = after[b] // (outer * channels)
        if math.prod(after[b + 1 :]) * inner != math.prod(sizes[a + 1 :]):
            continue
        for factor, beside in ((outer, before[:a][::-1]), (inner, before[a + 1 :])):
            if not _is_of_known(factor, beside):
                raise RefusalError("it merges the channels with an axis of unknown size")
        if outer > 1 and layout.mirror:
            raise RefusalError("mirror images would come between each other")
        spread = layout.spread(inner, b, outer=outer)
        # an axis that was to be inferred may be the channels' own, and is known now
        goal[b] = spread.width
        if node.op == "Flatten" and b == 1 and goal[0]:
            goal[0] = -1  # of several axes, whose sizes may be open
        name = to.add_constant(f"{node.name}/shape", np.array(goal, np.int64))
        plain = Node("Reshape", node.name, (node.inputs[0], name), node.outputs)
        to.emit(rewired(plain, to, {1: name}))
        return spread
    raise UndecidedError(SPLITS)


def _is_of_known(factor: int, sizes: Shape) -> bool:
    """Whether `factor` divides the product of the first of `sizes`, all of them known."""
    product = 1
    for size in sizes:
        if product % factor and isinstance(size, int):
            product *= size
        else:
            break
    return product % factor == 0


def transpose(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Transpose: the channels move to another axis."""
    layout, shape = only(layouts), shape_of(node, to)
    axis = _order(node, len(shape)).index(layout.axis)
    to.emit(rewired(node, to))
    return replace(layout, axis=axis)


def chain(nodes: Nodes, layout: Layout, to: Emitter) -> Layout:
    """A chain of Reshape and Transpose that permutes the channels, or makes one of several.

    Raises UndecidedError where the nodes that follow may yet make it so.
    """
    before, last = to.shape(nodes[0].inputs[0]), nodes[-1]
    if before is None or last.op != "Reshape":
        raise UndecidedError(SPLITS)
    sizes = _stand_ins(before, SMALL_PRIMES)
    if math.prod(sizes) > MAX_CHAIN_ELEMENTS:
        raise RefusalError("it splits the channels of a very large tensor")
    if any(node.op == "Flatten" for node in nodes):
        raise RefusalError(SPLITS)
    start = np.arange(math.prod(sizes)).reshape(sizes)
    goals = [_goal(node, (), to) for node in nodes if node.op != "Transpose"]
    moved = _moved(nodes, start, goals)
    if moved.size == start.size and (order := _permutation(start, moved, layout)) is not None:
        number = np.empty(layout.size, np.int32)
        number[order] = np.arange(layout.size)
        renamed = np.where(layout.channel >= 0, number[layout.channel], layout.channel)
        whole = replace(last, inputs=(nodes[0].inputs[0], *last.inputs[1:]))
        return reshape(whole, [replace(layout, channel=renamed)], to)
    return _joined(nodes, layout, to, start=start, moved=moved, goals=goals)


def _moved(nodes: Nodes, start: Indices, goals: Goals) -> Any:
    """`start` after the chain, whose reshapes go to `goals`."""
    moved, left = start, iter(goals)
    for node in nodes:
        if node.op == "Transpose":
            moved = moved.transpose(_order(node, moved.ndim))
        else:
            moved = moved.reshape(_resolved(next(left), moved.shape))
    return moved


def _permutation(start: Indices, moved: Indices, layout: Layout) -> Indices | None:
    """The order of channels, if that is all that changed."""
    moved = moved.reshape(start.shape)
    channel = moved // math.prod(start.shape[layout.axis + 1 :]) % layout.size
    order = np.moveaxis(channel, layout.axis, 0).reshape(layout.size, -1)[:, 0]
    return order if np.array_equal(moved, np.take(start, order, layout.axis)) else None


def _sources(moved: Indices, axis: int, count: int, inner: int) -> Indices:
    """The channel that every output element comes from, [output channels, elements of each].

    `moved` holds positions in a tensor of `count` channels of `inner` elements each. Raises
    UndecidedError unless all output channels are made of theirs in the same way.
    """
    front = np.moveaxis(moved, axis, 0).reshape(moved.shape[axis], -1)
    channel = front // inner % count
    place = front // (inner * count) * inner + front % inner
    shift = channel - channel[:1]
    if (place != place[:1]).any() or (shift != shift[:, :1]).any():
        raise UndecidedError(SPLITS)
    return channel


def _joined(
    nodes: Nodes, layout: Layout, to: Emitter, *, start: Indices, moved: Indices, goals: Goals
) -> Layout:
    """A chain that makes one channel of several, all of them alike (a pixel shuffle by hand).

    Each physical channel of the output is made of the right copies of its channels, gathered into
    the order in which the same chain, with more channels, expects them.
    """
    axis = layout.axis
    if moved.ndim <= axis or layout.size % moved.shape[axis] or layout.mirror or layout.part.any():
        raise UndecidedError(SPLITS)
    size, inner = moved.shape[axis], math.prod(start.shape[axis + 1 :])
    several = layout.size // size  # channels that become one
    sources = _sources(moved, axis, layout.size, inner)
    constants = np.flatnonzero(layout.channel == CONSTANT)
    out = [(c, q) for q in range(layout.copies) for c in range(size)]
    width = len(out) + len(constants)
    wider = [_with_first(goal, size, width) for goal in goals]
    shape = list(start.shape)
    shape[axis] = width * several
    positions = np.arange(math.prod(shape)).reshape(shape)
    wanted = _sources(_moved(nodes, positions, wider), axis, shape[axis], inner)
    if wanted.shape != (width, sources.shape[1]):
        raise UndecidedError(SPLITS)
    places = np.full(shape[axis], -1)
    for number, (c, q) in enumerate(out):
        old = np.unique(sources[c]).tolist()
        copies = dict(zip(old, layout.find((each, q) for each in old).tolist(), strict=True))
        places[wanted[number]] = [copies[each] for each in sources[c].tolist()]
    for number, place in enumerate(constants, len(out)):
        places[wanted[number]] = place
    source = to.gather(to.place(nodes[0].inputs[0]), places, axis, f"{nodes[0].name}/channels")
    _emit_chain(nodes, source, wider, to)
    return copies_in_order(size, axis, copies=layout.copies, constants=layout.copy[constants])


def _with_first(goal: list[int], size: int, width: int) -> list[int]:
    """`goal` with `width` for the first axis of `size`."""
    if size not in goal:
        return goal
    at = goal.index(size)
    return [*goal[:at], width, *goal[at + 1 :]]


def _emit_chain(nodes: Nodes, source: str, goals: Goals, to: Emitter) -> None:
    """The chain behind the ticket's tensor `source`, its reshapes to `goals`."""
    left = iter(goals)
    for node in nodes:
        inputs: tuple[str, ...] = (source,)
        if node.op != "Transpose":
            name = f"{node.name}/shape"
            inputs = (source, to.add_constant(name, np.array(next(left), np.int64)))
        source = to.place(node.outputs[0])
        to.emit(replace(node, inputs=inputs, outputs=(source,)))


def _order(node: Node, rank: int) -> list[int]:
    """The `perm` of a Transpose. Raises RefusalError unless it is an order of `rank` axes."""
    order = list(node.attributes.get("perm") or reversed(range(rank)))
    if sorted(order) != list(range(rank)):
        raise RefusalError(f"its perm is no order of {rank} axes")
    return order


def _stand_ins(shape: Shape, primes: Sequence[int]) -> tuple[int, ...]:
    """A shape with sizes for unknown axes, no two alike."""
    if sum(not isinstance(d, int) for d in shape) > len(primes):
        raise RefusalError("its sizes are not known")
    unknown = iter(primes)
    return tuple(d if isinstance(d, int) else next(unknown) for d in shape)


def _goal(node: Node, sizes: Sequence[int], to: Emitter) -> list[int]:
    """What Reshape or Flatten is asked for, with 0 and -1 as ONNX has them."""
    if node.op == "Flatten":
        axis = node.attributes.get("axis", 1)
        axis += len(sizes) if axis < 0 else 0
        return [0 if axis == 1 else math.prod(sizes[:axis]), -1]
    goal: list[int] = numbers_of(node, "shape", 1, to, "shape is")
    if node.attributes.get("allowzero", 0) and 0 in goal:
        raise RefusalError("it makes an empty tensor")
    return goal


def _resolved(goal: Sequence[int], sizes: Sequence[int]) -> tuple[int, ...]:
    """The sizes that a Reshape of `sizes` to `goal` gives."""
    if any(d == 0 and i >= len(sizes) for i, d in enumerate(goal)):
        raise RefusalError("its shape does not fit")
    full = [sizes[i] if d == 0 else d for i, d in enumerate(goal)]
    given = math.prod(d for d in full if d != -1)
    full = [math.prod(sizes) // max(given, 1) if d == -1 else d for d in full]
    if math.prod(full) != math.prod(sizes):
        raise RefusalError("its shape fixes an axis that is open elsewhere")
    return tuple(full)
