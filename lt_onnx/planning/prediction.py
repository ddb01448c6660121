"""What a conversion will take, said before any weight is drawn: sizes, samples, time, `memory`.

Comes in: a Blueprint. Goes out: figures from its shapes alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lt_onnx import files
from lt_onnx.blueprint import Blueprint, Build, Expand, Run
from lt_onnx.cores import core_count
from lt_onnx.options import Select, Weights
from lt_onnx.planning.allocation import problems
from lt_onnx.planning.memory import (
    INPUT_BYTES,
    MAX_BATCH,
    MAX_BATCH_NUMBERS,
    OUTPUT_BYTES,
    conversion_memory,
    run_bytes,
)
from lt_onnx.planning.sizes import (
    MAX_PROBLEMS,
    feature_multiply_adds,
    held_numbers,
    made_numbers,
    multiply_adds,
    numbers,
    output_numbers,
    patches,
    positions,
    read_whole,
    sized,
    target_work,
)
from lt_onnx.samples.random_inputs import drawn_sizes
from lt_onnx.samples.samples import fixed_batch
from lt_onnx.target import Target

MAX_CALIBRATION_WORK = 4e11  # multiply-adds of layers on their features, for all calibration
POSITIONS_PER_WEIGHT, USUAL_CALIBRATION_COUNT, MAX_CALIBRATION_COUNT = 4, 192, 1024
# inputs for a layer that sees one position of each, unless they are as many times the numbers
MIN_LEARNT_FROM = 16
MAX_CALIBRATION_NUMBERS = 1e8 / 3  # of the widest tensor, all samples together
MAX_MADE_NUMBERS = 1e9  # of neurons, of all samples, where a layer's are all made
WEIGHT_BYTES = {Weights.FOLDED: 4, Weights.MASKED: 5}  # of every random weight in a file …
KEPT_BYTES = {Weights.SPARSE: 12, Weights.SEEDED: 1.2}  # … and of those that are kept
SEEDED_LAYER_BYTES = 7000  # nodes that make its weights
KEPT_PER_PROBLEM = 1.5  # at the default promise: 0.5 to 3.6

# seconds of one core, measured: tools/forecasts.py
PROBLEM_SECONDS, PROBLEM_GROWTH = 6e-7, 1.153  # one problem of 11 elements; for each more
MULTIPLY_ADD_SECONDS = 2e-11
FEATURE_BYTES = 8  # for a number of the features of a block: they are parts of what is read
HELD_BYTE_SECONDS = 5e-10  # of what a layer reads and makes, where it is run …
BUILT_BYTE_SECONDS = 2.2e-9  # … and where it is built
MOMENT_SECONDS = 1.6e-10  # for a multiply-add of second moments, and of their inverse
FELT_SECONDS = 2.1e-11  # for a multiply-add of the target, run with one layer after the other wrong
WEIGHT_SECONDS, BYTE_SECONDS = 2e-8, 3e-9  # to draw twice and prove; to write, on one core
LAYER_SECONDS, NEURON_SECONDS, START_SECONDS = 0.012, 2.4e-5, 1.1  # NEURON: a univariate row
BUILD_SECONDS, GROUP_SECONDS = 0.125, 0.0095  # of a layer that is built, and of each of its groups
MAX_FELT_WORK = 5e10  # multiply-adds of the target with one layer after the other wrong
# that it runs on: of half of them layers are not made, which are enough to judge by
MIN_FELT_INPUTS, MAX_FELT_INPUTS = 32, 256
MAX_FELT_NUMBERS = 1 << 23  # that it puts out for all of them
MIN_VALIDATION_SAMPLES = 16  # of those given


@dataclass(frozen=True)
class Prediction:
    """What a conversion will take."""

    source_weights: int
    file_bytes: int
    seeded_bytes: int  # of the form that makes its own random numbers
    memory_bytes: int
    calibration_count: int
    batch: int  # of them that are run at a time
    multiply_adds: int  # of the ticket, per sample
    validation_count: int  # samples that both networks run in the time that construction takes
    seconds: float  # without validation, very roughly
    solve_seconds: float  # of one core, for subset sums


def predict(
    blueprint: Blueprint,
    *,
    source: bool = False,
    validated: bool = True,
    traced: bool = False,
    bounded: bool = False,
    count: int | None = None,
    most: int | None = None,
    sizes: Mapping[str, Sequence[int]] | None = None,
    kept: int | None = None,
) -> Prediction:
    """Sizes of the ticket and of the work.

    `source`: the source network is written too; the ticket is run (`validated`), its layers
    compared (`traced`) and its error certified (`bounded`), which takes memory; `count`: samples
    for calibration, None as many as can be afforded, but no more than there are (`most`); `sizes`
    of one by input, None: as drawn; `kept` weights, None: what is usual for so many problems.
    """
    options, target = blueprint.options, blueprint.target
    steps = [step for step in blueprint.steps if not isinstance(step, Run)]
    builds = [step for step in steps if isinstance(step, Build)]
    sizes = {p.name: drawn_sizes(p) for p in target.inputs} if sizes is None else sizes
    target = sized(target, sizes)
    work = sum(multiply_adds(target, step) for step in builds)
    whole = read_whole(blueprint)
    count = count or _affordable_count(target, builds, options.select, whole=whole)
    count = count if most is None else min(count, most)
    kept = _kept(blueprint) if kept is None else kept
    size, seeded = (file_bytes(blueprint, form, kept) for form in (options.weights, Weights.SEEDED))
    batch = _batch(target, blueprint)
    felt = min(felt_inputs(target, target_work(target)), count) if options.promises else 0
    memory = conversion_memory(
        blueprint,
        target,
        sizes,
        count=count,
        batch=batch,
        file_bytes=size,
        inline=_inline_bytes(blueprint, size, kept),
        kept=kept,
        validated=validated,
        traced=traced,
        bounded=bounded,
        felt=min(felt, MAX_FELT_NUMBERS // max(output_numbers(target), 1)),
    )
    return Prediction(
        source_weights=blueprint.source_weights,
        seeded_bytes=seeded,
        file_bytes=size + (4 * blueprint.source_weights if source else 0),
        memory_bytes=memory,
        calibration_count=count,
        batch=batch,
        multiply_adds=work,
        validation_count=_validation_count(target, steps, count),
        seconds=START_SECONDS
        + (_felt_seconds(target, count) if options.promises else 0)
        + sum(layer_seconds(target, step, count) for step in steps),
        solve_seconds=sum(_solve_seconds(step) for step in builds),
    )


def file_bytes(blueprint: Blueprint, form: Weights, kept: int) -> int:
    """Bytes of a ticket of so many `kept` weights in one form."""
    weights = blueprint.source_weights
    if form in WEIGHT_BYTES:
        return weights * (WEIGHT_BYTES[form] - 2 * blueprint.options.fp16)
    layers = len(blueprint.layers) if form is Weights.SEEDED else 0
    return round(KEPT_BYTES[form] * kept) + SEEDED_LAYER_BYTES * layers


def _kept(blueprint: Blueprint) -> int:
    """Weights that a ticket keeps, roughly."""
    blocks = [step for step in blueprint.steps if isinstance(step, Expand)]
    kept = sum(len(step.slots) + step.constants for step in blocks)
    return kept + round(KEPT_PER_PROBLEM * sum(problems(blueprint).values()))


def _inline_bytes(blueprint: Blueprint, size: int, kept: int) -> int:
    """Bytes of a ticket of `size` that are held until it is written; others go to a data file.

    What makes its own random numbers is written of the sparse form.
    """
    if blueprint.options.weights in KEPT_BYTES:
        return file_bytes(blueprint, Weights.SPARSE, kept)
    return size if size <= files.INLINE_LIMIT else 0


def construction_batch(blueprint: Blueprint, sizes: Mapping[str, Sequence[int]]) -> int:
    """Samples that are run at a time in construction; `sizes` are those of a sample, by input."""
    return _batch(sized(blueprint.target, sizes), blueprint)


def _batch(target: Target, blueprint: Blueprint) -> int:
    fixed = fixed_batch(target.inputs)
    if fixed is not None:
        return fixed
    builds, whole = (s for s in blueprint.steps if isinstance(s, Build)), read_whole(blueprint)
    widest = max((max(made_numbers(target, s, whole=s.name in whole)) for s in builds), default=1)
    return int(np.clip(MAX_BATCH_NUMBERS // max(widest, 1), 1, MAX_BATCH))


def layer_seconds(target: Target, step: Expand | Build, count: int) -> float:
    """What one layer takes, very roughly: solving, running, drawing and proving, writing."""
    shared = _core_seconds(target, step, count) / core_count()
    neurons = step.source.shape[0] if isinstance(step, Expand) else 0
    alone = LAYER_SECONDS + NEURON_SECONDS * neurons + BYTE_SECONDS * 4 * step.source.size
    alone += BUILD_SECONDS + GROUP_SECONDS * step.linear.group if isinstance(step, Build) else 0.0
    return shared + alone


def felt_inputs(target: Target, work: int) -> int:
    """Inputs on which errors of every layer are felt, where one costs `work` multiply-adds."""
    each = max(work * len(target.linears), 1)
    return int(np.clip(MAX_FELT_WORK / each, MIN_FELT_INPUTS, MAX_FELT_INPUTS))


def _felt_seconds(target: Target, count: int) -> float:
    """What it takes to measure how errors of every layer are felt."""
    work = target_work(target)
    runs = min(felt_inputs(target, work), count) * len(target.linears)
    return FELT_SECONDS * work * runs / core_count()


def _core_seconds(target: Target, step: Expand | Build, count: int) -> float:
    """What one layer takes of one core, writing apart; the same on every machine."""
    seconds = WEIGHT_SECONDS * step.source.size
    if isinstance(step, Build):
        seconds += _solve_seconds(step)
        work = MULTIPLY_ADD_SECONDS * feature_multiply_adds(target, step)
        seconds += count * (work + BUILT_BYTE_SECONDS * _held_bytes(target, step))
        seconds += MOMENT_SECONDS * _moment_work(target, step, count)
    return seconds


def _solve_seconds(step: Build) -> float:
    """What the subset sums of a layer take of one core."""
    m = max(step.base_size, 1)
    return PROBLEM_SECONDS * PROBLEM_GROWTH ** (m - 11) * step.source.size / m


def _sample_seconds(target: Target, step: Expand | Build) -> float:
    """What one layer of the ticket takes of one core to be run on a sample."""
    work = multiply_adds(target, step) if isinstance(step, Build) else 0
    return MULTIPLY_ADD_SECONDS * work + HELD_BYTE_SECONDS * run_bytes(target, step)


def _validation_count(target: Target, steps: Sequence[Expand | Build], count: int) -> int:
    """Samples that cost both networks what construction with `count` does."""
    seconds = START_SECONDS + sum(_core_seconds(target, step, count) for step in steps)
    layers = target.linears
    work = sum(one.weight.size * positions(target, one.output, one.op) for one in layers)
    each = MULTIPLY_ADD_SECONDS * work + sum(_sample_seconds(target, step) for step in steps)
    return max(int(seconds / max(each, 1e-12)), MIN_VALIDATION_SAMPLES)


def _affordable_count(
    target: Target, builds: list[Build], select: Select, *, whole: frozenset[str]
) -> int:
    """Samples that calibration can afford.

    As many as make POSITIONS_PER_WEIGHT output positions for every weight of a row. Where these do
    not make one, MIN_LEARNT_FROM may take as many times the numbers, however long. `whole` are the
    layers for which all neurons are made.
    """
    work = sum(feature_multiply_adds(target, step) for step in builds)
    widest = max((max(held_numbers(target, step)) for step in builds), default=0)
    made = max((max(numbers(target, step)) for step in builds if step.name in whole), default=0)
    affordable = min(
        MAX_CALIBRATION_WORK / max(work, 1),
        MAX_CALIBRATION_NUMBERS / max(widest, 1),
        MAX_MADE_NUMBERS / max(made, 1),
    )
    most = 8
    # one sample of a wide tensor has as many places as many samples of others
    least = 4 if widest < MAX_CALIBRATION_NUMBERS else 1
    if select is Select.NOISE:
        needed = max((n.inputs for n in needs(target, builds)), default=0)
        wanted = POSITIONS_PER_WEIGHT * needed
        most = int(np.clip(wanted, USUAL_CALIBRATION_COUNT, MAX_CALIBRATION_COUNT))
        held = int(MIN_LEARNT_FROM * MAX_CALIBRATION_NUMBERS / max(widest, 1))
        least = max(least, min(math.ceil(needed), MIN_LEARNT_FROM, held))
    return int(min(max(affordable, least), most))


@dataclass(frozen=True)
class Need:
    """What a layer needs to be learnt from inputs: an output position for every weight of a row."""

    layer: str
    weights: int  # of a row
    positions: int  # of the output, in one input

    @property
    def inputs(self) -> float:
        """How many inputs have as many positions as a row has weights."""
        return self.weights / self.positions


def needs(target: Target, builds: Sequence[Build]) -> list[Need]:
    """What every layer needs of calibration."""
    return [
        Need(
            step.name,
            math.prod(step.linear.weight.shape[1:]),
            max(positions(target, step.linear.output, step.linear.op), 1),
        )
        for step in builds
    ]


def _held_bytes(target: Target, step: Build) -> int:
    """Bytes held of each sample while a layer is built: some tensors of float32."""
    read, made = held_numbers(target, step)
    each = INPUT_BYTES
    if step.expand is not None:  # features, beside the tensor that they are parts of
        each = INPUT_BYTES / len(step.coefficients) + FEATURE_BYTES
    return round(each * read + OUTPUT_BYTES * made)


def _moment_work(target: Target, step: Build, count: int) -> float:
    """Multiply-adds of second moments of a layer's inputs and of what is made of them."""
    sampled, entries = patches(target, step, count)
    together = min(entries, MAX_PROBLEMS)
    each = sampled * together**2 + 4 * together**3
    return step.linear.group * max(entries / MAX_PROBLEMS, 1) * each
