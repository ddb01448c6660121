"""Where a ticket's error enters, layer by layer, and where it is amplified.

Both networks run in onnxruntime with their layers' inputs and outputs in view, a batch and a few
layers at a time. For a layer with target input x and output y, of which the ticket has x̂ and ŷ
(the mean of the copies), and with the target's own layer f:

    error in      ‖x̂ - x‖ / ‖x‖
    passed on     ‖f(x̂) - y‖ / ‖y‖     what the exact layer would make of the error before it
    own           ‖ŷ - f(x̂)‖ / ‖f(x̂)‖  what this layer's subsets add
    out           ‖ŷ - y‖ / ‖y‖
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lt_onnx.blueprint import Blueprint, Build, Expand
from lt_onnx.errors import InputError
from lt_onnx.layout import Layout
from lt_onnx.planning.plan import plan
from lt_onnx.planning.prediction import activation_count
from lt_onnx.reading.lowering import read_target
from lt_onnx.reading.model_file import open_session, read_manifest
from lt_onnx.runtime import Program
from lt_onnx.samples.samples import Samples
from lt_onnx.target import Array, Linear, Target, linear_nodes
from lt_onnx.validation.fidelity import Check

BATCH = 16
IN_VIEW = 1 << 26  # numbers of both networks that are held at a time


@dataclass(frozen=True)
class LayerError:
    """Relative errors of one layer over all samples; None where they cannot be told apart."""

    name: str
    tensor: str  # the target's output
    out: float
    into: float | None = None
    passed_on: float | None = None
    own: float | None = None

    @property
    def sqnr_db(self) -> float:
        """Cumulative: of the ticket's output against the target's."""
        return _decibels(self.out)

    @property
    def own_sqnr_db(self) -> float | None:
        """Local: of the ticket's layer against the exact one on the same input."""
        return None if self.own is None else _decibels(self.own)

    @property
    def amplification(self) -> float | None:
        """By how much the exact layer enlarges the relative error that reaches it."""
        if self.passed_on is None or not self.into:
            return None
        return self.passed_on / self.into


@dataclass(frozen=True)
class _View:
    """A tensor of the ticket, and which of its channels stand for which of the target's."""

    tensor: str
    layout: Layout | None

    def read(self, value: Array, channels: int) -> Array:
        """The target's tensor as the ticket has it: the mean of every channel's copies."""
        layout = self.layout
        if layout is None:
            return value
        moved = np.moveaxis(value, layout.axis, 0).astype(np.float64)
        out = np.zeros((channels, *moved.shape[1:]))
        data = layout.channel >= 0
        np.add.at(out, layout.channel[data], moved[data])
        count = np.bincount(layout.channel[data], minlength=channels)
        out /= np.maximum(count, 1).reshape(-1, *[1] * (out.ndim - 1))
        return np.moveaxis(out, 0, layout.axis).astype(np.float32)


@dataclass
class _Sums:
    """Squared norms: of signals and of errors."""

    values: dict[str, float] = field(default_factory=dict)

    def add(self, name: str, true: Array, made: Array) -> None:
        a = true.astype(np.float64)
        signal, error = f"{name} signal", f"{name} error"
        self.values[signal] = self.values.get(signal, 0.0) + float(np.square(a).sum())
        self.values[error] = self.values.get(error, 0.0) + float(np.square(a - made).sum())

    def ratio(self, name: str) -> float | None:
        if f"{name} error" not in self.values:
            return None
        signal, error = self.values[f"{name} signal"], self.values[f"{name} error"]
        return math.sqrt(error / signal) if signal else math.sqrt(error)


def replan(target: Target, ticket: Path) -> Blueprint:
    """The blueprint that a ticket was made from. Raises InputError when it is of another target."""
    manifest = read_manifest(ticket)
    if manifest is None:
        raise InputError(f"{ticket}: not a ticket: it has no metadata of lt-onnx")
    if manifest.target_sha256 != target.sha256:
        raise InputError(f"{ticket}: was made from another target than {target.path}")
    blueprint = plan(target, manifest.construction(), frozenset(manifest.fresh))
    planned = [(layer.name, layer.shape) for layer in blueprint.layers]
    if planned != [(record.weight, record.shape) for record in manifest.layers]:
        raise InputError(
            f"{ticket}: was made by version {manifest.version}, which plans its layers otherwise: "
            "convert again"
        )
    return blueprint


def trace(
    target: Path, ticket: Path, samples: Samples, progress: Callable[[float], None] | None = None
) -> list[LayerError]:
    """The error of every layer of a ticket, or of any network that kept the target's tensor names.

    Raises InputError when they cannot be compared.
    """
    network = read_target(target)
    true = open_session(target, tensors=[name for step in network.linears for name in _ends(step)])
    blueprint = replan(network, ticket) if read_manifest(ticket) is not None else None
    views = _views(blueprint) if blueprint is not None else _equal_names(network, ticket)
    seen = [v.tensor for pair in views.values() for v in pair if v is not None]
    made = open_session(ticket, tensors=seen)
    layers = [
        linear
        for linear in network.linears
        if linear.name in views
        and linear.output in true.tensors
        and views[linear.name][1].tensor in made.tensors
    ]
    sums = {linear.name: _Sums() for linear in layers}
    programs: dict[str, Program] = {}
    groups = list(_groups(layers, blueprint, network))
    batches = samples.batches(network.inputs, BATCH)
    for number, feeds in enumerate(batches):
        for group in groups:
            names = [n for linear in group for n in _ends(linear) if n in true.tensors]
            wanted = [
                v.tensor
                for linear in group
                for v in views[linear.name]
                if v is not None and v.tensor in made.tensors
            ]
            expected, got = true.run(feeds, names), made.run(feeds, wanted)
            for linear in group:
                _compare(
                    linear,
                    expected,
                    got,
                    views[linear.name],
                    sums[linear.name],
                    programs,
                    network.opsets,
                )
        if progress is not None:
            progress((number + 1) / len(batches))
    return [
        LayerError(
            linear.name,
            linear.output,
            total.ratio("out") or 0.0,
            total.ratio("into"),
            total.ratio("passed on"),
            total.ratio("own"),
        )
        for linear in layers
        for total in [sums[linear.name]]
        if total.values
    ]


def check_layers(layers: list[LayerError], least: float) -> Check:
    """Whether no layer's cumulative SQNR is below `least` dB; names the first that is."""
    first = next((layer for layer in layers if layer.sqnr_db < least), None)
    if first is None:
        return Check("min-layer-sqnr", True, f"every layer has {least:g} dB or more")
    return Check(
        "min-layer-sqnr",
        False,
        f"layer '{first.name}' is the first below {least:g} dB: {first.sqnr_db:.1f}",
    )


def _compare(
    linear: Linear,
    expected: Mapping[str, Array],
    got: Mapping[str, Array],
    views: tuple[_View | None, _View],
    sums: _Sums,
    programs: dict[str, Program],
    opsets: Mapping[str, int],
) -> None:
    before, behind = views
    y = expected[linear.output]
    made = behind.read(got[behind.tensor], len(linear.bias))
    if made.shape != y.shape:
        return  # another network's tensor of the same name
    sums.add("out", y, made)
    if before is None or before.tensor not in got or linear.input not in expected:
        return
    x = expected[linear.input]
    channels = linear.weight.shape[1] * linear.group
    x_made = before.read(got[before.tensor], channels)
    if x_made.size != x.size:
        return
    x_made = x_made.reshape(x.shape)  # a block may open before the target flattens
    sums.add("into", x, x_made)
    if linear.name not in programs:
        nodes, constants = linear_nodes(linear)
        like = {linear.input: x_made}
        programs[linear.name] = Program(
            nodes, like, constants=constants, outputs=[linear.output], opsets=opsets
        )
    exact = programs[linear.name]({linear.input: np.ascontiguousarray(x_made, np.float32)})[0]
    sums.add("passed on", y, exact)
    sums.add("own", exact, made)


def _ends(linear: Linear) -> tuple[str, str]:
    return linear.input, linear.output


def _views(blueprint: Blueprint) -> dict[str, tuple[_View | None, _View]]:
    """Where the ticket has every layer's input and output."""
    opened = {step.name: step for step in blueprint.steps if isinstance(step, Expand)}
    views: dict[str, tuple[_View | None, _View]] = {}
    for step in blueprint.steps:
        if isinstance(step, Build):
            block = opened[step.expand] if step.expand is not None else None
            before = (
                _View(step.input, step.in_layout)
                if block is None
                else _View(block.input, block.in_layout)
            )
            views[step.name] = (before, _View(step.output, step.out_layout))
    return views


def _equal_names(target: Target, other: Path) -> dict[str, tuple[_View | None, _View]]:
    """The tensors of another network that are called as the target's."""
    session = open_session(other, tensors=[n for linear in target.linears for n in _ends(linear)])
    views: dict[str, tuple[_View | None, _View]] = {
        linear.name: (
            _View(linear.input, None) if linear.input in session.tensors else None,
            _View(linear.output, None),
        )
        for linear in target.linears
        if linear.output in session.tensors
    }
    if not views:
        raise InputError(
            f"{other}: is no ticket and shares no layer's tensor name with {target.path}: "
            "layers cannot be compared"
        )
    return views


def _groups(
    layers: list[Linear], blueprint: Blueprint | None, target: Target
) -> Iterator[list[Linear]]:
    """Layers whose tensors are looked at together, so that few numbers are held."""
    group: list[Linear] = []
    held = 0
    for linear in layers:
        size = BATCH * activation_count(target, blueprint, linear)
        if group and held + size > IN_VIEW:
            yield group
            group, held = [], 0
        group.append(linear)
        held += size
    if group:
        yield group


def _decibels(relative: float) -> float:
    return -20 * math.log10(relative) if relative else math.inf
