"""What a conversion will take, said before any weight is drawn: sizes, memory, samples, time.

Comes in: a Blueprint. Goes out: figures from its shapes alone. "Numbers" are entries of tensors.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lt_onnx import files
from lt_onnx.blueprint import Blueprint, Build, Expand, Run
from lt_onnx.cores import core_count, thread_count
from lt_onnx.options import Select, Weights
from lt_onnx.reading.sized import largest_tensors, with_sizes
from lt_onnx.samples.samples import OPEN_AXIS, VALIDATION_BATCH, batch_size, drawn_sizes
from lt_onnx.target import Linear, Target

MAX_CALIBRATION_WORK = 4e11  # multiply-adds of layers on their features, for all calibration
POSITIONS_PER_WEIGHT, USUAL_CALIBRATION_COUNT, MAX_CALIBRATION_COUNT = 4, 192, 1024
MAX_CALIBRATION_NUMBERS = 1e8 / 3  # of the widest tensor, all samples together
INPUT_BYTES, OUTPUT_BYTES = 5.2, 16.8  # held for a number that a layer reads, and makes
MAX_POSITIONS = 8192  # output positions that H is made from …
MAX_PROBLEMS = 1152  # … and problems with one H: Cholesky takes O(n · MAX_PROBLEMS²)
PATCH_BYTES = 16  # for an entry at a position
FEATURE_BYTES = 8  # for a number of the features of a block: they are parts of what is read
MAX_MADE_NUMBERS = 1e9  # of neurons, of all samples, where a layer's are all made
MAX_BATCH, MAX_BATCH_NUMBERS = 32, 1 << 24  # samples that are run at a time, and their numbers
GROWN_BYTES = 64  # for a number of a tensor that has several samples of one
BATCH_BYTES = 24  # for a number of a batch under way: a tensor is made from another
# in bytes; of the last two at most
WEIGHT_BYTES = {Weights.FOLDED: 4, Weights.MASKED: 5, Weights.SPARSE: 3, Weights.SEEDED: 1}
PROGRAM_BYTES = 262_000_000  # before any layer: the interpreter and its libraries
EXPAND_BYTES, TARGET_WEIGHT_BYTES = 2_000_000, 12  # EXPAND: of a univariate layer
ROW_WEIGHT_BYTES = 64  # for a weight of the row under construction
NEURON_BYTES = 11.2  # for a number that a univariate layer makes, while a ticket is run
UNIVARIATE_WEIGHT_BYTES = 8.6  # such layers are held whole, drawn and read again by the proof
WRITING_FACTOR = 2.9  # times the weights of a ticket of one file, while that is put together
RUNNING_FACTOR = 1.9  # times the weights in float32, while a runtime has the file open as well
EXPOSED_BYTES = 9.0  # for a number of the layers that are compared together
BOUND_BYTES, BOUND_FACTOR = 165_000_000, 20.5  # of torch, and times what a layer holds of a sample
TORCH_BYTES, FIT_BYTES = 230_000_000, 6  # to fit scales; the latter for a number of a layer
# samples whose layers are compared at a time, and numbers of both networks that are held for it
TRACE_BATCH, MAX_EXPOSED = 16, 1 << 26

# seconds of one core, measured (see docs/performance.md)
PROBLEM_SECONDS, PROBLEM_GROWTH = 1e-6, 1.153  # one problem of 11 elements; for each more
MULTIPLY_ADD_SECONDS = 2e-11
HELD_BYTE_SECONDS = 5e-10  # of what a layer reads and makes, where it is run …
BUILT_BYTE_SECONDS = 8e-9  # … and where it is built
MOMENT_SECONDS = 1.6e-10  # for a multiply-add of second moments, and of their inverse
FELT_SECONDS = 2.6e-11  # for a multiply-add of the target, run with one layer after the other wrong
WEIGHT_SECONDS, BYTE_SECONDS = 1.7e-8, 2.5e-9  # to draw twice and prove; to write, on one core
LAYER_SECONDS, NEURON_SECONDS, START_SECONDS = 0.04, 3.5e-5, 1.3  # NEURON: a univariate row
BUILD_SECONDS, GROUP_SECONDS = 0.11, 0.01  # of a layer that is built, and of each of its groups
MAX_FELT_WORK = 5e10  # multiply-adds of the target with one layer after the other wrong
MIN_FELT_INPUTS, MAX_FELT_INPUTS = 8, 256  # that it runs on
MIN_VALIDATION_SAMPLES = 16  # of those given


@dataclass(frozen=True)
class Prediction:
    """What a conversion will take."""

    source_weights: int
    file_bytes: int
    memory_bytes: int
    calibration_count: int
    batch: int  # of them that are run at a time
    multiply_adds: int  # of the ticket, per sample
    validation_count: int  # samples that both networks run in the time that construction takes
    seconds: float  # without validation, very roughly


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
) -> Prediction:
    """Sizes of the ticket and of the work.

    `source`: the source network is written too; the ticket is run (`validated`), its layers
    compared (`traced`) and its error certified (`bounded`), which takes memory; `count`: samples
    for calibration, None as many as can be afforded, but no more than there are (`most`); `sizes`
    of one by input, None: as drawn.
    """
    options, target = blueprint.options, blueprint.target
    steps = [step for step in blueprint.steps if not isinstance(step, Run)]
    builds = [step for step in steps if isinstance(step, Build)]
    sizes = {p.name: drawn_sizes(p) for p in target.inputs} if sizes is None else sizes
    target = sized(target, sizes)
    work = sum(_multiply_adds(target, step) for step in builds)
    whole = read_whole(blueprint)
    count = count or _affordable_count(target, builds, options.select, whole=whole)
    count = count if most is None else min(count, most)
    size = blueprint.source_weights * WEIGHT_BYTES[options.weights]
    if options.fp16 and options.weights in (Weights.FOLDED, Weights.MASKED):
        size -= 2 * blueprint.source_weights
    batch = _batch(target, blueprint)
    widest = max((_run_bytes(target, step) for step in steps), default=0)
    inline = size if size <= files.INLINE_LIMIT else 0  # what goes to a file of its own is not held
    given = {"count": count, "batch": batch}
    peaks = [
        inline + layer_memory(target, step, **given, whole=step.name in whole) for step in steps
    ]
    peaks.append(round(WRITING_FACTOR * inline))
    peaks.append(GROWN_BYTES * largest_tensors(target, sizes)[1])
    # a runtime copies what is in the graph, and maps what lies in a file of its own
    opened = size + (round(RUNNING_FACTOR * blueprint.weight_bytes) if inline else 0)
    numbers = sum(math.prod(sizes[port.name]) for port in target.inputs)
    if validated:
        peaks.append(opened + batch_size(numbers, VALIDATION_BATCH) * widest)
    if traced:
        counts = [activation_count(target, blueprint, linear) for linear in target.linears]
        exposed = max(sum(counts[part]) for part in exposed_together(counts))
        peaks.append(opened + round(EXPOSED_BYTES * batch_size(numbers, TRACE_BATCH) * exposed))
    if options.fit_scales:
        each = FIT_BYTES * sum(activation_count(target, None, one) for one in target.linears)
        at_once = thread_count() * batch_size(numbers, MAX_BATCH)
        peaks = [TORCH_BYTES + peak for peak in (*peaks, opened + 3 * inline + at_once * each)]
    if bounded:
        peaks.append(BOUND_BYTES + inline + round(BOUND_FACTOR * widest))
    held = TARGET_WEIGHT_BYTES * sum(linear.weight.size for linear in target.linears)
    held += EXPAND_BYTES * (len(steps) - len(builds))
    return Prediction(
        source_weights=blueprint.source_weights,
        file_bytes=size + (4 * blueprint.source_weights if source else 0),
        memory_bytes=PROGRAM_BYTES + held + max(peaks),
        calibration_count=count,
        batch=batch,
        multiply_adds=work,
        validation_count=_validation_count(target, steps, count),
        seconds=START_SECONDS
        + (_felt_seconds(target, count) if options.promises else 0)
        + sum(layer_seconds(target, step, count) for step in steps),
    )


def construction_batch(blueprint: Blueprint, sizes: Mapping[str, Sequence[int]]) -> int:
    """Samples that are run at a time in construction; `sizes` are those of a sample, by input."""
    return _batch(sized(blueprint.target, sizes), blueprint)


def _batch(target: Target, blueprint: Blueprint) -> int:
    builds, whole = (s for s in blueprint.steps if isinstance(s, Build)), read_whole(blueprint)
    widest = max((max(_made_numbers(target, s, whole=s.name in whole)) for s in builds), default=1)
    return int(np.clip(MAX_BATCH_NUMBERS // max(widest, 1), 1, MAX_BATCH))


def sized(target: Target, sizes: Mapping[str, Sequence[int]]) -> Target:
    """The target with inputs of these sizes, where it leaves them open."""
    if all(isinstance(d, int) and d > 0 for port in target.inputs for d in port.shape[1:]):
        return target
    return with_sizes(target, sizes)


def read_whole(blueprint: Blueprint) -> frozenset[str]:
    """The layers for which all neurons of their block are made: other nodes stand between.

    Everywhere else one neuron stands for all that make the same of their input.
    """
    opened = {step.output for step in blueprint.steps if isinstance(step, Expand)}
    builds = (step for step in blueprint.steps if isinstance(step, Build) and step.expand)
    return frozenset(step.name for step in builds if step.input not in opened)


def layer_memory(
    target: Target, step: Expand | Build, *, count: int, batch: int, whole: bool
) -> int:
    """Bytes that constructing one layer takes with `count` samples, `batch` run at a time.

    `whole` where all neurons of its block are made; see `read_whole`.
    """
    weights = UNIVARIATE_WEIGHT_BYTES * step.source.size if isinstance(step, Expand) else 0
    row = ROW_WEIGHT_BYTES * step.source.row_size
    if isinstance(step, Expand):
        return row + round(weights)
    held = row + count * _held_bytes(target, step) + _moment_bytes(target, step, count)
    if step.expand is None:
        return held
    made = _made_numbers(target, step, whole=whole)[0]
    threads = thread_count() if batch * made <= MAX_BATCH_NUMBERS else 1  # large ones are alone
    return held + BATCH_BYTES * min(batch * threads, count) * made


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
        m = max(step.base_size, 1)
        seconds += PROBLEM_SECONDS * PROBLEM_GROWTH ** (m - 11) * step.source.size / m
        work = MULTIPLY_ADD_SECONDS * _feature_multiply_adds(target, step)
        seconds += count * (work + BUILT_BYTE_SECONDS * _held_bytes(target, step))
        seconds += MOMENT_SECONDS * _moment_work(target, step, count)
    return seconds


def _sample_seconds(target: Target, step: Expand | Build) -> float:
    """What one layer of the ticket takes of one core to be run on a sample."""
    work = _multiply_adds(target, step) if isinstance(step, Build) else 0
    return MULTIPLY_ADD_SECONDS * work + HELD_BYTE_SECONDS * _run_bytes(target, step)


def _validation_count(target: Target, steps: Sequence[Expand | Build], count: int) -> int:
    """Samples that cost both networks what construction with `count` does."""
    seconds = START_SECONDS + sum(_core_seconds(target, step, count) for step in steps)
    layers = target.linears
    work = sum(one.weight.size * _positions(target, one.output, one.op) for one in layers)
    each = MULTIPLY_ADD_SECONDS * work + sum(_sample_seconds(target, step) for step in steps)
    return max(int(seconds / max(each, 1e-12)), MIN_VALIDATION_SAMPLES)


def activation_count(target: Target, blueprint: Blueprint | None, linear: Linear) -> int:
    """Numbers in input and output of a layer, of the target and of its ticket, per sample."""
    own: int = linear.weight.shape[1] * linear.group * _positions(target, linear.input, linear.op)
    own += len(linear.bias) * _positions(target, linear.output, linear.op)
    for step in blueprint.steps if blueprint is not None else ():
        if isinstance(step, Build) and step.name == linear.name:
            return own + sum(_numbers(target, step))
    return 2 * own


def exposed_together(counts: Sequence[int]) -> Iterator[slice]:
    """Neighbouring layers of so many numbers each whose tensors are compared at a time.

    `MAX_EXPOSED` of a batch, or one layer.
    """
    start = 0
    for stop in range(1, len(counts) + 1):
        if stop == len(counts) or sum(counts[start : stop + 1]) * TRACE_BATCH > MAX_EXPOSED:
            yield slice(start, stop)
            start = stop


def _affordable_count(
    target: Target, builds: list[Build], select: Select, *, whole: frozenset[str]
) -> int:
    """Samples that calibration can afford.

    As many as make POSITIONS_PER_WEIGHT output positions for every weight of a row. `whole` are the
    layers for which all neurons are made.
    """
    work = sum(_feature_multiply_adds(target, step) for step in builds)
    widest = max((max(_held_numbers(target, step)) for step in builds), default=0)
    made = max((max(_numbers(target, step)) for step in builds if step.name in whole), default=0)
    affordable = min(
        MAX_CALIBRATION_WORK / max(work, 1),
        MAX_CALIBRATION_NUMBERS / max(widest, 1),
        MAX_MADE_NUMBERS / max(made, 1),
    )
    most = 8
    if select is Select.NOISE:
        wanted = POSITIONS_PER_WEIGHT * max((n.inputs for n in needs(target, builds)), default=0)
        most = int(np.clip(wanted, USUAL_CALIBRATION_COUNT, MAX_CALIBRATION_COUNT))
    # one sample of a wide tensor has as many places as many samples of others
    least = 4 if widest < MAX_CALIBRATION_NUMBERS else 1
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
            max(_positions(target, step.linear.output, step.linear.op), 1),
        )
        for step in builds
    ]


def _numbers(target: Target, step: Build) -> tuple[int, int]:
    """Numbers in the input and in the output of a layer of the ticket, per sample."""
    linear = step.linear
    read = step.in_layout.width * _positions(target, linear.input, linear.op)
    return read, step.source.shape[0] * _positions(target, linear.output, linear.op)


def _held_bytes(target: Target, step: Build) -> int:
    """Bytes held of each sample while a layer is built: some tensors of float32."""
    read, made = _held_numbers(target, step)
    each = INPUT_BYTES
    if step.expand is not None:  # features, beside the tensor that they are parts of
        each = INPUT_BYTES / len(step.coefficients) + FEATURE_BYTES
    return round(each * read + OUTPUT_BYTES * made)


def _moment_bytes(target: Target, step: Build, count: int) -> int:
    """Bytes of the patches that the moments of a layer's inputs are made from."""
    positions, entries = _patches(target, step, count)
    return PATCH_BYTES * positions * min(entries, MAX_PROBLEMS)


def _moment_work(target: Target, step: Build, count: int) -> float:
    """Multiply-adds of second moments of a layer's inputs and of what is made of them."""
    positions, entries = _patches(target, step, count)
    together = min(entries, MAX_PROBLEMS)
    each = positions * together**2 + 4 * together**3
    return step.linear.group * max(entries / MAX_PROBLEMS, 1) * each


def _patches(target: Target, step: Build, count: int) -> tuple[int, int]:
    """Positions that moments are made from, and entries of a patch of one group."""
    positions = count * _positions(target, step.linear.output, step.linear.op)
    entries = math.prod(step.linear.weight.shape[1:]) * len(step.coefficients)
    return min(positions, MAX_POSITIONS), entries


def _held_numbers(target: Target, step: Build) -> tuple[int, int]:
    """Numbers in input and output of a layer that are held; of a block its features."""
    read, made = _numbers(target, step)
    if step.expand is not None:
        linear = step.linear
        channels = linear.weight.shape[1] * linear.group * len(step.coefficients)
        read = channels * _positions(target, linear.input, linear.op)
    return read, made


def _made_numbers(target: Target, step: Build, *, whole: bool) -> tuple[int, int]:
    """Numbers in input and output of a layer under construction; see `read_whole`."""
    return _numbers(target, step) if whole else _held_numbers(target, step)


def _run_bytes(target: Target, step: Expand | Build) -> int:
    """Bytes that running a layer over one sample takes: some tensors of float32."""
    if isinstance(step, Expand):
        places = _positions(target, step.tensor, step.nodes[0].op)
        return round(NEURON_BYTES * step.source.shape[0] * places)
    read, made = _numbers(target, step)
    return round(INPUT_BYTES * read + OUTPUT_BYTES * made)


def _feature_multiply_adds(target: Target, step: Build) -> int:
    """Of one layer that is run on the features it reads, per sample."""
    if step.expand is None:
        return _multiply_adds(target, step)
    weights = math.prod(step.linear.weight.shape[1:]) * len(step.coefficients)
    places = _positions(target, step.linear.output, step.linear.op)
    return step.source.shape[0] * weights * places


def _multiply_adds(target: Target, step: Build) -> int:
    """Of one layer of the ticket, per sample."""
    return step.source.size * _positions(target, step.linear.output, step.linear.op)


def target_work(target: Target) -> int:
    """Multiply-adds of the target's layers, per sample."""
    layers = target.linears
    return sum(layer.weight.size * _positions(target, layer.output, layer.op) for layer in layers)


def _positions(target: Target, tensor: str, op: str) -> int:
    """Places of a tensor that a layer of kind `op` treats alike, per sample."""
    shape = target.shapes.get(tensor, ())
    spatial = shape[2:] if op == "Conv" else shape[1:-1]
    return math.prod(d if isinstance(d, int) else OPEN_AXIS for d in spatial)
