"""Fill a Blueprint with masks: the construction of Algorithms 1 and 2.

Comes in: a Blueprint and calibration inputs. Goes out, layer by layer: masked rows, then scales.
Nothing is written here and nothing is read but the target.

Target and ticket run side by side over the calibration inputs, one step at a time, so that every
layer is built against the inputs that the ticket really delivers: the noise of each copy, the value
of each constant, the mean that each row still misses.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np

from lt_onnx.blueprint import Blueprint, Build, Expand, Run
from lt_onnx.construct.constants import Response
from lt_onnx.construct.layer import Layer
from lt_onnx.construct.results import BuiltLayer, MaskedRows, SavedLayer
from lt_onnx.construct.stepwise_run import StepwiseRun
from lt_onnx.construct.univariate import expand
from lt_onnx.errors import InputError
from lt_onnx.ops.activations import Activation
from lt_onnx.options import Init
from lt_onnx.planning.allocation import prices
from lt_onnx.samples.samples import Samples
from lt_onnx.stopwatch import Stopwatch
from lt_onnx.subset_sum import Device, RangeError
from lt_onnx.target import Array, Floats, Linear, Node, linear_nodes


def construct(
    blueprint: Blueprint,
    calibration: Samples,
    *,
    device: Device = Device.CPU,
    watch: Stopwatch | None = None,
    saved: Mapping[str, SavedLayer] | None = None,
    batch: int = 64,
) -> Iterator[MaskedRows | BuiltLayer]:
    """Build every source layer of `blueprint`, in order: its rows, in order, then what is left.

    All is built in a source of σ = 1; the σ of the initialisation is put in at the end, so that
    masks do not depend on it. `watch` is told where the time goes; layers that are `saved`, by
    name, are only run again. Raises InputError when the target cannot be run on the calibration
    inputs.
    """
    init = blueprint.options.init
    feeds = calibration.batches(blueprint.target.inputs, batch)
    worker = _Construction(blueprint, feeds, device, watch or Stopwatch(), saved or {})
    for piece in worker.pieces():
        yield piece if init is Init.UNIT else piece.scaled(piece.step.source.sigma(init))


@dataclass
class _Construction:
    blueprint: Blueprint
    feeds: list[dict[str, Array]]
    device: Device
    watch: Stopwatch
    saved: Mapping[str, SavedLayer]
    gains: dict[str, Floats] = field(default_factory=dict)  # per Expand: gain of every slot

    def __post_init__(self) -> None:
        target = self.blueprint.target
        inputs = {p.name: [feed[p.name] for feed in self.feeds] for p in target.inputs}
        read = [name for step in target.steps for name in step.inputs]
        self.target = StepwiseRun(dict(inputs), _counts(read), target.opsets, target.constants)
        read = [name for s in self.blueprint.steps for node in s.nodes for name in node.inputs]
        self.ticket = StepwiseRun(
            dict(inputs), _counts(read), target.opsets, self.blueprint.constants
        )
        self.position = 0
        self.responses: dict[object, Response] = {}
        self.prices = prices(self.blueprint)

    def pieces(self) -> Iterator[MaskedRows | BuiltLayer]:
        """Step by step, what the random layers among them come to."""
        for step in self.blueprint.steps:
            if isinstance(step, Run):
                self.run(step.node)
            elif isinstance(step, Expand):
                yield from self.expand(step)
            else:
                yield from self.build(step)
            self.forget(step)

    def run(self, node: Node) -> None:
        """A node of the ticket that holds no random weight."""
        with self.watch("run"):
            self.ticket.run([node], {}, node.outputs[0])

    def truth(self, linear: Linear) -> list[Array]:
        """The target's own output of `linear`, on every batch."""
        steps = self.blueprint.target.steps
        with self.watch("run"):
            while linear.output not in self.target.values:
                step = steps[self.position]
                if isinstance(step, Linear):
                    nodes, extra = linear_nodes(step)
                    self.target.run(nodes, extra, step.output)
                else:
                    self.target.run([step], {}, step.outputs[0])
                self.target.drop([name for name in step.inputs if name])
                self.position += 1
        return self.target.values[linear.output]

    def forget(self, step: Run | Expand | Build) -> None:
        """Free the tensors of the ticket that `step` was the last to read."""
        self.ticket.drop([name for node in step.nodes for name in node.inputs if name])

    def response(self, activation: Activation | None) -> Response:
        """What the activation that constants meet next makes of them."""
        kind = None if activation is None else activation.kind(self.blueprint.target)
        if kind not in self.responses:
            self.responses[kind] = Response.of(activation, self.blueprint.target)
        return self.responses[kind]

    def expand(self, step: Expand) -> Iterator[MaskedRows | BuiltLayer]:
        """Prune a layer to neurons that listen to one channel each, and set their scales."""
        x = self.ticket.values[step.input]
        response = self.response(self.blueprint.activation)
        with self.watch("univariate layers"):
            rows, built, self.gains[step.name] = expand(step, self.blueprint.options, x, response)
        source = step.source
        weight = rows.weight.reshape(source.shape)
        extra = {source.name: np.ascontiguousarray(weight.T) if source.transposed else weight}
        if built.bias is not None:
            extra[f"{source.name}/bias"] = built.bias
        with self.watch("run"):
            self.ticket.run(step.nodes, {**extra, **built.tensors}, step.output)
        yield rows
        yield built

    def build(self, step: Build) -> Iterator[MaskedRows | BuiltLayer]:
        """Choose the masks of one layer, row by row, then its biases and constants."""
        y = self.truth(step.linear)
        layer = Layer(
            step,
            self.blueprint.options,
            self.device,
            self.ticket.values[step.input],
            y,
            self.gains,
            self.response(step.follows),
            self.prices[step.name],
            self.blueprint.target.opsets,
            self.watch,
            self.saved.get(step.name),
        )
        try:
            yield from layer.pieces()
        except RangeError:
            raise InputError(
                f"layer '{step.name}': its weights, or what comes to them, are too large for "
                "float32; scale the network down"
            ) from None
        sums = step.nodes[0].outputs[0]
        self.ticket.values[sums] = layer.sums
        with self.watch("run"):
            out = self.ticket.run(step.nodes[1:], layer.scales(), step.output)
        self.ticket.values.pop(sums)
        yield layer.built(out)


def _counts(names: Iterable[str]) -> dict[str, int]:
    """How often each tensor is read."""
    counts: dict[str, int] = {}
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts
