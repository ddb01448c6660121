"""What a rule is, what it may ask for, and what rules share.

A rule takes a node and the layouts of its inputs. It emits the node, with the ticket's tensors, and
returns the layout of its output, or one for each output; or it refuses, and says why.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from lt_onnx.layout import Layout
from lt_onnx.target import Array, Node, Shape, Target


class RefusalError(Exception):
    """A rule cannot keep the layout; the message says why."""


class UndecidedError(RefusalError):
    """Index arithmetic that may come out even with the nodes that follow (a channel shuffle)."""


class Emitter(Protocol):
    """What a rule may ask of the plan in the making."""

    target: Target

    def shape(self, tensor: str) -> Shape | None:
        """Shape of a tensor, as in the target."""

    def place(self, tensor: str) -> str:
        """Name of the ticket's tensor that holds this target tensor (with its layout, if any)."""

    def unused(self, name: str) -> str:
        """`name`, numbered if it is taken; from now on it is."""

    def add_constant(self, name: str, value: Array) -> str:
        """Add a structural constant; returns the name it got."""

    def parameter(self, node: Node, name: str, value: Array) -> str:
        """Add float parameters of the target that stay dense; returns the name they got."""

    def emit(self, node: Node) -> None:
        """Append a node to the ticket."""

    def gather(self, tensor: str, places: Array, axis: int, name: str) -> str:
        """Append a Gather of physical channels; place -1 stands for a channel of zeros.

        Raises RefusalError for many of a tensor that follows from shapes alone.
        """

    def collapsed(self, tensor: str) -> str:
        """Name of the ticket's tensor that holds this one as the target has it."""

    def copies_wanted(self, tensor: str) -> bool:
        """Whether a later layer reads more than one copy of this target tensor."""


Rule = Callable[[Node, Sequence[Layout | None], Emitter], Layout | list[Layout]]


def rewired(node: Node, to: Emitter, inputs: Mapping[int, str] | None = None) -> Node:
    """`node` with the ticket's tensors; `inputs` are others by their position."""
    names = [to.place(name) if name else name for name in (*node.inputs, *node.outputs)]
    for position, name in (inputs or {}).items():
        names[position] = name
    count = len(node.inputs)
    return replace(node, inputs=tuple(names[:count]), outputs=tuple(names[count:]))


def only(layouts: Sequence[Layout | None]) -> Layout:
    """The layout of the first input, which must be the only one that has any."""
    first, *others = layouts
    if first is None or any(other is not None for other in others):
        raise RefusalError("an input other than the data depends on the network's input")
    return first


def shape_of(node: Node, to: Emitter) -> Shape:
    """Shape of the first input. Raises RefusalError where it is unknown."""
    shape = to.shape(node.inputs[0])
    if shape is None:
        raise RefusalError("its rank is unknown")
    return shape


def numbers_of(node: Node, key: str, position: int, to: Emitter, what: str = "") -> Any:
    """Numbers that a node is given, as an attribute or as a constant input; None where it is not.

    Raises RefusalError where they are computed: "its `what` are computed".
    """
    if key in node.attributes:
        return np.ravel(node.attributes[key]).tolist()
    name = node.inputs[position] if len(node.inputs) > position else ""
    if name and name not in to.target.constants:
        raise RefusalError(f"its {what or key + ' are'} computed")
    return to.target.constants[name].reshape(-1).tolist() if name else None


def repeated(value: Array, layout: Layout, *, rank: int, rest: float) -> Array | None:
    """`value`, which broadcasts over a tensor of `rank`, repeated for the copies of each channel.

    Constant and unused channels get `rest`. A value that is one number along the channels stays as
    it is; None where it does not fit.
    """
    full = value.reshape((1,) * (rank - value.ndim) + value.shape) if value.ndim <= rank else value
    if full.ndim != rank or full.shape[layout.axis] not in (1, layout.size):
        return None
    if full.shape[layout.axis] == 1:
        return value
    taken = np.take(full, np.maximum(layout.channel, 0), layout.axis)
    shape = [1] * rank
    shape[layout.axis] = layout.width
    data = (layout.channel >= 0).reshape(shape)
    return np.where(data, taken, np.float32(rest)).astype(np.float32)


def repeated_tensor(node: Node, position: int, layout: Layout, to: Emitter) -> str:
    """An input that is the same whatever the network is given, repeated for copies as `repeated`.

    What stands for constants and unused channels is that of the first channel. Returns the ticket's
    tensor; raises RefusalError where the input does not fit.
    """
    name = node.inputs[position]
    shape, rank = to.shape(name), len(shape_of(node, to))
    size = shape[layout.axis] if shape is not None and len(shape) == rank else None
    if size not in (1, layout.size):
        raise RefusalError("it does not vary along the channels")
    if size == 1:
        return to.place(name)
    places = np.maximum(layout.channel, 0)
    return to.gather(to.place(name), places, layout.axis, f"{node.name}/{position}/copies")
