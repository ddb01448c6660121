"""Where a ticket's error enters, layer by layer, and where it is amplified.

Comes in: target, ticket, samples. Goes out: a `LayerError` per constructed layer. Both networks run
in onnxruntime with their layers' inputs and outputs exposed, a batch and a few layers at a time.
For a layer f with target input x and output y, which the ticket has as x̂ and ŷ (the mean of the
copies), with Euclidean norms over all samples and entries:

    into          ‖x̂ - x‖ / ‖x‖         error that reaches the layer
    passed_on     ‖f(x̂) - y‖ / ‖y‖      what the exact layer makes of it
    own           ‖ŷ - f(x̂)‖ / ‖f(x̂)‖   what this layer's subsets add
    out           ‖ŷ - y‖ / ‖y‖
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import numpy as np
from msgspec import Meta

from lt_onnx.blueprint import Blueprint, Build, Expand
from lt_onnx.errors import InputError
from lt_onnx.layout import Layout
from lt_onnx.manifest import Manifest
from lt_onnx.planning.plan import plan
from lt_onnx.planning.sizes import activation_count, exposed_together, traced_together
from lt_onnx.reading.lowering import read_target
from lt_onnx.reading.model_file import open_session, read_manifest
from lt_onnx.runtime import Program
from lt_onnx.samples.samples import Samples, fixed_batch
from lt_onnx.target import Array, Linear, Target, linear_nodes
from lt_onnx.validation.fidelity import Check, relative_error, sqnr_of


@dataclass(frozen=True)
class LayerError:
    """Relative errors of a layer over all samples; null: cannot be told apart."""

    name: str
    tensor: Annotated[str, Meta(description="the target's output of the layer")]
    out: float
    into: float | None
    passed_on: float | None
    own: float | None
    sqnr_db: Annotated[float, Meta(description="of all layers up to this one")]
    own_sqnr_db: Annotated[float | None, Meta(description="of this layer's subsets alone")]
    amplification: Annotated[float | None, Meta(description="passed_on / into")]


def trace(
    target: Path, ticket: Path, samples: Samples, *, progress: Callable[[float], None] | None = None
) -> list[LayerError]:
    """The error of every layer of a ticket, or of any network that kept the target's tensor names.

    `progress` is called with the share done. Raises InputError when they cannot be compared.
    """
    network = read_target(target)
    ends = [name for linear in network.linears for name in (linear.input, linear.output)]
    reference = open_session(target, tensors=ends)
    manifest = read_manifest(ticket)
    blueprint = None if manifest is None else _planned_again(network, ticket, manifest)
    views = _views(network, blueprint)
    viewed = [view.tensor for pair in views.values() for view in pair]
    other = open_session(ticket, tensors=viewed, spare=True)
    if blueprint is None and other.tensors.isdisjoint(layer.output for layer in network.linears):
        raise InputError(
            f"{ticket}: is no ticket and shares no layer's tensor name with {target}: "
            "layers cannot be compared"
        )
    layers = [
        _Layer(linear, *views[linear.name])
        for linear in network.linears
        if linear.name in views
        and linear.output in reference.tensors
        and views[linear.name][1].tensor in other.tensors
    ]
    counts = [activation_count(network, blueprint, layer.linear) for layer in layers]
    together = fixed_batch(network.inputs) or traced_together(counts)
    groups = [layers[part] for part in exposed_together(counts, together)]
    batches = samples.batches(network.inputs, together)
    for number, feeds in enumerate(batches):
        for group in groups:
            pairs = [(layer.linear.input, layer.linear.output) for layer in group]
            seen = [(layer.before.tensor, layer.behind.tensor) for layer in group]
            expected, actual = (
                session.run(feeds, [n for pair in names for n in pair if n in session.tensors])
                for session, names in ((reference, pairs), (other, seen))
            )
            for layer in group:
                layer.compare(expected, actual, network.opsets)
        if progress is not None:
            progress((number + 1) / len(batches))
    return [layer.error() for layer in layers if layer.squares]


def check_layer_errors(layers: Sequence[LayerError], min_sqnr: float) -> Check:
    """Whether every layer's output has `min_sqnr` dB or more; names the first that has not."""
    first = next((layer for layer in layers if layer.sqnr_db < min_sqnr), None)
    said = f"every layer has {min_sqnr:g} dB or more"
    if first is not None:
        said = f"layer '{first.name}' is the first below {min_sqnr:g} dB: {first.sqnr_db:.1f}"
    return Check("min-layer-sqnr", first is None, said)


@dataclass(frozen=True)
class _View:
    """A tensor of the ticket, and which of its channels stand for which of the target's.

    Without a layout the tensor is the target's own.
    """

    tensor: str
    layout: Layout | None = None

    def read(self, value: Array) -> Array:
        """The target's tensor as the ticket has it: the mean of every channel's copies."""
        layout = self.layout
        if layout is None:
            return value
        channels = np.moveaxis(value, layout.axis, 0)
        mean, count = np.zeros((layout.size, *channels.shape[1:])), np.zeros(layout.size)
        for copy in range(layout.copies):  # one at a time: all of them are large
            places = np.flatnonzero((layout.channel >= 0) & (layout.copy == copy))
            mean[layout.channel[places]] += channels[places]
            count[layout.channel[places]] += 1
        mean /= np.maximum(count, 1).reshape(-1, *[1] * (mean.ndim - 1))
        return np.moveaxis(mean, 0, layout.axis).astype(np.float32)


@dataclass
class _Layer:
    """A layer under comparison: where the ticket has its input and output, and what was summed."""

    linear: Linear
    before: _View
    behind: _View
    squares: dict[str, Array] = field(default_factory=dict)  # ‖t‖² and ‖t − t̂‖² by kind of error
    exact: Program | None = None  # the target's layer

    def compare(
        self, expected: Mapping[str, Array], actual: Mapping[str, Array], opsets: Mapping[str, int]
    ) -> None:
        """Add a batch: tensors of the target and of the ticket, by name."""
        linear, before = self.linear, self.before
        y = expected[linear.output]
        y_ticket = self.behind.read(actual[self.behind.tensor])
        if y_ticket.shape != y.shape:
            return  # another network's tensor of the same name
        self._add("out", y, y_ticket)
        if before.tensor not in actual or linear.input not in expected:
            return
        x = expected[linear.input]
        x_ticket = before.read(actual[before.tensor])
        if x_ticket.size != x.size:
            return
        x_ticket = x_ticket.reshape(x.shape)  # a block may open before the target flattens
        self._add("into", x, x_ticket)
        if self.exact is None:
            nodes, constants = linear_nodes(linear)
            like = {linear.input: x_ticket}
            self.exact = Program(
                nodes, like, constants=constants, outputs=[linear.output], opsets=opsets
            )
        y_exact = self.exact({linear.input: np.ascontiguousarray(x_ticket, np.float32)})[0]
        self._add("passed_on", y, y_exact)
        self._add("own", y_exact, y_ticket)

    def _add(self, kind: str, true: Array, other: Array) -> None:
        a = true.astype(np.float64)
        squares = np.array([np.square(a).sum(), np.square(a - other).sum()])
        self.squares[kind] = self.squares.get(kind, 0.0) + squares

    def error(self) -> LayerError:
        """The ratios of all that was added."""
        ratios = {kind: relative_error(*squares.tolist()) for kind, squares in self.squares.items()}
        into, passed_on, own = (ratios.get(name) for name in ("into", "passed_on", "own"))
        return LayerError(
            name=self.linear.name,
            tensor=self.linear.output,
            out=ratios["out"],
            into=into,
            passed_on=passed_on,
            own=own,
            sqnr_db=sqnr_of(ratios["out"]),
            own_sqnr_db=None if own is None else sqnr_of(own),
            amplification=passed_on / into if passed_on is not None and into else None,
        )


def _planned_again(target: Target, ticket: Path, manifest: Manifest) -> Blueprint:
    """The blueprint that a ticket was made from. Raises InputError when it is of another target."""
    if manifest.target_sha256 != target.sha256:
        raise InputError(f"{ticket}: was made from another target than {target.path}")
    blueprint = plan(target, manifest.construction(), constants_lost=frozenset(manifest.fresh))
    planned = [(layer.name, layer.shape) for layer in blueprint.layers]
    if planned != [(record.weight, record.shape) for record in manifest.layers]:
        raise InputError(
            f"{ticket}: was made by version {manifest.version}, which plans its layers otherwise: "
            "convert again"
        )
    return blueprint


def _views(target: Target, blueprint: Blueprint | None) -> dict[str, tuple[_View, _View]]:
    """Input and output of every layer in a ticket, at the block's entry where one opens.

    Without a blueprint, in a network with the target's own tensors.
    """
    if blueprint is None:
        return {layer.name: (_View(layer.input), _View(layer.output)) for layer in target.linears}
    blocks = {step.name: step for step in blueprint.steps if isinstance(step, Expand)}
    views: dict[str, tuple[_View, _View]] = {}
    for step in blueprint.steps:
        if isinstance(step, Build):
            entry = step if step.expand is None else blocks[step.expand]
            before = _View(entry.input, entry.in_layout)
            views[step.name] = (before, _View(step.output, step.out_layout))
    return views
