"""The op table: what every operator does to a layout.

| kind      | rule                                                                            |
|-----------|---------------------------------------------------------------------------------|
| copy-wise | applied unchanged to all physical channels                                       |
| merging   | both inputs brought to the same physical order first                             |
| layout    | index arithmetic: the layout changes, the data moves as in the target            |

An operator that is not in `RULES`, or whose rule refuses, is *dense*: its inputs are collapsed to
one copy, it runs as in the target, and a linear layer behind it opens a new two-for-one block.
To add an operator: write a rule or reuse one, and name it in `RULES`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np

from lt_onnx.layout import CONSTANT, Layout
from lt_onnx.target import Array, Node, Shape


class RefusalError(Exception):
    """A rule cannot keep the layout; the message says why."""


class Emitter(Protocol):
    """What a rule may ask of the blueprint under construction."""

    def shape(self, tensor: str) -> Shape | None:
        """Shape of a target tensor."""

    def constant(self, tensor: str) -> Array | None:
        """Value of a constant of the target."""

    def place(self, tensor: str) -> str:
        """Name of the ticket's tensor that holds this target tensor (with its layout, if any)."""

    def add_constant(self, name: str, value: Array) -> str:
        """Add a structural constant; returns the name it got."""

    def emit(self, node: Node) -> None:
        """Append a node to the ticket."""

    def gather(self, tensor: str, places: Array, axis: int, name: str) -> str:
        """Append a Gather of physical channels; place -1 stands for a channel of zeros."""

    def copies_wanted(self, tensor: str) -> bool:
        """Whether a later layer listens to more than one copy of this target tensor."""


Rule = Callable[[Node, Sequence[Layout | None], Emitter], Layout]


def _activations(node: Node, to: Emitter) -> list[int]:
    """Positions of the inputs that are not constants."""
    return [i for i, n in enumerate(node.inputs) if n and to.constant(n) is None]


def _rewired(node: Node, to: Emitter, inputs: Mapping[int, str] | None = None) -> Node:
    """`node` reading and writing the ticket's tensors."""
    inputs = inputs or {}
    return replace(
        node,
        inputs=tuple(
            inputs[i] if i in inputs else (to.place(n) if n else n)
            for i, n in enumerate(node.inputs)
        ),
        outputs=(to.place(node.outputs[0]), *node.outputs[1:]),
    )


def _only(layouts: Sequence[Layout | None]) -> Layout:
    """The layout of the first input, which must be the only one that has any."""
    first, *others = layouts
    if first is None or any(other is not None for other in others):
        raise RefusalError("an input other than the data depends on the network's input")
    return first


# copy-wise ------------------------------------------------------------------------------------


def elementwise(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """A function of one tensor, position by position, with scalar parameters at most."""
    layout = _only(layouts)
    for i, name in enumerate(node.inputs[1:], 1):
        value = to.constant(name) if name else None
        if name and (value is None or value.size != 1):
            raise RefusalError(f"input {i} is not a constant scalar")
    to.emit(_rewired(node, to))
    return layout


def prelu(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """PRelu: the slope of a channel is repeated for its copies."""
    layout = _only(layouts)
    slope, shape = to.constant(node.inputs[1]), to.shape(node.inputs[0])
    if slope is None or shape is None:
        raise RefusalError("the slope is not constant")
    if slope.size == 1:
        to.emit(_rewired(node, to))
        return layout
    full = (1,) * (len(shape) - slope.ndim) + slope.shape
    if full[layout.axis] != layout.size or slope.size != layout.size:
        raise RefusalError("the slope varies along another axis than the channels")
    spread = np.where(layout.channel >= 0, slope.reshape(-1)[layout.channel], np.float32(1))
    spread = spread.astype(np.float32).reshape(-1, *[1] * (len(shape) - layout.axis - 1))
    name = to.add_constant(f"{node.name}/slope", spread)
    to.emit(_rewired(node, to, {1: name}))
    return layout


def spatial(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Pooling over the axes behind the channels."""
    layout = _only(layouts)
    if layout.axis != 1:
        raise RefusalError("the channels are not on axis 1")
    if len([name for name in node.outputs if name]) > 1:
        raise RefusalError("its indices are read")
    pads = any(node.attributes.get("pads") or ()) or "SAME" in str(
        node.attributes.get("auto_pad", "")
    )
    to.emit(_rewired(node, to))
    if node.op == "AveragePool" and pads and node.attributes.get("count_include_pad", 0):
        # averaged with the padding's zeros, a constant is none at the border
        return replace(layout, channel=np.where(layout.channel == CONSTANT, -2, layout.channel))
    return layout


def reduce(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Reduction over other axes than the batch's and the channels'."""
    layout = _only(layouts)
    shape = to.shape(node.inputs[0])
    axes = node.attributes.get("axes")
    if axes is None and len(node.inputs) > 1 and node.inputs[1]:
        value = to.constant(node.inputs[1])
        axes = None if value is None else value.tolist()
    if shape is None or axes is None:
        raise RefusalError("its axes are not constant, or it reduces over all")
    places = sorted(axis % len(shape) for axis in axes)
    if layout.axis in places or 0 in places:
        raise RefusalError("it reduces over the channels or the batch")
    to.emit(_rewired(node, to))
    if node.attributes.get("keepdims", 1):
        return layout
    return replace(layout, axis=layout.axis - sum(axis < layout.axis for axis in places))


# merging --------------------------------------------------------------------------------------


def merge(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """A function of several tensors, position by position: same physical order on all."""
    data = _activations(node, to)
    if len(data) == 1:
        if any(
            (value := to.constant(name)) is None or value.size != 1
            for i, name in enumerate(node.inputs)
            if i != data[0]
        ):
            raise RefusalError("a constant of it has more than one element")
        layout = layouts[data[0]]
        assert layout is not None
        to.emit(_rewired(node, to))
        return layout
    shapes = [to.shape(node.inputs[i]) for i in data]
    reference = next(layout for layout in layouts if layout is not None)
    for shape, i in zip(shapes, data, strict=True):
        layout = layouts[i]
        if shape is None or len(shape) != len(shapes[0] or ()):
            raise RefusalError("its inputs differ in rank")
        if shape[reference.axis] != reference.size:
            raise RefusalError("it broadcasts over the channels")
        if layout is not None and layout.axis != reference.axis:
            raise RefusalError("its inputs have their channels on different axes")
    wanted = common(node, [layouts[i] for i in data], reference, to)
    inputs = {
        i: aligned(node.inputs[i], layouts[i], wanted, f"{node.name}/order{i}", to) for i in data
    }
    to.emit(_rewired(node, to, inputs))
    return wanted


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
        to.emit(_rewired(node, to, inputs))
        return wanted
    many = to.copies_wanted(node.outputs[0])
    counts = [1 if layout is None else layout.copies for layout in layouts]
    copies = max(counts) if many else min(counts)
    parts: list[Layout] = []
    inputs = {}
    offset = constants = 0
    for i, name in enumerate(node.inputs):
        size = (to.shape(name) or ())[axis]
        if not isinstance(size, int):
            raise RefusalError(f"the number of channels of '{name}' is unknown")
        layout = layouts[i] if layouts[i] is not None else plain(size, axis)
        assert layout is not None
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
    to.emit(_rewired(node, to, inputs))
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
        axis, size, np.arange(size, dtype=np.int32), np.zeros(size, np.int32),
        np.zeros(size, np.int32),
    )  # fmt: skip


# layout ---------------------------------------------------------------------------------------


def flatten(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Flatten, and Reshape where it keeps the batch and the channels' place.

    [N, C, *S] becomes [N, C·S], or the other axes change while the channels stay whole on axis 1.
    """
    layout = _only(layouts)
    before, after = to.shape(node.inputs[0]), to.shape(node.outputs[0])
    if before is None or after is None or layout.axis != 1 or len(after) < 2:
        raise RefusalError("its shapes are unknown or the channels are not on axis 1")
    if isinstance(before[0], int) and isinstance(after[0], int) and before[0] != after[0]:
        raise RefusalError("it moves the batch axis")
    if node.op == "Reshape":
        goal = to.constant(node.inputs[1])
        if goal is None:
            raise RefusalError("its shape is computed")
        if before[0] != after[0] and not (len(goal) == 2 and goal[0] == -1):
            raise RefusalError("it moves the batch axis")
    factor = 1
    if after[1] != layout.size:
        rest = before[2:]
        if len(after) != 2 or not all(isinstance(d, int) for d in rest):
            raise RefusalError("it splits or merges the channels")
        factor = int(np.prod([d for d in rest if isinstance(d, int)], initial=1))
        if after[1] not in (layout.size * factor, None) and not isinstance(after[1], str):
            raise RefusalError("it splits or merges the channels")
    elif any(not isinstance(d, int) for d in after[2:]):
        raise RefusalError("its shape is not constant")
    spread = layout.spread(factor, axis=1) if factor > 1 else layout
    if node.op == "Flatten":
        to.emit(_rewired(node, to))
    else:
        first = after[0] if isinstance(after[0], int) else -1
        tail = [int(d) for d in after[2:] if isinstance(d, int)]
        shape = to.add_constant(
            f"{node.name}/shape", np.array([first, spread.width, *tail], np.int64)
        )
        to.emit(_rewired(node, to, {1: shape}))
    return spread


def transpose(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Transpose: the channels move to another axis."""
    layout = _only(layouts)
    shape = to.shape(node.inputs[0])
    if shape is None:
        raise RefusalError("its rank is unknown")
    order = list(node.attributes.get("perm") or reversed(range(len(shape))))
    to.emit(_rewired(node, to))
    return replace(layout, axis=order.index(layout.axis))


def slice_(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Slice: unchanged along other axes; along the channels, those outside are left behind."""
    layout = _only(layouts)
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
        to.emit(_rewired(node, to))
        return layout
    if len(axes) > 1:
        raise RefusalError("it cuts the channels and another axis at once")
    kept = np.arange(layout.size)[slice(starts[0], ends[0], steps[0])]
    number = np.full(layout.size, -1)
    number[kept] = np.arange(len(kept))
    inside = (layout.channel < 0) | (number[np.maximum(layout.channel, 0)] >= 0)
    places = np.flatnonzero(inside)
    taken = layout.take(places)
    gathered = to.gather(to.place(node.inputs[0]), places, layout.axis, f"{node.name}/channels")
    to.emit(Node("Identity", node.name, (gathered,), (to.place(node.outputs[0]),)))
    channel = np.where(taken.channel >= 0, number[np.maximum(taken.channel, 0)], taken.channel)
    return replace(taken, size=len(kept), channel=channel.astype(np.int32))


def pad(node: Node, layouts: Sequence[Layout | None], to: Emitter) -> Layout:
    """Pad: zeros around the other axes; along the channels only the layout changes.

    Constants lose their constancy where zeros are padded beside them, and are dropped.
    """
    layout = _only(layouts)
    shape = to.shape(node.inputs[0])
    if node.attributes.get("mode", "constant") != "constant":
        raise RefusalError("it does not pad with zeros")
    if "pads" in node.attributes:
        pads = list(node.attributes["pads"])
        value = node.attributes.get("value", 0.0)
    else:
        given = to.constant(node.inputs[1])
        fill = to.constant(node.inputs[2]) if len(node.inputs) > 2 and node.inputs[2] else None
        if given is None or (len(node.inputs) > 2 and node.inputs[2] and fill is None):
            raise RefusalError("its pads are computed")
        if len(node.inputs) > 3 and node.inputs[3]:
            raise RefusalError("it names its axes")
        pads = given.tolist()
        value = float(fill.reshape(-1)[0]) if fill is not None else 0.0
    if shape is None or value != 0:
        raise RefusalError("it does not pad with zeros, or its rank is unknown")
    rank, axis = len(shape), layout.axis
    before, after = pads[axis], pads[axis + rank]
    if before < 0 or after < 0:
        raise RefusalError("it cuts channels by negative pads")
    others = list(pads)
    others[axis] = others[axis + rank] = 0
    if "pads" in node.attributes:
        to.emit(_rewired(replace(node, attributes={**node.attributes, "pads": others}), to))
    else:
        name = to.add_constant(f"{node.name}/pads", np.array(others, np.int64))
        to.emit(_rewired(node, to, {1: name}))
    channel = np.where(layout.channel >= 0, layout.channel + before, layout.channel)
    if any(others):
        channel = np.where(channel == CONSTANT, -2, channel)
    return replace(layout, size=layout.size + before + after, channel=channel.astype(np.int32))


ELEMENTWISE = (
    "Relu", "LeakyRelu", "Tanh", "Sigmoid", "Clip", "Elu", "Selu", "Celu", "Gelu", "HardSigmoid",
    "HardSwish", "Mish", "Softplus", "Softsign", "ThresholdedRelu", "Identity", "Dropout", "Abs",
    "Neg", "Sqrt", "Exp", "Erf", "Floor", "Ceil", "Cast",
)  # fmt: skip
MERGING = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum")
POOLING = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "GlobalLpPool")

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, elementwise),
    **dict.fromkeys(MERGING, merge),
    **dict.fromkeys(POOLING, spatial),
    **dict.fromkeys(("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum"), reduce),
    "PRelu": prelu,
    "Concat": concat,
    "Flatten": flatten,
    "Reshape": flatten,
    "Transpose": transpose,
    "Slice": slice_,
    "Pad": pad,
}

# Functions that can serve as φ in a two-for-one block: elementwise, parameters apart.
ACTIVATIONS = frozenset(ELEMENTWISE) - {"Identity", "Dropout", "Abs", "Neg", "Sqrt", "Exp", "Erf",
                                        "Floor", "Ceil", "Cast"}  # fmt: skip

_ALWAYS = {"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Abs", "Exp", "Sqrt"}
_IF_ALL = {
    "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "Flatten", "Reshape",
    "Transpose", "Slice", "Pad", "Concat", "Add", "Sum", "Mul", "Max", "Min", "Identity",
    "Dropout", "Squeeze", "Unsqueeze", "Gather", "Split", "DepthToSpace", "SpaceToDepth",
    "ReduceMean", "ReduceSum", "ReduceMax", "Expand", "Tile", "LeakyRelu", "PRelu", "Elu",
}  # fmt: skip


def never_negative(node: Node, known: Mapping[str, bool], constants: Mapping[str, Array]) -> bool:
    """Sign knowledge: whether the output of `node` is ≥ 0 for every input of the network."""
    if node.op in _ALWAYS:
        return True
    if node.op == "Clip":
        low = node.attributes.get("min")
        if low is None and len(node.inputs) > 1 and node.inputs[1] in constants:
            low = constants[node.inputs[1]].reshape(-1)[0]
        if low is not None and low >= 0:
            return True
    if node.op in _IF_ALL or node.op == "Clip":
        data = [name for name in node.inputs if name]
        if node.op in ("Reshape", "Slice", "Squeeze", "Unsqueeze", "Gather", "Split", "Expand",
                       "Tile", "ReduceMean", "ReduceSum", "ReduceMax", "Clip",
                       "PRelu"):  # fmt: skip
            data = data[:1]
        if node.op == "Pad" and node.attributes.get("mode", "constant") == "constant":
            fill = node.attributes.get("value", 0.0)
            if len(node.inputs) > 2 and node.inputs[2]:
                value = constants.get(node.inputs[2])
                fill = -1.0 if value is None else float(value.reshape(-1)[0])
            if fill < 0:
                return False
            data = data[:1]
        return all(
            known.get(name, False) or (name in constants and bool((constants[name] >= 0).all()))
            for name in data
        )
    return False
