"""The target with other weights: what layers that are not quite right do to its outputs."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from lt_onnx.construct.parted_run import Part, PartedRun
from lt_onnx.planning.sizes import PARTS
from lt_onnx.samples.variation import Variation
from lt_onnx.target import Array, Doubles, Floats, Linear, Node, Target, step_nodes

MIN_FRESH = 16  # inputs that layers are not made from, to judge by those alone
MIN_FITTED = 16  # numbers that a gain and a mean are told from
ROUNDING = 1e-12  # of an output's power: what is below is no error of a layer
TELLING = 32  # errors of about one size, or as many as weigh so much, tell a mean
MAX_LOSS = 4.0  # of what is measured by few inputs not more is taken for true


@dataclass(frozen=True)
class Layer:
    """Weight [O, I, *K] and bias [O] in place of a layer's own.

    A ticket's layer may give positive and negative inputs weights that differ: `bent` is what it
    makes of |x| beside x.
    """

    weight: Floats
    bias: Floats
    bent: Floats | None = None  # [O, I, *K]


class FedTarget:
    """The target, run on a few inputs with some of its layers replaced.

    Errors are relative powers: of an output's error over its variation. Outputs that do not vary,
    or hold no floating-point numbers, are left out.
    """

    def __init__(
        self,
        target: Target,
        feeds: Sequence[Mapping[str, Array]],
        outputs: Sequence[str],
        *,
        bent: Collection[str] = (),
        fresh: int | None = None,
        drawn: bool = False,
    ) -> None:
        """`outputs` are the tensors that are looked at, `bent` the layers that may be.

        Of the inputs the first `fresh` are none that layers are made from; None: all. Inputs that
        are `drawn` stand in for real ones.
        """
        parts = _parts(target, bent)
        self._part = {name: i for i, part in enumerate(parts) for name in part.layers}
        self._transposed = {layer.name: layer.op == "MatMul" for layer in target.linears}
        zeros = {
            f"{one.name}/0": np.zeros_like(one.bias) for one in target.linears if one.name in bent
        }
        self._network = PartedRun(
            parts,
            feeds,
            constants={**target.constants, **zeros},
            outputs=outputs,
            opsets=target.opsets,
        )
        self._kept: Mapping[str, Layer] = {}  # the layers that were replaced in the kept run
        clean = self._run({}, keep=True)
        self._count, self._fresh = sum(len(next(iter(feed.values()))) for feed in feeds), fresh
        self._drawn = drawn
        powers = [_variation(value[self._judged(value)]) for value in clean]
        self._varying = [i for i, power in enumerate(powers) if power > 0]
        self._clean = [clean[i].astype(np.float64) for i in self._varying]
        self._power = [powers[i] for i in self._varying]
        self._whole_power = [_variation(clean[i]) for i in self._varying]
        self.outputs = tuple(outputs[i] for i in self._varying)

    def values(self, layers: Mapping[str, Layer], *, keep: bool = False) -> list[Doubles]:
        """The outputs that vary, [N, …] each, with `layers` replaced.

        With `keep` these stay as they are in later calls, which are faster for it.
        """
        values = self._run(layers, keep=keep)
        return [values[i].astype(np.float64) for i in self._varying]

    def clean(self) -> list[Doubles]:
        """The outputs as they are."""
        return self._clean

    def errors(self, layers: Mapping[str, Layer]) -> Doubles:
        """Relative error power of every output that varies, with `layers` replaced.

        Layers behind are fitted to what they really read, so that a gain and a mean of each channel
        are no error. On inputs that layers are not made from, if these are not too few; if it is
        less there than on all, that is chance, and what it is on all counts.
        """
        return self._measured(layers)[0]

    def errors_elsewhere(self, layers: Mapping[str, Layer]) -> Doubles:
        """The same on inputs of other origin, [outputs]; `layers` are kept, see `values`.

        Where inputs that layers are not made from are too few to judge by, what is lost there is
        taken to be lost from all; and where they are drawn, once more on real ones.
        """
        errors, lost = self._measured(layers, keep=True)
        return errors * (lost if self._few or self._drawn else 1.0)

    @property
    def _few(self) -> bool:
        """Whether inputs that layers are not made from are too few to judge by."""
        return self._fresh is None or self._fresh < MIN_FRESH

    @property
    def telling(self) -> int:
        """Inputs that tell of others: all, but for too few that layers are not made from."""
        return self._fresh if self._fresh is not None and self._few else self._count

    def mean_errors(
        self, draws: Iterable[Mapping[str, Layer]], *, telling: float = TELLING
    ) -> Doubles:
        """Errors as of `errors`, in the mean of `draws`, [outputs].

        No more are taken of them than it takes for that not to be the chance of a few numbers:
        until it is told by `telling` of one size, or as many as weigh so much.
        """
        squares = [np.zeros(1) for _ in self._clean]
        fourth, count = np.zeros(len(squares)), 0
        for layers in draws:
            count += 1
            for i, square in enumerate(self._squares(layers)):
                squares[i] = squares[i] + square
                fourth[i] += np.square(square).sum()
            total = np.array([square.sum() for square in squares])
            if (total**2 >= telling * fourth).all():
                break
        return np.array([self._error(i, square / count) for i, square in enumerate(squares)])

    def _squares(self, layers: Mapping[str, Layer], *, keep: bool = False) -> list[Doubles]:
        """Squares of the errors that layers behind cannot be fitted to, [N, …] of each output."""
        values = self.values(layers, keep=keep)
        pairs = (_misfit(*pair) for pair in zip(values, self._clean, strict=True))
        return [np.square(error) * fitted for error, fitted in pairs]

    def _measured(
        self, layers: Mapping[str, Layer], *, keep: bool = False
    ) -> tuple[Doubles, Doubles]:
        """Errors, and what is lost on the inputs that layers are not made from, [outputs]."""
        errors, lost = np.ones((2, len(self._varying)))
        for i, square in enumerate(self._squares(layers, keep=keep)):
            errors[i] = self._error(i, square)
            if self._fresh is not None and len(square) == self._count:
                fresh, seen = square[: self._fresh].mean(), square[self._fresh :].mean()
                lost[i] = loss(float(fresh), float(seen))
        return errors, lost

    def _error(self, i: int, square: Doubles) -> float:
        """Error power from the `square` of an output's error."""
        judged = float(square[self._judged(square)].sum()) / self._power[i]
        return max(judged, float(square.sum()) / self._whole_power[i])

    def scaled_errors(self, layers: Mapping[str, Layer]) -> list[Doubles | None]:
        """Errors as of `errors`, [N, …] of each output, of its variation's power; None for none."""
        scaled: list[Doubles | None] = []
        triples = zip(self.values(layers), self._clean, self._whole_power, strict=True)
        for value, clean, power in triples:
            error, _ = _misfit(value, clean)
            noise = float(np.square(error).sum())
            scaled.append(error * np.sqrt(power / noise) if noise > ROUNDING * power else None)
        return scaled

    def _judged(self, value: Array) -> slice:
        """The inputs by which an output is judged."""
        few = self._few or len(value) != self._count
        return slice(None if few else self._fresh)

    def _run(self, layers: Mapping[str, Layer], *, keep: bool) -> list[Array]:
        names = layers.keys() | self._kept.keys()
        changed = [name for name in names if layers.get(name) is not self._kept.get(name)]
        first = min((self._part[name] for name in changed), default=0)
        if keep:
            self._kept = dict(layers)
        weights = {
            f"{name}/{key}": np.ascontiguousarray(weight, np.float32)
            for name, layer in layers.items()
            for key, weight in self._weights(name, layer).items()
        }
        joined = zip(*self._network.run(weights, first=first, keep=keep), strict=True)
        return [_joined([np.atleast_1d(value) for value in values]) for values in joined]

    def _weights(self, name: str, layer: Layer) -> dict[str, Floats]:
        """A layer's own, as its nodes have them."""
        own = {"w": layer.weight, "b": layer.bias}
        own |= {} if layer.bent is None else {"v": layer.bent}
        if self._transposed[name]:
            own |= {key: own[key].T for key in own if key != "b"}
        return own


def _parts(target: Target, bent: Collection[str]) -> list[Part]:
    """The target's steps, PARTS with about as many layers each."""
    each = -(-len(target.linears) // PARTS)
    parts: list[Part] = []
    for step in target.steps:
        nodes, own = step_nodes(step)
        if isinstance(step, Linear) and step.name in bent:
            nodes = bent_nodes(step, nodes)
            own |= {f"{step.name}/v": np.zeros_like(own[f"{step.name}/w"])}
        if not parts or (isinstance(step, Linear) and len(parts[-1].layers) == each):
            parts.append(Part())
        parts[-1].nodes.extend(nodes)
        parts[-1].weights.update(own)
        if isinstance(step, Linear):
            parts[-1].layers.append(step.name)
    return parts


def _joined(batches: Sequence[Array]) -> Array:
    """The batches of an output as one; inputs need not lie on its first axis."""
    first = batches[0].shape
    alike = all(batch.ndim == len(first) for batch in batches)
    axes = {i for i in range(len(first)) if alike and len({b.shape[i] for b in batches}) > 1}
    if not alike or len(axes) > 1:
        return np.concatenate([batch.reshape(-1) for batch in batches])
    return np.concatenate(batches, axes.pop() if axes else 0)


def loss(fresh: float, seen: float) -> float:
    """By how much errors grow from inputs that layers are made from to others."""
    return float(np.clip(fresh / max(seen, 1e-300), 1.0, MAX_LOSS))


def _misfit(value: Doubles, clean: Doubles) -> tuple[Doubles, float]:
    """Error of an output [N, C, …] when each channel had its best gain and mean.

    And the factor by which its power is larger for what they were not fitted to.
    """
    axes = (0, *range(2, value.ndim))
    count = value.size / max(value.shape[1], 1) if value.ndim > 1 else 0
    if count < MIN_FITTED:
        axes, count = tuple(range(value.ndim)), value.size
    value, clean = (v - v.mean(axes, keepdims=True) for v in (value, clean))
    power = np.square(value).sum(axes, keepdims=True)
    gain = (value * clean).sum(axes, keepdims=True) / np.maximum(power, 1e-300)
    return gain * value - clean, count / max(count - 2, 1)  # two of so many numbers took part


def bent_nodes(linear: Linear, nodes: Sequence[Node]) -> list[Node]:
    """The nodes of a layer that also has a weight on |x|, and there no bias but a zero.

    A Gemm may not go without before operator set 11.
    """
    (product, *rest), name = nodes, linear.name
    zero = (f"{name}/0",) * (len(product.inputs) > 2)
    size, straight, more = f"{name}/|x|", f"{name}/straight", f"{name}/bent"
    return [
        Node("Abs", size, (linear.input,), (size,)),
        replace(product, outputs=(straight,)),
        replace(product, name=more, inputs=(size, f"{name}/v", *zero), outputs=(more,)),
        Node("Add", f"{name}/both", (straight, more), product.outputs),
        *rest,
    ]


def _variation(value: Array) -> float:
    """Σ (value − mean)² of an output [N, …]; 0 where it is not of finite floating-point numbers."""
    if value.dtype.kind != "f" or not np.isfinite(value).all():
        return 0.0
    variation = Variation()
    variation.add(value)
    return variation.power
