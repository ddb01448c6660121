"""Whether an operator is affine channel by channel, y = scale · x + shift: decided here alone.

1. BatchNormalization of γ, β, μ, v and ε, channels on axis 1: scale = γ / √(v + ε),
   shift = β − μ · scale.
2. Add and Sub of a constant c: x + c has (1, c), x − c has (1, −c), c − x has (−1, c).
3. Mul and Div: x · c has (c, 0), x / c has (1 / c, 0); c / x is not affine.

In cases 2 and 3, c is one number, or one for each channel and of size 1 along every other axis.
"""

from collections.abc import Container
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lt_onnx.reading.rewriting import Network, Refusal
from lt_onnx.target import Node

AFFINE_ARITHMETIC = frozenset("Add Div Mul Sub".split())


@dataclass(frozen=True)
class Affine:
    """Scale and shift, each of as many numbers as there are channels, or of one for all."""

    scale: NDArray[np.float64]  # [C] or [1]
    shift: NDArray[np.float64]  # [C] or [1]


def affine_input(node: Node, constants: Container[str]) -> str | None:
    """The tensor x of the cases above; None for an operator that is none of them."""
    if node.domain:
        return None
    if node.op == "BatchNormalization":
        return None if node.inputs[0] in constants else node.inputs[0]
    computed = [name for name in node.inputs if name not in constants]
    if node.op not in AFFINE_ARITHMETIC or len(computed) != 1:
        return None
    return computed[0] if node.op != "Div" or computed[0] == node.inputs[0] else None


def affine_of(
    node: Node, network: Network, *, channels: int | None, axis: int, rank: int
) -> Affine | Refusal:
    """Scale and shift of a `node` that has an `affine_input`.

    That input has `rank` axes and `channels` channels (None: not known) on `axis`, counted from the
    end. Raises InputError for a variance that is not positive.
    """
    if node.op == "BatchNormalization":
        if axis != 1 - rank:
            return Refusal("its channels are on another axis than the layer's before it")
        return _normalization(node, network, channels)
    place = 0 if node.inputs[0] in network.constants else 1
    value = network.floats(node, place)
    if value is None:
        return Refusal("its constant is not of float32")
    if value.ndim > rank:
        return Refusal(f"its constant has {value.ndim} axes, what it is applied to {rank}")
    per_channel = value.ndim >= -axis and value.shape[axis] == channels == value.size
    if value.size != 1 and not per_channel:
        return Refusal(f"its constant of shape {list(value.shape)} is not one number per channel")
    c = value.reshape(-1).astype(np.float64)
    one, zero = np.ones(c.size), np.zeros(c.size)
    match node.op:
        case "Add":
            return Affine(one, c)
        case "Sub":
            return Affine(one, -c) if place == 1 else Affine(-one, c)
        case "Mul":
            return Affine(c, zero)
    return Affine(one / c, zero) if c.all() else Refusal("it divides by zero")


def _normalization(node: Node, network: Network, channels: int | None) -> Affine | Refusal:
    """Case 1."""
    values = [network.floats(node, position) for position in range(1, 5)]
    shapes = {() if value is None else value.shape for value in values}
    if len(shapes) > 1 or not all(len(shape) == 1 and shape[0] for shape in shapes):
        return Refusal("its parameters are not constants of float32, one for each channel")
    gamma, beta, mean, variance = np.array(values, np.float64)
    scale = gamma / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    shift = beta - mean * scale
    if not (np.isfinite(scale).all() and np.isfinite(shift).all()):
        raise network.error(node, "it divides by zero: its variance plus epsilon is not positive")
    if channels not in (None, len(scale)):
        return Refusal(f"it is of {len(scale)} channels, what it is applied to of {channels}")
    return Affine(scale, shift)
