"""What can be said of a conversion before any work: what was found, and what it will take.

Comes in: a Blueprint. Goes out: figures and rows of tables; no weight is drawn.
"""

import math
import os
from dataclasses import asdict, dataclass
from typing import Any

from lt_onnx import files
from lt_onnx.blueprint import Blueprint, Build, Expand, Run
from lt_onnx.ops.activations import next_one
from lt_onnx.options import Select, Weights
from lt_onnx.samples.samples import OPEN_AXIS, VALIDATION_BATCH, batch_size, drawn_sizes
from lt_onnx.target import Linear, Shape, Target

CALIBRATION_WORK = 2.5e11  # multiply-adds of the ticket that calibration may cost
CALIBRATION_NUMBERS = 1e8 / 3  # that the widest tensor may have, all samples together
NEURON = 11.2  # bytes held for a number that a univariate layer makes …
INPUT, OUTPUT = 5.2, 16.8  # … that a constructed layer reads, and makes: some tensors of float32
WEIGHT_BYTES = {Weights.FOLDED: 4, Weights.MASKED: 5, Weights.SPARSE: 3}  # sparse: at most
PROGRAMS = 250_000_000  # bytes before any layer: the interpreter and its libraries
ROW = 64  # bytes held for a weight of the row under construction
WRITING = 5  # times the weights of a ticket of one file, while that is put together and sealed
RUNNING = 1.9  # times the weights in float32, while a runtime has the file open as well

# seconds of one core, measured (see docs/performance.md)
PROBLEM = 0.25e-6  # one problem of 10 elements; each more costs a third more
MULTIPLY_ADD = 3.5e-11
WEIGHT = 1.7e-8  # to draw twice and prove
BYTE = 2.5e-9  # to write, whatever the cores
START = 3.0


@dataclass(frozen=True)
class Prediction:
    """What a conversion will take, known before any weight is drawn."""

    source_weights: int
    file_bytes: int
    memory_bytes: int
    calibration_count: int
    multiply_adds: int  # of the ticket, per sample
    seconds: float  # without validation, very roughly


def predict(
    blueprint: Blueprint, source: bool = False, validated: bool = True, count: int | None = None
) -> Prediction:
    """Sizes of the ticket and of the work, from the blueprint alone.

    `source` is written too; the ticket is `validated`, which takes memory to run it; `count` are
    the samples for calibration, by default those that it can afford.
    """
    options, steps = blueprint.options, [s for s in blueprint.steps if not isinstance(s, Run)]
    builds = [step for step in steps if isinstance(step, Build)]
    count = count or _calibration_count(blueprint)
    size = blueprint.source_weights * WEIGHT_BYTES[options.weights]
    if options.fp16 and options.weights is not Weights.SPARSE:
        size -= 2 * blueprint.source_weights
    wide = max((_held(blueprint.target, step) for step in steps), default=0)
    inline = size if size <= files.INLINE_LIMIT else 0  # what goes to a file of its own is not held
    peak = max(inline + count * wide, WRITING * inline)
    if validated:
        numbers = sum(math.prod(drawn_sizes(port)) for port in blueprint.target.inputs)
        run = batch_size(numbers, VALIDATION_BATCH) * wide
        peak = max(peak, size + round(RUNNING * blueprint.weight_bytes) + run)
    return Prediction(
        source_weights=blueprint.source_weights,
        file_bytes=size + (blueprint.weight_bytes if source else 0),
        memory_bytes=_standing(blueprint) + peak,
        calibration_count=count,
        multiply_adds=sum(_multiply_adds(blueprint.target, step) for step in builds),
        seconds=START + sum(_seconds(blueprint, step, count) for step in steps),
    )


def _standing(blueprint: Blueprint) -> int:
    """Bytes whatever the samples: programs, the longest row, the target."""
    row = max((layer.row_size for layer in blueprint.layers), default=0)
    return (
        PROGRAMS + ROW * row + 12 * sum(linear.weight.size for linear in blueprint.target.linears)
    )


def _calibration_count(blueprint: Blueprint) -> int:
    """Samples that calibration can afford."""
    builds = [step for step in blueprint.steps if isinstance(step, Build)]
    work = sum(_multiply_adds(blueprint.target, step) for step in builds)
    most = 128 if blueprint.options.select is Select.NOISE else 8
    room = min(CALIBRATION_WORK / max(work, 1), CALIBRATION_NUMBERS / max(_widest(blueprint), 1))
    least = 4 if _widest(blueprint) < CALIBRATION_NUMBERS else 1  # has as many places as many have
    return int(min(max(room, least), most))


def _widest(blueprint: Blueprint) -> int:
    """Numbers in the largest input or output of a constructed layer, per sample."""
    builds = [step for step in blueprint.steps if isinstance(step, Build)]
    return max((_width(blueprint.target, step) for step in builds), default=0)


def _width(target: Target, step: Build) -> int:
    """Numbers in the input or output of one layer, whichever has more, per sample."""
    linear = step.linear
    into = step.in_layout.width * _positions(target, linear.input, linear.op)
    return max(into, step.source.shape[0] * _positions(target, linear.output, linear.op))


def _held(target: Target, step: Expand | Build) -> int:
    """Bytes held while a layer is run over one sample."""
    if isinstance(step, Expand):
        places = _positions(target, step.tensor, step.nodes[0].op)
        return round(NEURON * step.source.shape[0] * places)
    linear = step.linear
    read = step.in_layout.width * _positions(target, linear.input, linear.op)
    made = step.source.shape[0] * _positions(target, linear.output, linear.op)
    return round(INPUT * read + OUTPUT * made)


def activation_count(target: Target, blueprint: Blueprint | None, linear: Linear) -> int:
    """Numbers in input and output of a layer, of the target and of its ticket, per sample."""
    ends = (linear.input, linear.weight.shape[1] * linear.group), (linear.output, len(linear.bias))
    places = [_positions(target, tensor, linear.op) for tensor, _ in ends]
    own: int = sum(count * place for (_, count), place in zip(ends, places, strict=True))
    steps = blueprint.steps if blueprint is not None else ()
    for step in steps:
        if isinstance(step, Build) and step.name == linear.name:
            return own + step.in_layout.width * places[0] + step.source.shape[0] * places[1]
    return 2 * own


def _multiply_adds(target: Target, step: Build) -> int:
    """Of one layer, per sample."""
    return step.source.size * _positions(target, step.linear.output, step.linear.op)


def _seconds(blueprint: Blueprint, step: Expand | Build, count: int) -> float:
    """What one layer takes, very roughly: solving, running, drawing and proving, writing."""
    parallel = WEIGHT * step.source.size
    if isinstance(step, Build):
        members = step.base_size
        parallel += PROBLEM * 1.33 ** (members - 10) * step.source.size / max(members, 1)
        parallel += MULTIPLY_ADD * _multiply_adds(blueprint.target, step) * count
    return parallel / (os.cpu_count() or 1) + BYTE * 4 * step.source.size


def _positions(target: Target, tensor: str, op: str) -> int:
    shape = target.shapes.get(tensor, ())
    spatial = shape[2:] if op == "Conv" else shape[1:-1]
    return math.prod(d if isinstance(d, int) else OPEN_AXIS for d in spatial)


def found(blueprint: Blueprint) -> dict[str, Any]:
    """What `inspect` tells: every step of the target, and how the ticket will have it."""
    target = blueprint.target
    dense = {place.name: place for place in blueprint.dense}
    rows = []
    for step in target.steps:
        output = step.outputs[0]
        linear = isinstance(step, Linear)
        if linear:
            how, note = "constructed", ""
            follows = next_one(output, target)
            note = follows.title if follows is not None else ""
        elif step.name in dense:
            repeated = step.name in blueprint.copy_wise
            how, note = "copy-wise" if repeated else "dense", dense[step.name].reason
        else:
            how, note = "copy-wise" if step.name in blueprint.copy_wise else "as it is", ""
        rows.append(
            {
                "name": step.name,
                "op": step.op,
                "shape": list(target.shapes.get(output, ())) or None,
                "never_negative": output in blueprint.nonnegative,
                "how": how,
                "note": note,
                "weights": step.count if isinstance(step, Linear) else 0,
                "parameters": dense[step.name].parameters if step.name in dense else 0,
            }
        )
    kinds = [row["how"] for row in rows]
    return {
        "target": {
            "file": str(target.path),
            "sha256": target.sha256,
            "opset": target.opset,
            "ir_version": target.ir_version,
        },
        "inputs": [{"name": p.name, "shape": list(p.shape)} for p in target.inputs],
        "outputs": [{"name": p.name, "shape": list(p.shape)} for p in target.outputs],
        "activation": {"op": blueprint.activation.title, **_model(blueprint)},
        "counts": {
            kind: kinds.count(kind) for kind in ("constructed", "copy-wise", "as it is", "dense")
        },
        "constructed_weights": sum(row["weights"] for row in rows),
        "dense_parameters": sum(row["parameters"] for row in rows),
        "steps": rows,
    }


def _model(blueprint: Blueprint) -> dict[str, Any]:
    blocks = [step for step in blueprint.steps if isinstance(step, Expand)]
    if not blocks:
        return {}
    model = blocks[0].model
    return {"use": model.use.value, "reach": model.reach, "error": model.error}


def planned(blueprint: Blueprint) -> dict[str, Any]:
    """What `plan` tells: every random layer, and what the whole will take."""
    rows = []
    count, target = _calibration_count(blueprint), blueprint.target
    for step in blueprint.steps:
        if isinstance(step, Run):
            continue
        out = step.out_layout
        into = step.in_layout.width if step.in_layout is not None else step.source.shape[1]
        kind = (
            "univariate"
            if isinstance(step, Expand)
            else ("one-for-one" if step.one_for_one else "two-for-one")
        )
        copies = out.copies if isinstance(step, Build) else step.neurons
        rows.append(
            {
                "name": step.name,
                "kind": kind,
                "shape": list(step.source.shape),
                "inputs": into,
                "outputs": step.source.shape[0],
                "copies": copies,
                "constants": out.constants,
                "weights": step.source.size,
                "bytes": 4 * step.source.size,
                "memory_bytes": ROW * step.source.row_size + count * _held(target, step),
                "seconds": _seconds(blueprint, step, count),
            }
        )
    return {
        "mode": blueprint.options.mode.value,
        "layers": rows,
        "dense_parameters": sum(place.parameters for place in blueprint.dense),
        **asdict(predict(blueprint)),
    }


def shape_text(shape: Shape | list[Any] | None) -> str:
    """A shape as a reader writes it: [N,3,224,224]; `?` for what is not known."""
    if shape is None:
        return "?"
    return "[" + ",".join("?" if d is None else str(d) for d in shape) + "]"
