"""The target with the means of a ticket's layers in place of its own, channel by channel scaled.

In: a Target, and what each layer comes to in the mean of its copies. Out: a program in torch, by
whose factors a gradient can be taken: as large as the target, where the ticket is m² times that.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from lt_onnx.construct.fed_target import Layer, bent_nodes
from lt_onnx.deployment.in_torch.operators import OPERATORS
from lt_onnx.errors import UnsupportedError
from lt_onnx.target import Array, Linear, Node, Target, step_nodes


class ScaledTarget:
    """Runs a target whose layers are replaced by `means`; see `run`.

    A factor is one output channel's, or with `by_layer` a whole layer's; those of layer `name` are
    at `places[name]` of `count`. Raises UnsupportedError for an operator that torch lacks here.
    """

    def __init__(
        self,
        target: Target,
        means: Mapping[str, Layer],
        *,
        outputs: Sequence[str],
        by_layer: bool = False,
    ) -> None:
        self.places: dict[str, slice] = {}
        self.count = 0
        self._outputs, self._opset = outputs, target.opset
        self._steps: list[tuple[Linear | None, list[Node]]] = []
        self._layers: dict[str, dict[str, Tensor]] = {}
        constants: dict[str, Array] = dict(target.constants)
        for step in target.steps:
            nodes, own = step_nodes(step)
            linear = step if isinstance(step, Linear) else None
            if linear is not None:
                layer = means[linear.name]
                width = 1 if by_layer else len(layer.bias)
                self.places[linear.name] = slice(self.count, self.count + width)
                self.count += width
                held = {"w": layer.weight, "b": layer.bias}
                if layer.bent is not None:
                    nodes, held["v"] = bent_nodes(linear, nodes), layer.bent
                    constants[f"{linear.name}/0"] = np.zeros_like(layer.bias)
                self._layers[linear.name] = {k: torch.tensor(v) for k, v in held.items()}
            else:
                constants |= own
            self._check(target, nodes)
            self._steps.append((linear, nodes))
        read = {name for _, nodes in self._steps for node in nodes for name in node.inputs}
        self._constants = {
            name: torch.tensor(value) for name, value in constants.items() if name in read
        }

    def run(self, feed: Mapping[str, Array], factors: Tensor) -> list[Tensor]:
        """The outputs for one batch, every layer's channels times their `factors` [count]."""
        values: dict[str, Tensor] = dict(self._constants)
        values |= {name: torch.from_numpy(np.ascontiguousarray(v)) for name, v in feed.items()}
        for linear, nodes in self._steps:
            if linear is not None:
                values |= self._scaled(linear, factors[self.places[linear.name]])
            for node in nodes:
                given = [values[name] if name else None for name in node.inputs]
                results = OPERATORS[node.op](node, given, self._opset)  # type: ignore[arg-type]
                made = (results,) if isinstance(results, Tensor) else results
                values.update(zip(node.outputs, made, strict=False))
        return [values[name] for name in self._outputs]

    def _scaled(self, linear: Linear, factors: Tensor) -> dict[str, Tensor]:
        """A layer's parameters by the names that its nodes read."""
        named = {}
        for key, value in self._layers[linear.name].items():
            scaled = value * factors.reshape(-1, *[1] * (value.ndim - 1))
            transposed = key != "b" and linear.op == "MatMul"
            named[f"{linear.name}/{key}"] = scaled.T if transposed else scaled
        return named

    def _check(self, target: Target, nodes: Sequence[Node]) -> None:
        """Raises UnsupportedError for a node without a rule."""
        for node in nodes:
            if node.domain or node.op not in OPERATORS:
                raise UnsupportedError(
                    f"{target.path}: {node.title} has no counterpart in torch here: leave out "
                    "`fit_scales`"
                )
