"""What a node says: attributes, optional inputs, and what is refused."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from torch import Tensor

from lt_onnx.errors import UnsupportedError
from lt_onnx.target import Node

Inputs: TypeAlias = Sequence[Tensor]  # one that may be omitted is asked for by `optional`
Operator: TypeAlias = Callable[[Node, Inputs, int], Tensor | tuple[Tensor, ...]]


def refused(node: Node, what: str) -> UnsupportedError:
    """What to raise for a node in a form that has no rule."""
    return UnsupportedError(f"{node.title}: {what} has no counterpart in torch here")


def attribute(node: Node, name: str, default: Any = None) -> Any:
    """An attribute."""
    return node.attributes.get(name, default)


def optional(inputs: Inputs, place: int) -> Tensor | None:
    """An input that may be missing."""
    return inputs[place] if place < len(inputs) else None


def numbers(node: Node, inputs: Inputs, name: str, place: int) -> list[Any] | None:
    """Numbers that are an attribute in old operator sets and an input in new ones; None: absent."""
    if name in node.attributes:
        return list(node.attributes[name])
    value = optional(inputs, place)
    return None if value is None or value.numel() == 0 else value.reshape(-1).tolist()


def axis_of(node: Node, x: Tensor, default: int) -> int:
    """The attribute `axis`, counted from the front."""
    axis = int(attribute(node, "axis", default))
    return axis + x.ndim if axis < 0 else axis
