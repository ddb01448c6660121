"""Models in ONNX text, read as targets, and how far a target's function is from its model's."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import ArrayLike
from onnx import helper, numpy_helper, parser

from lt_onnx.reading.lowering import read_target
from lt_onnx.runtime import to_proto, value_info
from lt_onnx.target import Array, Linear, Target, linear_nodes


def model_of(graph: str, *, opset: int = 17, **weights: ArrayLike) -> onnx.ModelProto:
    """A model: `graph` is ONNX text without its head; `weights` become float32 unless whole."""
    head = f'<ir_version: 8, opset_import: ["": {opset}, "com.they": 1]> g '
    model = parser.parse_model(head + graph)
    for name, value in weights.items():
        array = np.asarray(value)
        kept = array if array.dtype.kind in "iub" else array.astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(kept, name))
    return model


def target_of(model: onnx.ModelProto, folder: Path) -> Target:
    """The target that a model is read as."""
    path = folder / "model.onnx"
    path.write_bytes(model.SerializeToString())
    return read_target(path)


def normalization(rng: np.random.Generator, channels: int) -> dict[str, Array]:
    """Parameters of a BatchNormalization(x, scale, shift, mean, variance), scales of both signs."""
    return {
        "scale": rng.uniform(0.5, 2, channels) * rng.choice([-1, 1], channels),
        "shift": rng.normal(size=channels),
        "mean": rng.normal(size=channels),
        "variance": rng.uniform(0.3, 3, channels),
    }


def error_of(target: Target, model: onnx.ModelProto, feeds: Mapping[str, Array]) -> float:
    """‖f_target − f_model‖ / ‖f_model‖ of the worst output; infinite where shapes differ."""
    wanted, made = (_run(m, feeds) for m in (model, _written(target)))
    return max(relative(a, b) for a, b in zip(made, wanted, strict=True))


def relative(value: Array, wanted: Array) -> float:
    """‖value − wanted‖ / ‖wanted‖ of two whole arrays; infinite where their shapes differ."""
    if value.shape != wanted.shape:
        return np.inf
    return float(np.linalg.norm(value - wanted) / np.linalg.norm(wanted))


def inputs(model: onnx.ModelProto, rng: np.random.Generator, batch: int = 2) -> dict[str, Array]:
    """Normal numbers for every input, `batch` or 3 where a size is open."""
    feeds = {}
    for value in model.graph.input:
        sizes = [d.dim_value or None for d in value.type.tensor_type.shape.dim]
        shape = [size or (3 if i else batch) for i, size in enumerate(sizes)]
        feeds[value.name] = rng.normal(size=shape).astype(np.float32)
    return feeds


def ops_of(target: Target) -> list[str]:
    """The operators of the steps, in order; those of layers to construct in capitals.

    Without those that make constants.
    """
    steps = [step for step in target.steps if target.unvarying.isdisjoint(step.outputs)]
    return [step.op.upper() if isinstance(step, Linear) else step.op for step in steps]


def _written(target: Target) -> onnx.ModelProto:
    nodes, constants = [], dict(target.constants)
    for step in target.steps:
        if isinstance(step, Linear):
            layer, held = linear_nodes(step)
            nodes += layer
            constants |= held
        else:
            nodes.append(step)
    read = {name for node in nodes for name in node.inputs} & constants.keys()
    graph = helper.make_graph(
        [to_proto(node) for node in nodes],
        "target",
        [value_info(port.name, port.dtype, port.shape) for port in target.inputs],
        [onnx.ValueInfoProto(name=port.name) for port in target.outputs],
        [numpy_helper.from_array(np.asarray(constants[name]), name) for name in sorted(read)],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in target.opsets.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=target.ir_version)


def _run(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    return [np.asarray(value) for value in session.run(None, dict(feeds))]
