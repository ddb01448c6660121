"""What `inspect` and `plan` show: a Blueprint as rows of tables, and figures of the whole."""

from dataclasses import asdict
from typing import Any

from lt_onnx.blueprint import Blueprint, Build, Expand, Run
from lt_onnx.manifest import DensePlace
from lt_onnx.ops.activations import next_one
from lt_onnx.planning.memory import layer_memory
from lt_onnx.planning.prediction import layer_seconds, predict
from lt_onnx.planning.sizes import sized
from lt_onnx.reading.sized import largest_tensors
from lt_onnx.samples.random_inputs import drawn_sizes
from lt_onnx.samples.samples import Samples
from lt_onnx.target import Linear, Shape, Step, Target

# of a network that is run to see what its promise costs: more take minutes, or gigabytes
MAX_FORESEEN_WEIGHTS, MAX_FORESEEN_NUMBERS = 1_000_000, 1 << 20
KINDS = ("constructed", "copy-wise", "as it is", "dense")


def is_small(target: Target) -> bool:
    """Whether it takes little to run a network some dozen times: by its weights and its tensors."""
    sizes = {port.name: drawn_sizes(port) for port in target.inputs}
    largest, _ = largest_tensors(target, sizes)
    return target.weight_count <= MAX_FORESEEN_WEIGHTS and largest <= MAX_FORESEEN_NUMBERS


def inspection(blueprint: Blueprint) -> dict[str, Any]:
    """What `inspect` shows: every step of the target, and what becomes of it."""
    target = blueprint.target
    dense = {place.name: place for place in blueprint.dense}
    rows = [_step_row(blueprint, step, dense.get(step.name)) for step in target.steps]
    kinds = [row["how"] for row in rows]
    blocks = [step.model for step in blueprint.steps if isinstance(step, Expand)]
    model = {key: getattr(blocks[0], key) for key in ("use", "reach", "error")} if blocks else {}
    return {
        "target": {
            "file": str(target.path),
            "sha256": target.sha256,
            "opset": target.opset,
            "ir_version": target.ir_version,
        },
        "inputs": [{"name": port.name, "shape": list(port.shape)} for port in target.inputs],
        "outputs": [{"name": port.name, "shape": list(port.shape)} for port in target.outputs],
        "activation": {"op": blueprint.activation.title, **model},
        "counts": {kind: kinds.count(kind) for kind in KINDS},
        "constructed_weights": sum(row["weights"] for row in rows),
        "dense_parameters": blueprint.dense_parameters,
        "dense_places": len(blueprint.dense),
        "steps": rows,
    }


def _step_row(blueprint: Blueprint, step: Step, place: DensePlace | None) -> dict[str, Any]:
    target, output = blueprint.target, step.outputs[0]
    how, note = "as it is", place.reason if place is not None else ""
    if isinstance(step, Linear):
        follows = next_one(output, target)
        how, note = "constructed", follows.title if follows is not None else ""
    elif place is not None:
        how = "dense"
    elif step.name in blueprint.copy_wise:
        how = "copy-wise"
    return {
        "name": step.name,
        "op": step.op,
        "shape": list(target.shapes.get(output, ())) or None,
        "never_negative": output in blueprint.nonnegative,
        "how": how,
        "note": note,
        "weights": step.count if isinstance(step, Linear) else 0,
        "parameters": place.parameters if place is not None else 0,
    }


def plan_overview(blueprint: Blueprint, seen: Samples | None = None) -> dict[str, Any]:
    """What `plan` shows: every random layer, and what the whole will take.

    `seen` are inputs for calibration; None: random ones.
    """
    drawn = {port.name: drawn_sizes(port) for port in blueprint.target.inputs}
    sizes, most = (drawn, None) if seen is None else (seen.sizes, seen.count)
    prediction = predict(blueprint, most=most, sizes=sizes)
    target = sized(blueprint.target, sizes)
    rows, count = [], prediction.calibration_count
    memory = layer_memory(target, blueprint, count=count, batch=prediction.batch)
    for step in blueprint.steps:
        if isinstance(step, Run):
            continue
        one_for_one = isinstance(step, Build) and step.one_for_one
        constructed = "one-for-one" if one_for_one else "two-for-one"
        layout, source = step.in_layout, step.source
        rows.append(
            {
                "name": step.name,
                "kind": constructed if isinstance(step, Build) else "univariate",
                "shape": list(source.shape),
                "inputs": layout.width if layout is not None else source.shape[1],
                "outputs": source.shape[0],
                "copies": step.out_layout.copies if isinstance(step, Build) else step.neurons,
                "constants": step.out_layout.constants,
                "weights": source.count,
                "bytes": 4 * source.size,
                "memory_bytes": memory[step.name],
                "seconds": layer_seconds(target, step, count),
            }
        )
    return {
        "mode": blueprint.options.mode.value,
        "layers": rows,
        "dense_parameters": blueprint.dense_parameters,
        "dense_places": len(blueprint.dense),
        **asdict(prediction),
    }


def shape_text(shape: Shape | list[Any] | None) -> str:
    """A shape as a reader writes it: [N,3,224,224]; `?` for what is not known."""
    if shape is None:
        return "?"
    return "[" + ",".join("?" if d is None else str(d) for d in shape) + "]"
