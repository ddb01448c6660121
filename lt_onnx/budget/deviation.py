"""How far the copies of a channel deviate from their mean, layer by layer, and what that costs.

Comes in, for every layer in order: its least error in each copy, and how much of its inputs'
deviation it hands on; of every other step the numbers that it meets, on which that is tried. Goes
out: the deviation of every tensor, and the error at the outputs that the deviation of a layer's
copies leads to.

Each row reads a few of a channel's m copies, and other rows read others. So the copies' deviation
enters the mean of the next layer's copies as 1/m of its power, and each of these copies as a whole:
the layer after that reads it again. Depthwise layers do not average it over channels.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from lt_onnx.construct.stepwise_run import StepwiseRun
from lt_onnx.target import Array, Doubles, Linear, Node

TRIED_POWER = 1e-3  # of the deviation by which a step is tried, relative
TRIED_INPUTS = 16  # that it is tried on


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
    own: Doubles  # [m]  its least error in each copy, by copies that are read
    handed: float  # relative power at its output for relative deviation of its input
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

    def add_reading(self, layer: Linear, *, own: Doubles, handed: float, copied: bool) -> Doubles:
        """A layer reads copies: the relative error power that it has at least, [m].

        `own` [m] is that of each copy alone, `handed` the relative power at its output for relative
        deviation of its input; `copied` says whether it puts out copies as well.
        """
        reading = _Reading(layer.name, layer.input, layer.output, own, handed, copied)
        self._steps.append(reading)
        return self._follow(reading, self.power)

    def _follow(
        self, step: "_Link | _Reading", power: dict[str, Doubles], opening: Collection[str] = ()
    ) -> Doubles:
        """Put the deviation of a step's output into `power`; returns a layer's floors, [m].

        Layers that are `opening` a block read no copies, and what they alone read has none.
        """
        none = np.zeros(len(self.counts))
        if isinstance(step, _Link):
            power[step.output] = sum((part * power[name] for name, part in step.inputs), none)
            return none
        if step.name in opening:
            power[step.output] = none
            return none
        readers = self.readers[step.name]
        copied = step.copied and not (readers and all(name in opening for name in readers))
        alone = step.own + step.handed * power.get(step.input, none)
        power[step.output] = alone if copied else none
        return alone / (np.array(self.counts) if copied else 1)

    def floors(self, opening: Collection[str]) -> dict[str, Doubles]:
        """The least errors [m] of the layers that read copies, where others are opening blocks."""
        power = {name: np.zeros(len(self.counts)) for name in self._outputs.values()}
        found = {step.output: self._follow(step, power, opening) for step in self._steps}
        readings = (step for step in self._steps if isinstance(step, _Reading))
        return {s.name: found[s.output] for s in readings if s.name not in opening}

    def together(self) -> list[frozenset[str]]:
        """The layers that read the same copies: what they read is copied for all, or for none."""
        by_input: dict[str, set[str]] = {}
        for step in self._steps:
            if isinstance(step, _Reading):
                by_input.setdefault(step.input, set()).add(step.name)
        return [frozenset(names) for names in by_input.values()]

    def add_node(self, step: Node, run: StepwiseRun) -> None:
        """Any other step of the target, which was `run` on values of its inputs."""
        for output in step.outputs:
            self._makers[output] = set().union(*(self._makers.get(n, ()) for n in step.inputs))
        deviating = [name for name in dict.fromkeys(step.inputs) if name in self.power]
        for output in step.outputs if deviating else ():
            if output in run.values and run.values[output][0].dtype.kind == "f":
                shares = [(name, _handed(step, run, name, output)) for name in deviating]
                self._steps.append(_Link(output, tuple(shares)))
                self._follow(self._steps[-1], self.power)

    def cost(
        self, sensitivity: Mapping[str, Doubles], copies: float
    ) -> dict[str, dict[str, Doubles]]:
        """Error power at the outputs for relative deviation of a layer's copies, by layer.

        What it comes to in all layers behind, the layer's own mean apart: by the layers that read
        its output, in each and from there on. `sensitivity` are S by layer, [outputs]; `copies` is
        m.
        """
        costs: dict[str, dict[str, Doubles]] = {}  # by tensor, by reader
        for step in reversed(self._steps):
            after = costs.get(step.output, {})
            more: list[tuple[str, str, Doubles]]
            if isinstance(step, _Link):
                more = [
                    (name, reader, share * cost)
                    for name, share in step.inputs
                    for reader, cost in after.items()
                ]
            else:
                mean = sensitivity[step.name] / (copies if step.copied else 1)
                onward = sum(after.values(), mean)
                more = [(step.input, step.name, step.handed * onward)]
            for name, reader, cost in more:
                known = costs.setdefault(name, {})
                known[reader] = known.get(reader, 0.0) + cost
        return {name: costs.get(output, {}) for name, output in self._outputs.items()}


def _handed(step: Node, run: StepwiseRun, name: str, output: str) -> float:
    """Relative power of an `output`'s deviation for that of the input `name`, as it is tried.

    Channels deviate by what other channels are: that is as smooth as the copies' deviation, whose
    rows are wrong about all that they read.
    """
    if run.values[name][0].ndim < 2:
        return 1.0
    first = run.values[name][0]
    few = run.values[name][: -(-TRIED_INPUTS // max(len(first), 1))]
    # inputs may lie on axis 1, and the last batch have fewer
    alike = [i for i, batch in enumerate(few) if batch.shape[1] == first.shape[1]]
    given = {n: [run.values[n][i] for i in alike] for n in step.inputs if n in run.values}
    deviation = _deviation(given[name])
    off = [x + d for x, d in zip(given[name], deviation, strict=True)]
    made = run.made([step], {}, output=output, values={**given, name: off})
    clean = [run.values[output][i] for i in alike]
    pairs = list(zip(clean, made, strict=True))
    if any(x.shape != y.shape for x, y in pairs):  # as many entries as its values say
        return 1.0
    with np.errstate(invalid="ignore"):  # of infinite numbers
        change = [y - x for x, y in pairs]
    brought = _power(deviation) / max(_variation(given[name]), 1e-300)
    return _power(change) / max(_variation(clean), 1e-300) / brought if brought > 0 else 1.0


def _deviation(batches: Sequence[Array]) -> list[Array]:
    """A deviation of TRIED_POWER in every channel (axis 1): what stands in another one."""
    axes = (0, *range(2, batches[0].ndim))
    count = sum(batch.size // max(batch.shape[1], 1) for batch in batches)
    mean = sum(batch.sum(axes, keepdims=True, dtype=np.float64) for batch in batches) / count
    power = sum(np.square(batch - mean).sum(axes, keepdims=True) for batch in batches) / count
    size = np.sqrt(power)
    order = np.random.default_rng(0).permutation(size.shape[1])
    with np.errstate(invalid="ignore", divide="ignore"):
        unit = [np.nan_to_num((batch - mean) / size, posinf=0, neginf=0) for batch in batches]
    factor = np.nan_to_num(size) * TRIED_POWER**0.5
    return [(factor * v[:, order]).astype(batches[0].dtype) for v in unit]


def _power(batches: Sequence[Array]) -> float:
    """Σ value² over the finite numbers of a tensor, by batch."""
    return float(sum(np.square(b[np.isfinite(b)], dtype=np.float64).sum() for b in batches))


def _variation(batches: Sequence[Array]) -> float:
    """Σ (value − mean)² over the finite numbers of a tensor, by batch; 0 of what is no number.

    The mean is that of each channel (axis 1), as for layers: what they hand on is relative to it.
    """
    if batches[0].dtype.kind not in "fiub":
        return 0.0
    axes = (0, *range(2, batches[0].ndim)) if batches[0].ndim > 1 else None
    known = [np.where(np.isfinite(batch), batch, np.nan) for batch in batches]
    count = sum(np.isfinite(v).sum(axes, keepdims=True) for v in known)
    total = sum(np.nansum(v, axes, keepdims=True, dtype=np.float64) for v in known)
    mean = total / np.maximum(count, 1)
    return float(sum(np.nansum(np.square(v - mean)) for v in known))
