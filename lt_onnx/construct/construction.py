"""The sequence of the construction: target and ticket side by side, one step at a time.

Comes in: a Blueprint and calibration inputs. Goes out, layer by layer: masked rows, then the rest
of their layer. Every layer is built against the inputs that the ticket really delivers: the noise
of each copy, the value of each constant, the mean that each row still misses.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from lt_onnx.blueprint import Blueprint, Build, Expand, Run
from lt_onnx.construct.constants import Response, constant_values
from lt_onnx.construct.features import Features
from lt_onnx.construct.layer_construction import LayerSums, construct_rows, repeat_rows
from lt_onnx.construct.layer_task import BLOCK_WEIGHTS, LayerTask
from lt_onnx.construct.noise_budget import NoiseBudget, Promise
from lt_onnx.construct.results import BuiltLayer, MaskedRows, SavedLayer, sqnr
from lt_onnx.construct.row_solver import HERE, RowSolver
from lt_onnx.construct.stepwise_run import Made, StepwiseRun
from lt_onnx.construct.univariate import Neurons, expand
from lt_onnx.errors import InputError, too_large
from lt_onnx.ops.activations import Activation, response
from lt_onnx.options import Init
from lt_onnx.planning.allocation import problems
from lt_onnx.planning.prediction import construction_batch
from lt_onnx.progress import Stopwatch
from lt_onnx.samples.samples import Samples
from lt_onnx.subset_sum import RangeError
from lt_onnx.target import Array, Floats, Indices, Step, step_nodes


def construct(
    blueprint: Blueprint,
    calibration: Samples,
    *,
    solver: RowSolver = HERE,
    watch: Stopwatch | None = None,
    saved: Mapping[str, SavedLayer] | None = None,
    promise: Promise | None = None,
) -> Iterator[MaskedRows | BuiltLayer]:
    """Build every source layer of `blueprint`, in order: its rows, in order, then what is left.

    All is built in a source of σ = 1; the σ of the initialisation is put in at the end, so that
    masks do not depend on it. `calibration` are inputs of the target;
    `solver` is who solves subset sums, `watch` is told where the time goes; layers that are
    `saved`, by name, were built before and are only run again. A `promise` gives every layer its
    price; None: prices are the options'.

    Raises InputError when the target cannot be run on the calibration inputs or numbers are too
    large, LostConstantsError when constants were planned to reach a tensor and none does.
    """
    target, init = blueprint.target, blueprint.options.init
    seen, fresh = calibration.split(target.inputs)
    batch = construction_batch(blueprint, calibration.sizes)
    feeds = seen.batches(target.inputs, batch)
    kept = fresh.batches(target.inputs, batch) if fresh is not None else []
    feeds += kept
    inputs = {p.name: [feed[p.name] for feed in feeds] for p in target.inputs}
    nodes = [node for step in blueprint.steps for node in step.nodes]
    builds = [step for step in blueprint.steps if isinstance(step, Build)]
    copied = {step.name for step in builds if step.one_for_one}
    work = _Construction(
        blueprint,
        StepwiseRun(inputs, target.steps, opsets=target.opsets, constants=target.constants),
        StepwiseRun(inputs, nodes, opsets=target.opsets, constants=blueprint.constants),
        solver=solver,
        watch=watch or Stopwatch(),
        saved=saved or {},
        budget=None if promise is None else NoiseBudget(promise, problems(blueprint), copied),
        fresh=len(kept),
    )
    for piece in work.pieces():
        yield piece if init is Init.UNIT else piece.scaled(piece.step.source.sigma(init))


@dataclass
class _Construction:
    """The two networks under way, and the gains of the blocks that are open."""

    blueprint: Blueprint
    target: StepwiseRun
    ticket: StepwiseRun
    solver: RowSolver
    watch: Stopwatch
    saved: Mapping[str, SavedLayer]
    budget: NoiseBudget | None
    fresh: int
    gains: dict[str, Floats] = field(default_factory=dict)  # of every slot, by Expand
    responses: dict[object, Response] = field(default_factory=dict)

    def pieces(self) -> Iterator[MaskedRows | BuiltLayer]:
        """Step by step, what the random layers among them come to."""
        steps = iter(self.blueprint.target.steps)
        for step in self.blueprint.steps:
            if isinstance(step, Run):
                with self.watch("run"):
                    self.ticket.run([step.node], {}, output=step.node.outputs[0], release=True)
            elif isinstance(step, Expand):
                yield from self.expand(step)
            else:
                while step.linear.output not in self.target.values:
                    self.advance(next(steps))
                yield from self.build(step)
            self.ticket.drop(step.nodes)

    def advance(self, step: Step) -> None:
        """Run the target's next step."""
        nodes, constants = step_nodes(step)
        with self.watch("run"):
            self.target.run(nodes, constants, output=step.outputs[0], release=True)
        self.target.drop([step])

    def response(self, activation: Activation | None) -> Response:
        """What the activation that constants meet next makes of them."""
        kind = None if activation is None else activation.kind(self.blueprint.target)
        if kind not in self.responses:
            self.responses[kind] = Response(*response(activation, self.blueprint.target))
        return self.responses[kind]

    def expand(self, step: Expand) -> Iterator[MaskedRows | BuiltLayer]:
        """Prune a layer to neurons that listen to one channel each, and set their scales."""
        x, source = self.ticket.values[step.input], step.source
        _check_finite(f"tensor '{step.tensor}'", x)
        seen = self.response(self.blueprint.activation)
        with self.watch("univariate layers"):
            rows, rest, gains = expand(step, self.blueprint.options, x=x, response=seen)
        self.gains[step.name] = gains
        neurons = Neurons.of(rows, rest)

        def some(places: Indices) -> Made[Array]:
            nodes, tensors = neurons.nodes(places)
            made = self.ticket.made(nodes, tensors, output=step.output, values={step.input: x})
            each = x[0].size // x[0].shape[step.out_layout.axis]
            return replace(made, numbers=each * len(places))

        every = np.arange(step.out_layout.width)
        self.ticket.values[step.output] = replace(some(every), some=some)
        count = max(1, BLOCK_WEIGHTS // source.row_size)
        for start in range(0, len(rows.weight), count):
            yield MaskedRows(step, start, rows.weight[start : start + count])
        yield rest

    def build(self, step: Build) -> Iterator[MaskedRows | BuiltLayer]:
        """Choose the masks of one layer, row by row, with their biases and constants."""
        features, layout = Features.of(step, self.gains), step.in_layout
        x = self.ticket.values[step.input]
        with self.watch("run"):
            x, constants = features.delivered(x, layout)
        task = LayerTask(
            step,
            self.blueprint.options,
            features,
            self.blueprint.options.price_of(step.name),
            self.response(step.follows),
            x=x,
            constants=constant_values(layout, constants),
            y=self.target.values[step.linear.output],
            fresh=self.fresh,
            solver=self.solver,
        )
        _check_finite(f"layer '{step.name}'", task.y)
        sums = LayerSums(task, self.blueprint.target.opsets)
        saved = self.saved.get(step.name)
        share = None
        if self.budget is not None and step.name not in dict(self.blueprint.options.prices):
            share = self.budget.share(step.name)
        try:
            if saved is None:
                layer = yield from construct_rows(task, sums, share=share, watch=self.watch)
            else:
                layer = yield from repeat_rows(task, sums, saved=saved, watch=self.watch)
        except RangeError:
            raise too_large(step.name) from None
        if self.budget is not None and layer.mean is not None:
            self.budget.spend(step.name, layer.mean, layer.stats)
        with self.watch("run"):
            out = self.ticket.values[step.output] = sums.scaled(layer.tensors[step.scale])
        if saved is None:
            sqnr_db = sqnr(task.y, out, step.out_layout)
            layer = replace(layer, stats=replace(layer.stats, sqnr_db=sqnr_db))
        yield layer


def _check_finite(where: str, values: Sequence[Array]) -> None:
    """Raise InputError if the batches of a tensor hold NaN or infinity."""
    if not all(np.isfinite(value).all() for value in values):
        raise InputError(
            f"{where}: the target makes numbers of these inputs that are not finite; give "
            "`calibration` that is meant for it"
        )
