"""Bytes that a conversion takes, layer by layer, and at its end.

Comes in: a Blueprint, and how many samples are run. Goes out: the largest of what it takes in turn.
Constants are measured on many networks: `tools/forecasts.py`.
"""

import math
from collections.abc import Mapping, Sequence

from lt_onnx.blueprint import Blueprint, Build, Expand, Run
from lt_onnx.cores import thread_count
from lt_onnx.options import Weights
from lt_onnx.planning.sizes import (
    MAX_POSITIONS,
    MAX_PROBLEMS,
    activation_count,
    exposed_together,
    held_by_target,
    held_numbers,
    made_numbers,
    numbers,
    output_numbers,
    patches,
    positions,
    read_whole,
    traced_together,
    waiting_numbers,
)
from lt_onnx.reading.model_file import MAX_MADE_AHEAD
from lt_onnx.reading.sized import largest_tensors
from lt_onnx.samples.samples import VALIDATION_BATCH, batch_size
from lt_onnx.target import Target

MAX_BATCH, MAX_BATCH_NUMBERS = 32, 1 << 24  # samples that are run at a time, and their numbers
NUMBER_BYTES = 4
PATCH_BYTES = 16  # for an entry at a position
# for a number of a batch under way: of neurons, of all neurons of a block, and of a layer's tensors
NEURON_BATCH_BYTES, WHOLE_BATCH_BYTES, LAYER_BATCH_BYTES = 18, 15, 6
CHUNK_BYTES, MAX_CHUNK = 34, 1 << 23  # for a weight of the rows under construction, and how many
ROW_WEIGHT_BYTES = 64  # for a weight of one row
GROWN_BYTES = 64  # for a number of a tensor that has several samples of one
PROGRAM_BYTES = 248_000_000  # before any layer: the interpreter and its libraries
EXPAND_BYTES, TARGET_WEIGHT_BYTES = 2_000_000, 12  # EXPAND: of a univariate layer
NEURON_BYTES = 11.2  # for a number that a univariate layer makes, while a ticket is run
INPUT_BYTES, OUTPUT_BYTES = 5.2, 16.8  # and for one that another layer reads, and makes
UNIVARIATE_WEIGHT_BYTES = 8.6  # such layers are held whole, drawn and read again by the proof
# of a ticket of one file while that is put together: times its bytes, and what is not given back
WRITING_FACTOR, LEFT_SHARE = 3.7, 0.5
RUNNING_FACTOR = 1.9  # times the weights in float32, while a runtime has the file open as well
# of a seeded ticket, for each number of a draw and times the weights: until a runtime has made
# these it holds all that they are made of, unless it makes them in every run
MADE_AHEAD_BYTES, MADE_AHEAD_FACTOR, MADE_ANEW_FACTOR = 1500, 1.7, 0.7
EXPOSED_BYTES = 9.0  # for a number of the layers that are compared together
MIN_DRAWN, DRAWS = 1 << 18, 6  # numbers of a draw at least, and draws of a large ticket: 5 to 8
BOUND_BYTES, BOUND_FACTOR = 165_000_000, 20.5  # of torch, and times what a layer holds of a sample
# while errors of layers are felt: for a number that the target holds, puts out, or has in patches
FELT_BYTES, FELT_OUTPUT_BYTES, FELT_PATCH_BYTES, SEEN_SHARE = 6, 40, 11, 0.6
TORCH_BYTES, FIT_BYTES = 230_000_000, 6  # to fit scales; the latter for a number of a layer


def conversion_memory(
    blueprint: Blueprint,
    target: Target,
    sizes: Mapping[str, Sequence[int]],
    *,
    count: int,
    batch: int,
    file_bytes: int,
    inline: int,
    kept: int,
    validated: bool,
    traced: bool,
    bounded: bool,
    felt: int,
) -> int:
    """Bytes at the largest.

    `target` is the blueprint's with `sizes` of a sample by input; `count` samples for calibration,
    `batch` run at a time; `file_bytes` of the ticket, of whose weights so many are held until it is
    written (`inline`), and which keeps so many (`kept`); it is run (`validated`), its layers
    compared (`traced`) and its error certified (`bounded`). Before, errors of every layer are felt
    on so many samples (`felt`).
    """
    steps = [step for step in blueprint.steps if not isinstance(step, Run)]
    expands = sum(isinstance(step, Expand) for step in steps)
    layers = layer_memory(target, blueprint, count=count, batch=batch)
    largest, widest = (
        max(layers.values(), default=0),
        max((run_bytes(target, step) for step in steps), default=0),
    )
    peaks = [inline + largest, round(LEFT_SHARE * largest + WRITING_FACTOR * inline)]
    peaks.append(GROWN_BYTES * largest_tensors(target, sizes)[1])
    peaks.append(_felt_bytes(target, seen=round(SEEN_SHARE * count), felt=felt))
    # a runtime copies what is in the graph, and maps what lies in a file of its own
    opened = file_bytes + (_grown_bytes(blueprint, kept) if inline else 0)
    sample = sum(math.prod(sizes[port.name]) for port in target.inputs)
    if validated:
        peaks.append(opened + batch_size(sample, VALIDATION_BATCH) * widest)
    if traced:
        counts = [activation_count(target, blueprint, linear) for linear in target.linears]
        together = batch_size(sample, traced_together(counts))
        exposed = max(sum(counts[part]) for part in exposed_together(counts, together))
        peaks.append(opened + together * (round(EXPOSED_BYTES * exposed) + widest))
    if blueprint.options.fit_scales:
        each = FIT_BYTES * sum(activation_count(target, None, one) for one in target.linears)
        at_once = thread_count() * batch_size(sample, MAX_BATCH)
        peaks = [TORCH_BYTES + peak for peak in (*peaks, opened + 3 * inline + at_once * each)]
    if bounded:
        peaks.append(BOUND_BYTES + inline + round(BOUND_FACTOR * widest))
    held = TARGET_WEIGHT_BYTES * sum(linear.weight.size for linear in target.linears)
    return PROGRAM_BYTES + held + EXPAND_BYTES * expands + max(peaks)


def _felt_bytes(target: Target, *, seen: int, felt: int) -> int:
    """To feel errors of every layer on some samples, where layers are made from those `seen`."""
    held, starts = held_by_target(target)
    layers = [0]
    for linear in target.linears if felt else ():
        places = (seen + felt) * positions(target, linear.output, linear.op)
        entries = linear.weight[0].size * linear.group
        patches = FELT_PATCH_BYTES * min(places, MAX_POSITIONS) * entries
        second_moments = NUMBER_BYTES * entries * min(linear.weight[0].size, MAX_PROBLEMS)
        layers.append(FELT_BYTES * (seen + felt) * held[linear.name] + patches + second_moments)
    return max(layers) + felt * (FELT_BYTES * starts + FELT_OUTPUT_BYTES * output_numbers(target))


def _grown_bytes(blueprint: Blueprint, kept: int) -> int:
    """Of a ticket in one file, whose weights a runtime has in float32 when it is open."""
    if blueprint.options.weights is not Weights.SEEDED:
        return round(RUNNING_FACTOR * blueprint.weight_bytes)
    if kept > MAX_MADE_AHEAD:
        return round(MADE_ANEW_FACTOR * blueprint.weight_bytes)
    sizes = [step.source.size for step in blueprint.steps if not isinstance(step, Run)]
    largest = kept * max(sizes, default=0) // max(sum(sizes), 1)  # drawn as a whole
    drawn = min(kept, max(MIN_DRAWN, kept // DRAWS, largest))
    return round(MADE_AHEAD_FACTOR * blueprint.weight_bytes + MADE_AHEAD_BYTES * drawn)


def layer_memory(target: Target, blueprint: Blueprint, *, count: int, batch: int) -> dict[str, int]:
    """Bytes that constructing each layer takes with `count` samples, `batch` run at a time."""
    whole, waiting = read_whole(blueprint), waiting_numbers(target, blueprint)
    found: dict[str, int] = {}
    for step in blueprint.steps:
        if isinstance(step, Expand):
            drawn = UNIVARIATE_WEIGHT_BYTES * step.source.size
            found[step.name] = round(drawn) + ROW_WEIGHT_BYTES * step.source.row_size
        elif isinstance(step, Build):
            found[step.name] = (
                _built(target, step, count=count, batch=batch, whole=step.name in whole)
                + NUMBER_BYTES * count * waiting[step.name]
            )
    return found


def _built(target: Target, step: Build, *, count: int, batch: int, whole: bool) -> int:
    """Of one layer, tensors that wait for layers behind it apart."""
    linear, at_once = step.linear, min(batch, count)
    read, made = held_numbers(target, step)
    # what it reads, what it makes, and what the target does
    held = read + made + len(linear.bias) * positions(target, linear.output, linear.op)
    under_way = LAYER_BATCH_BYTES * at_once * made
    if step.expand is None:
        under_way = LAYER_BATCH_BYTES * at_once * (read + made) // 2
    else:  # its features, beside the tensor that they are parts of
        held += read // len(step.coefficients)
        neurons, _ = made_numbers(target, step, whole=whole)
        threads = thread_count() if batch * neurons <= MAX_BATCH_NUMBERS else 1  # large: alone
        each = WHOLE_BATCH_BYTES if whole else NEURON_BATCH_BYTES
        under_way += each * min(batch * threads, count) * neurons
    sampled, entries = patches(target, step, count)
    seen = PATCH_BYTES * sampled * min(entries, MAX_PROBLEMS)
    rows = ROW_WEIGHT_BYTES * step.source.row_size + CHUNK_BYTES * min(step.source.size, MAX_CHUNK)
    return NUMBER_BYTES * count * held + under_way + seen + rows


def run_bytes(target: Target, step: Expand | Build) -> int:
    """Bytes that running a layer over one sample takes: some tensors of float32."""
    if isinstance(step, Expand):
        places = positions(target, step.tensor, step.nodes[0].op)
        return round(NEURON_BYTES * step.source.shape[0] * places)
    read, made = numbers(target, step)
    return round(INPUT_BYTES * read + OUTPUT_BYTES * made)
