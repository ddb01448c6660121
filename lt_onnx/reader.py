"""From an ONNX file to plain nodes: everything that a bad file can do is met here.

Comes in: a path. Goes out: the model's nodes in topological order with every constant subgraph
evaluated, ready for `lowering`. All refusals that can be seen at once are reported at once.
"""

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from google.protobuf.message import DecodeError
from onnx import helper, numpy_helper
from onnx_graphsurgeon.logger import G_LOGGER

from lt_onnx.errors import InputError, UnsupportedError
from lt_onnx.runtime import first_line
from lt_onnx.target import Array, Node, Port, Shape

OLDEST_OPSET = 7
CONTROL_FLOW = {"If", "Loop", "Scan", "SequenceMap"}
QUANTISED = {
    "QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
    "MatMulInteger", "DynamicQuantizeLinear", "QLinearAdd", "QGemm",
}  # fmt: skip
PROTO_LIMIT = 2**31 - 1

G_LOGGER.severity = G_LOGGER.CRITICAL  # what it would say, the errors here say


@dataclass(frozen=True)
class Graph:
    """A model with its constants evaluated; what `lowering` turns into a Target."""

    path: Path
    sha256: str
    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    shapes: dict[str, Shape]
    opsets: dict[str, int]
    ir_version: int
    integers: frozenset[str]


def read_graph(path: Path) -> Graph:
    """Read and check the ONNX model at `path`.

    Raises InputError for a file that cannot be used (missing, truncated, not ONNX, NaN weights,
    external data outside its folder) and UnsupportedError for models that are not float networks.
    """
    model, digest = load(path)
    # before IR 4 initializers had to be graph inputs too; onnxruntime does not mind, nor do we
    model.ir_version = max(4, model.ir_version)
    _refuse(path, model)
    model = _fold_constants(path, _without_initializer_inputs(model))
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    for name, value in constants.items():
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(value).all():
            bad = np.argwhere(~np.isfinite(value))[0].tolist()
            raise InputError(
                f"{path}: tensor '{name}' holds {value[tuple(bad)]} at index {bad}; "
                "export the network with finite weights"
            )
    shapes, integers = _infer(model)
    return Graph(
        path=path,
        sha256=digest,
        name=model.graph.name,
        inputs=tuple(_port(path, value) for value in model.graph.input),
        outputs=tuple(_port(path, value) for value in model.graph.output),
        nodes=tuple(_node(proto, i) for i, proto in enumerate(model.graph.node)),
        constants=constants,
        shapes=shapes,
        integers=integers,
        opsets={o.domain if o.domain != "ai.onnx" else "": o.version for o in model.opset_import},
        ir_version=model.ir_version,
    )


def load(path: Path) -> tuple[onnx.ModelProto, str]:
    """The model with its external data, and the SHA-256 of the file followed by that data.

    Raises InputError.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path}: not a file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > PROTO_LIMIT:
        raise InputError(f"{path}: larger than protobuf's 2 GiB; save its weights as external data")
    digest = hashlib.sha256(content)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise InputError(
            f"{path}: not an ONNX model (truncated, or another format); export it again"
        ) from None
    if not model.graph.node or not model.opset_import:
        raise InputError(f"{path}: not an ONNX model, or one with an empty graph")
    for file in _external_files(path, model):
        with file.open("rb") as stream:
            while chunk := stream.read(1 << 24):
                digest.update(chunk)
    try:
        onnx.load_external_data_for_model(model, str(path.parent))
    except (OSError, ValueError, RuntimeError, onnx.checker.ValidationError) as error:
        raise InputError(f"{path}: external data: {first_line(error)}") from None
    return model, digest.hexdigest()


def _external_files(path: Path, model: onnx.ModelProto) -> list[Path]:
    """The data files of `model`, each proven to lie in its folder."""
    files: dict[Path, None] = {}
    for tensor in _tensors(model.graph):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        location = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        pure = PurePosixPath(location)
        file = path.parent / location
        where = f"{path}: tensor '{tensor.name}': external data '{location}'"
        if not location or pure.is_absolute() or ".." in pure.parts or "\\" in location:
            raise InputError(f"{where} lies outside the model's folder")
        if file.is_symlink() or not file.is_file():
            raise InputError(f"{where} is missing; put the data file beside the model")
        files[file] = None
    return list(files)


def _tensors(graph: onnx.GraphProto) -> Iterable[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def _refuse(path: Path, model: onnx.ModelProto) -> None:
    """Raise for models that are broken or that lt-onnx does not convert."""
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        raise UnsupportedError(
            f"{path}: operator set {opset}; lt-onnx reads {OLDEST_OPSET} and later: "
            "convert it with onnx.version_converter"
        )
    reasons = []
    for node in model.graph.node:
        where = f"node '{node.name or (node.output[0] if node.output else '?')}' ({node.op_type})"
        if node.op_type in CONTROL_FLOW:
            reasons.append(f"{where} is control flow")
        elif node.op_type in QUANTISED:
            reasons.append(f"{where} is quantised: bring the float model")
    if reasons:
        more = f" (and {len(reasons) - 1} more such nodes)" if len(reasons) > 1 else ""
        raise UnsupportedError(f"{path}: {reasons[0]}{more}")
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise InputError(f"{path}: not a valid ONNX model: {first_line(error)}") from None
    except ValueError as error:  # too large for the checker's own serialisation
        logging.getLogger(__name__).debug("checker: %s", error)
    for tensor in _tensors(model.graph):
        if tensor.data_type in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16):
            raise UnsupportedError(
                f"{path}: tensor '{tensor.name}' is half precision; export the network in float32"
            )
        if tensor.data_type == onnx.TensorProto.DOUBLE and len(tensor.dims) > 1:
            raise UnsupportedError(
                f"{path}: tensor '{tensor.name}' is double precision; export it in float32"
            )


def _without_initializer_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop graph inputs that only give an initializer's type (the habit of IR 3)."""
    constant = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in constant]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model


def _fold_constants(path: Path, model: onnx.ModelProto) -> onnx.ModelProto:
    """Evaluate constant subgraphs, drop dead nodes, order the rest."""
    try:
        graph = gs.import_onnx(model)
        graph.toposort()
        graph.fold_constants(size_threshold=None)
        graph.cleanup(remove_unused_graph_inputs=False)
        folded: onnx.ModelProto = gs.export_onnx(graph)
    except Exception as error:
        # graphsurgeon raises bare exceptions of many kinds for graphs that it cannot sort or fold
        raise InputError(f"{path}: its graph cannot be ordered: {first_line(error)}") from None
    folded.ir_version = model.ir_version
    return folded


def _infer(model: onnx.ModelProto) -> tuple[dict[str, Shape], frozenset[str]]:
    """Inferred shapes, and the tensors that hold no floats; what inference misses is absent."""
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    try:
        inferred = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        inferred = model.graph
    values = [*inferred.value_info, *inferred.input, *inferred.output]
    floats = (onnx.TensorProto.UNDEFINED, onnx.TensorProto.FLOAT)
    return (
        {v.name: _shape(v) for v in values if v.type.tensor_type.HasField("shape")},
        frozenset(v.name for v in values if v.type.tensor_type.elem_type not in floats),
    )


def _shape(value: onnx.ValueInfoProto) -> Shape:
    return tuple(
        dim.dim_value if dim.HasField("dim_value") else (dim.dim_param or None)
        for dim in value.type.tensor_type.shape.dim
    )


def _port(path: Path, value: onnx.ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise UnsupportedError(f"{path}: '{value.name}' is not a tensor")
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type or onnx.TensorProto.FLOAT))
    if dtype in (np.float16, np.float64):
        raise UnsupportedError(
            f"{path}: '{value.name}' is {dtype.name}; export the network in float32"
        )
    return Port(value.name, _shape(value), dtype)


def _node(proto: onnx.NodeProto, index: int) -> Node:
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        value = helper.get_attribute_value(attribute)
        if attribute.type == onnx.AttributeProto.STRING:
            value = value.decode()
        elif attribute.type == onnx.AttributeProto.TENSOR:
            value = numpy_helper.to_array(value)
        attributes[attribute.name] = value
    return Node(
        op=proto.op_type,
        name=proto.name or f"{proto.op_type}_{index}",
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=attributes,
        domain="" if proto.domain == "ai.onnx" else proto.domain,
    )
