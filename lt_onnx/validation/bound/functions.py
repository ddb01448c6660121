"""Activations φ as a bound needs them: values in double precision, sup |φ'| and the minimum."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as nn

from lt_onnx.target import Array, Node
from lt_onnx.validation.bound.ranges import Doubles, Range, UnboundedError

MAX_OFF = 1e-6  # of a constant in float32
GRID_POINTS = 4001  # at which a function's distance from its linear model is evaluated


@dataclass(frozen=True)
class Function:
    """φ: its values `of` x, a bound `steepest` on |φ'|, and its `least` value unless it rises."""

    of: Callable[[Doubles], Doubles]
    steepest: float
    least: float | None = None
    smooth: bool = True  # computed by a series or a library, not by comparing and multiplying
    multiplied: bool = False  # by x, what a library computes, and its error

    def image(self, x: Range) -> Range:
        """The range of φ(x)."""
        ends = self.of(x.low), self.of(x.high)
        low, high = np.minimum(*ends), np.maximum(*ends)
        if self.least is not None:
            low = np.minimum(low, self.least)
        return Range(low, high, self.steepest * x.error).rounded(self.smooth)

    def remainder(self, up: float, down: float, offset: float, reach: Doubles) -> Doubles:
        """sup of |φ(t) − offset − slope·t| over |t| ≤ `reach`, entry by entry.

        The slope is `up` where t ≥ 0 and `down` where t < 0. Raises UnboundedError where `reach` is
        infinite.
        """
        if not np.isfinite(reach).all():
            raise UnboundedError("the inputs of a univariate layer are not bounded")
        top = float(reach.max(initial=0.0))
        if top == 0:
            return np.zeros_like(reach)
        t = top * np.geomspace(1e-9, 1, GRID_POINTS)
        distance = np.maximum(
            np.abs(self.of(t) - offset - up * t), np.abs(self.of(-t) - offset + down * t)
        )
        # between grid points it grows no faster than the steepest slopes add up to
        gap = np.diff(t, prepend=0.0) * (self.steepest + max(abs(up), abs(down)))
        worst = np.maximum.accumulate(distance + (gap if self.smooth else 0.0))
        at = np.minimum(np.searchsorted(t, reach), GRID_POINTS - 1)
        return np.asarray(worst[at], np.float64)


def _torch(function: Callable[[Tensor], Tensor]) -> Callable[[Doubles], Doubles]:
    return lambda x: np.asarray(function(torch.from_numpy(np.ascontiguousarray(x))).numpy())


FIXED = {  # those that no attribute changes; the slopes are rounded up, the least values down
    "Relu": Function(lambda x: np.maximum(x, 0), 1.0, smooth=False),
    "Identity": Function(lambda x: x, 1.0, smooth=False),
    "Dropout": Function(lambda x: x, 1.0, smooth=False),
    "Sigmoid": Function(_torch(torch.sigmoid), 0.25),
    "Tanh": Function(_torch(torch.tanh), 1.0),
    "Softplus": Function(lambda x: np.logaddexp(0, x), 1.0),
    "Softsign": Function(lambda x: x / (1 + np.abs(x)), 1.0),
    "HardSwish": Function(_torch(nn.hardswish), 1.5, -0.375),
    "Mish": Function(_torch(nn.mish), 1.1, -0.309),
    "Erf": Function(_torch(torch.erf), 1.1284),
}


def function_of_all(nodes: Sequence[Node], constants: Mapping[str, Array]) -> Function | None:
    """The activation of one operator, or of several: x (1 + erf(x / √2)); None: no such.

    Raises UnboundedError for one that is not known.
    """
    if len(nodes) == 1:
        return function_of(nodes[0], constants)
    if [node.op for node in nodes] != ["Div", "Erf", "Add", "Mul"]:
        return None
    root, one = (
        [float(constants[name].reshape(-1)[0]) for name in node.inputs if name in constants]
        for node in (nodes[0], nodes[2])
    )
    wiring = nodes[0].inputs[1] in constants and nodes[0].inputs[0] in nodes[3].inputs
    if not wiring or len(root) != 1 or one != [1.0] or abs(root[0] - math.sqrt(2)) > MAX_OFF:
        return None
    return Function(
        _torch(lambda x: x * (1 + torch.erf(x / root[0]))), 2.26, -0.341, multiplied=True
    )


def function_of(node: Node, constants: Mapping[str, Array]) -> Function:
    """The activation `node`. Raises UnboundedError for one that is not known."""
    a: dict[str, Any] = dict(node.attributes)
    if node.op in FIXED:
        return FIXED[node.op]
    match node.op:
        case "LeakyRelu":
            alpha = _slope(a.get("alpha", 0.01), node)
            return Function(lambda x: np.where(x >= 0, x, alpha * x), max(1.0, alpha), smooth=False)
        case "Clip":
            low, high = (_limit(node, constants, i, key) for i, key in ((1, "min"), (2, "max")))
            return Function(lambda x: np.clip(x, low, high), 1.0, smooth=False)
        case "HardSigmoid":
            alpha, beta = _slope(a.get("alpha", 0.2), node), float(a.get("beta", 0.5))
            return Function(lambda x: np.clip(alpha * x + beta, 0, 1), alpha)
        case "Elu":
            alpha = _slope(a.get("alpha", 1.0), node)
            return Function(
                lambda x: np.where(x >= 0, x, alpha * np.expm1(np.minimum(x, 0))), max(1.0, alpha)
            )
        case "Celu" if (alpha := float(a.get("alpha", 1.0))) > 0:
            return Function(_torch(lambda x: nn.celu(x, alpha)), 1.0)
        case "Selu" if not a:
            return Function(_torch(nn.selu), 1.7581)
        case "Gelu" if a.get("approximate", "none") in ("none", b"none"):
            return Function(_torch(nn.gelu), 1.13, -0.171)
        case "Swish" if float(a.get("alpha", 1.0)) == 1:
            return Function(_torch(nn.silu), 1.1, -0.279)
    raise UnboundedError(f"no bound through {node.op} '{node.name}'")


def _slope(alpha: Any, node: Node) -> float:
    if alpha < 0:
        raise UnboundedError(f"no bound through {node.op} '{node.name}': its slope is negative")
    return float(alpha)


def _limit(node: Node, constants: Mapping[str, Array], i: int, key: str) -> float:
    if key in node.attributes:
        return float(node.attributes[key])
    if len(node.inputs) > i and node.inputs[i]:
        if node.inputs[i] not in constants:
            raise UnboundedError(f"no bound through {node.op} '{node.name}': its limit is computed")
        return float(constants[node.inputs[i]].reshape(-1)[0])
    return -np.inf if key == "min" else np.inf
