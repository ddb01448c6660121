"""How far the copies of a channel deviate from their mean, layer by layer, and what that costs.

Comes in, for every layer in order: its least error in each copy, and how much of its inputs'
deviation it hands on. Goes out: the deviation of every tensor, and the error at the outputs that
the deviation of a layer's copies leads to.

Each row reads a few of a channel's m copies, and other rows read others. So the copies' deviation
enters the mean of the next layer's copies as 1/m of its power, and each of these copies as a whole:
the layer after that reads it again. Depthwise layers do not average it over channels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lt_onnx.target import Array, Doubles, Linear, Node

# operators whose output's relative deviation is the sum of their inputs', not a mean of them
PRODUCTS = frozenset("Mul Div MatMul Gemm Pow".split())
SUMS = frozenset("Add Sum Sub".split())


@dataclass(frozen=True)
class _Link:
    """A step that hands deviation on: output = Σ share · input, in relative powers."""

    output: str
    inputs: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class _Reading:
    """A layer that reads copies."""

    name: str
    input: str
    output: str
    handed: Doubles  # [m]  what comes of its inputs' deviation, relative, by copies that are read
    copied: bool  # whether it puts out copies as well


@dataclass
class Deviations:
    """Relative power of the copies' deviation, by tensor, for some numbers m of copies."""

    counts: Sequence[int]  # m
    power: dict[str, Doubles] = field(default_factory=dict)  # [m], by tensor
    readers: dict[str, list[str]] = field(default_factory=dict)  # by layer: who reads its output
    _steps: list[_Link | _Reading] = field(default_factory=list)
    _outputs: dict[str, str] = field(default_factory=dict)  # of layers
    _makers: dict[str, set[str]] = field(default_factory=dict)  # layers before a tensor

    def of(self, tensor: str) -> Doubles:
        """That of a tensor, [m]."""
        return self.power.get(tensor, np.zeros(len(self.counts)))

    def add_layer(self, layer: Linear) -> None:
        """A layer of the target."""
        for maker in self._makers.get(layer.input, ()):
            self.readers[maker].append(layer.name)
        self.readers[layer.name] = []
        self._makers[layer.output], self._outputs[layer.name] = {layer.name}, layer.output
        self.power[layer.output] = np.zeros(len(self.counts))

    def add_reading(self, layer: Linear, *, own: Doubles, handed: Doubles, copied: bool) -> Doubles:
        """A layer reads copies: the relative error power that it has at least, [m].

        `own` [m] is that of each copy alone, `handed` [m] the relative power at its output for
        relative deviation of its input; `copied` says whether it puts out copies as well.
        """
        alone = own + handed * self.of(layer.input)
        self._steps.append(_Reading(layer.name, layer.input, layer.output, handed, copied))
        if copied:
            self.power[layer.output] = alone
        return alone / (np.array(self.counts) if copied else 1)

    def add_node(self, step: Node, values: Mapping[str, Sequence[Array]]) -> None:
        """Any other step of the target; `values` are tensors by batch, its own among them."""
        for output in step.outputs:
            self._makers[output] = set().union(*(self._makers.get(n, ()) for n in step.inputs))
        known = [name for name in dict.fromkeys(step.inputs) if name in self.power]
        if not known or step.outputs[0] not in values:
            return
        varying = [name for name in dict.fromkeys(step.inputs) if name in values]
        shares = dict.fromkeys(known, 1.0)
        if len(varying) > 1 and step.op not in PRODUCTS:
            powers = {name: _variation(values[name]) for name in varying}
            whole = sum(powers.values())
            if step.op in SUMS:
                whole = _variation(values[step.outputs[0]])
            shares = {name: powers[name] / max(whole, 1e-300) for name in known}
        for output in step.outputs:
            self.power[output] = sum(
                (share * self.power[name] for name, share in shares.items()),
                np.zeros(len(self.counts)),
            )
            self._steps.append(_Link(output, tuple(shares.items())))

    def cost(self, sensitivity: Mapping[str, Doubles], copies: float) -> dict[str, Doubles]:
        """Error power at the outputs for relative deviation of a layer's copies, by layer.

        What it comes to in all layers behind, the layer's own mean apart. `sensitivity` are S by
        layer, [outputs]; `copies` is m.
        """
        costs: dict[str, Doubles] = {}  # by tensor
        nothing = np.zeros_like(next(iter(sensitivity.values())))
        for step in reversed(self._steps):
            after = costs.get(step.output, nothing)
            if isinstance(step, _Link):
                more = {name: share * after for name, share in step.inputs}
            else:
                handed = float(np.interp(copies, self.counts, step.handed))
                mean = sensitivity[step.name] / (copies if step.copied else 1)
                more = {step.input: handed * (mean + after)}
            for name, cost in more.items():
                costs[name] = costs.get(name, nothing) + cost
        return {name: costs.get(output, nothing) for name, output in self._outputs.items()}


def _variation(batches: Sequence[Array]) -> float:
    """Σ (value − mean)² over the batches of a tensor."""
    values = np.concatenate([np.asarray(batch, np.float64).reshape(-1) for batch in batches])
    return float(np.square(values - values.mean()).sum())
