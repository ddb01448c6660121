"""One constructed layer: the masks of its rows, then their biases (Alg. 1, even layers; Alg. 2).

λ from the targets and the biases → subsets → sums over the calibration inputs → rescaling →
biases. Rows are drawn and solved some blocks at a time, then put out block by block: of the layer's
weights no more than this is ever held.
"""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from lt_onnx.construct.biases import Biases
from lt_onnx.construct.fed_target import Layer
from lt_onnx.construct.layer_task import Block, LayerTask, RowChoice
from lt_onnx.construct.masks import choose, first_lambdas, rescaled
from lt_onnx.construct.noise_budget import Share
from lt_onnx.construct.pricing import find_price
from lt_onnx.construct.results import BuiltLayer, LayerStats, MaskedRows, SavedLayer, Tally
from lt_onnx.construct.shared_problems import SharedProblems
from lt_onnx.construct.stepwise_run import Made
from lt_onnx.layout import CONSTANT
from lt_onnx.progress import Stopwatch
from lt_onnx.runtime import Program, by_batch
from lt_onnx.source.layer import draw_rows
from lt_onnx.target import Array, Doubles, Floats

RowsThenLayer: TypeAlias = Generator[MaskedRows, None, BuiltLayer]


class LayerSums:
    """Runs a layer's blocks and collects their sums, biases added, before any scale."""

    def __init__(self, task: LayerTask, opsets: Mapping[str, int]) -> None:
        self.task, self.opsets = task, opsets
        self.sums: list[Array] = []  # [N, …, R, …] batch by batch, filled as blocks are added
        self._programs: dict[int, Program] = {}  # by number of groups

    def run(self, block: Block, weight: Floats) -> list[Array]:
        """What a block's rows [R', L] make of the calibration inputs: [N, …, R', …] by batch."""
        step, source, features = self.task.step, self.task.step.source, self.task.features
        node, width = step.nodes[0], features.width
        if features.shared_input:
            group = np.arange(block.rows.start, block.rows.stop) // self.task.group_rows
            sums = features.sums(weight, group) * features.unit
            weight, width = sums.astype(np.float32), features.channel.shape[1]
        shape = (len(weight), width, *source.shape[2:])
        given = weight.reshape(len(weight), -1).T if source.transposed else weight.reshape(shape)
        given = np.ascontiguousarray(given)
        groups = len(block.groups)
        inputs = np.s_[block.groups.start * width : block.groups.stop * width]
        own = (slice(None),) * step.in_layout.axis + (inputs,)
        x = self.task.x
        if groups < step.linear.group:
            x = Made(len(x), lambda b: np.ascontiguousarray(self.task.x[b][own]))
        feeds = Made(len(x), lambda b: {node.inputs[0]: x[b], node.inputs[1]: given})
        if groups not in self._programs:
            if node.op == "Conv":
                node = replace(node, attributes={**node.attributes, "group": groups})
            outputs = [node.outputs[0]]
            program = Program([node], feeds[0], constants={}, outputs=outputs, opsets=self.opsets)
            self._programs = {groups: program}
        return [outputs[0] for outputs in self._programs[groups].map(feeds)]

    def add(self, block: Block, raw: Sequence[Array], offset: Doubles) -> None:
        """Put a block's sums beside those before it, with what biases add to each row, [R']."""
        axis = self.task.axis
        if len(block) == len(self.task.channel):
            self.sums = list(raw)
        elif not self.sums:
            for value in raw:
                shape = (*value.shape[:axis], len(self.task.channel), *value.shape[axis + 1 :])
                self.sums.append(np.empty(shape, value.dtype))
        own = (slice(None),) * axis + (block.rows,)
        added = offset.astype(raw[0].dtype).reshape(-1, *[1] * (raw[0].ndim - axis - 1))
        for value, sums in zip(raw, self.sums, strict=True):
            # biases add the same number everywhere, so that the sums need not be run again
            np.add(value, added, out=sums[own])

    def scaled(self, scale: Array) -> list[Array]:
        """What the layer makes: the sums, times the `scale` of every row, in their place."""
        return by_batch(self.sums, lambda sums: np.multiply(sums, scale, out=sums))


class MeanLayer:
    """What the layer is in place of the target's, in the mean of its copies."""

    def __init__(self, task: LayerTask) -> None:
        linear, features = task.linear, task.features
        self.task = task
        self.weight = np.zeros((len(linear.bias), linear.weight.shape[1], features.taps))
        self.bent = np.zeros_like(self.weight) if task.step.bent else None
        self.bias = np.zeros(len(linear.bias))
        self.count = np.zeros(len(linear.bias))

    def add(self, block: Block, rows: RowChoice) -> None:
        """Add a block's rows, biases and all."""
        task, features = self.task, self.task.features
        data = np.flatnonzero(task.channel[block.rows] >= 0)
        channels = task.channel[block.rows][data]
        group = (data + block.rows.start) // task.group_rows
        scale = rows.scale[data] * features.unit
        sums = features.sums(rows.weight[data], group) * scale[:, None, None]
        for v in range(features.index.shape[1]):
            own = sums[:, v]
            coefficient, channel = features.coefficient[group, v], features.channel[group, v]
            parts = np.maximum((features.channel[group] == channel[:, None]).sum(1), 1)
            np.add.at(
                self.weight,
                (channels, channel),
                own / np.where(coefficient, coefficient * parts, np.inf)[:, None],
            )
            if (
                self.bent is not None
            ):  # φ(x) = x (1 + a)/2 + |x| (1 − a)/2, its coefficient 1/(1 + a)
                size = np.where(parts > 1, 1 - 0.5 / np.maximum(np.abs(coefficient), 0.5), 0)
                np.add.at(self.bent, (channels, channel), own * size[:, None])
        np.add.at(self.bias, channels, rows.offset[data] * rows.scale[data])
        np.add.at(self.count, channels, 1)

    def layer(self) -> Layer:
        """The layer."""
        count = np.maximum(self.count, 1)
        shape = self.task.linear.weight.shape
        weight, bent = (
            None if w is None else (w / count[:, None, None]).reshape(shape).astype(np.float32)
            for w in (self.weight, self.bent)
        )
        assert weight is not None
        return Layer(weight, (self.bias / count).astype(np.float32), bent)


def construct_rows(
    task: LayerTask, sums: LayerSums, *, watch: Stopwatch, share: Share | None = None
) -> RowsThenLayer:
    """Build a layer's rows; `sums` is given what they make of the calibration inputs.

    `share` is what it may take of the error that is allowed; None: the price is the task's.
    Raises LostConstantsError when no constant reaches the layer that its biases were planned from,
    and RangeError for numbers that are too large for the subset sums.
    """
    biases, shared = Biases.of(task), SharedProblems(task)
    first = first_lambdas(task, biases.least_lambdas())
    trial = None
    if share is not None:
        with watch("prices"):
            trial = find_price(task, shared, lam=first, share=share)
        task = replace(task, price=trial.price)
        biases = replace(biases, task=task).within(trial.error)
    tally, done, mean = Tally(), [], MeanLayer(task)
    for blocks in task.chunks(task.solver.chunk_weights):
        with watch("moments"):
            shared.prepare(blocks)
        chosen = choose(task, blocks, shared=shared, lam=first, watch=watch)
        tally = sum(chosen.tallies, tally)
        for block in blocks:
            start = block.rows.start - blocks[0].rows.start
            rows = chosen.part(slice(start, start + len(block)))
            with watch("run"):
                raw = sums.run(block, rows.weight)
            with watch("biases"):
                rows = rescaled(task, rows, block=block, raw=raw)
                rows = biases.added(rows, block, raw=raw, shared=shared)
                sums.add(block, raw, rows.offset)
            mean.add(block, rows)
            tally = sum(rows.tallies, tally) + Tally(kept=int(np.count_nonzero(rows.weight)))
            done.append((rows.lam, rows.scale, rows.offset))
            yield MaskedRows(task.step, block.rows.start, rows.weight)
    lam, scale, offset = (np.concatenate(part) for part in zip(*done, strict=True))
    if not tally.kept:  # a layer of zeros, or one that no output needs
        scale = np.zeros_like(scale)
    stats = _stats(task, tally, lam=lam, scale=scale)
    if share is not None and trial is not None:
        found = {key: getattr(trial, key) for key in ("error", "inherited", "apart", "marginal")}
        allowed = share.allowed + trial.inherited
        stats = replace(stats, allowed=allowed, **found)
    return _built(task, stats, scale=scale, offset=offset, mean=mean.layer())


def repeat_rows(
    task: LayerTask, sums: LayerSums, *, saved: SavedLayer, watch: Stopwatch
) -> RowsThenLayer:
    """The rows of a saved layer: drawn, masked and run, as they were when it was built."""
    step = task.step
    channel = step.in_layout.channel.reshape(step.linear.group, -1)
    constant = np.repeat(channel == CONSTANT, task.features.taps, 1)
    mean = MeanLayer(task)
    for block in task.blocks():
        with watch("random numbers"):
            start, stop, kept = block.rows.start, block.rows.stop, saved.kept(block.rows.start)
            drawn = draw_rows(task.options.seed, task.step.source, start=start, stop=stop)
            weight = np.where(kept, drawn.reshape(kept.shape), np.float32(0))
        group = np.arange(start, stop) // task.group_rows
        with watch("run"):  # biases come after, as a number that is added
            raw = sums.run(block, np.where(constant[group], np.float32(0), weight))
        sums.add(block, raw, saved.offset[block.rows])
        scale, offset = saved.scale[block.rows], saved.offset[block.rows]
        mean.add(block, RowChoice(weight, scale, scale, offset, ()))
        yield MaskedRows(step, start, weight)
    return _built(task, saved.stats, scale=saved.scale, offset=saved.offset, mean=mean.layer())


def _built(
    task: LayerTask, stats: LayerStats, *, scale: Doubles, offset: Doubles, mean: Layer
) -> BuiltLayer:
    """The layer when its rows are out."""
    shape = (-1, *[1] * (task.y[0].ndim - task.axis - 1))
    tensors: dict[str, Array] = {task.step.scale: scale.astype(np.float32).reshape(shape)}
    return BuiltLayer(task.step, None, tensors, stats, scale, offset, mean)


def _stats(task: LayerTask, tally: Tally, *, lam: Doubles, scale: Doubles) -> LayerStats:
    step, linear, problems = task.step, task.linear, max(tally.problems, 1)
    return LayerStats(
        name=step.name,
        kind="one-for-one" if step.one_for_one else "two-for-one",
        op=linear.op,
        target_weights=linear.count,
        kept=tally.kept,
        source_weights=step.source.count,
        scales=int(np.count_nonzero(scale)),
        problems=tally.problems,
        misses=tally.misses,
        mean_size=tally.elements / problems,
        mean_error=tally.error / problems,
        base_size=task.features.index.shape[2],
        price=task.price if task.calibrated else None,
        lam=float(np.median(np.abs(lam[task.channel >= 0]))),
        size_counts=tuple(int(n) for n in np.trim_zeros(tally.sizes, "b")),
        error_counts=tuple(int(n) for n in tally.errors),
    )
