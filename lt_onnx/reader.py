"""From an ONNX file to plain nodes: everything that a bad file can do is met here.

Comes in: a path. Goes out: the model's nodes in topological order with every constant subgraph
evaluated, ready for `lowering`. All refusals that can be seen at once are reported at once.
"""

import hashlib
import logging
import math
from collections.abc import Iterable, Mapping
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
from lt_onnx.precision import in_float32
from lt_onnx.runtime import first_line
from lt_onnx.target import Array, Node, Port, Shape
from lt_onnx.wiring import put_in_order, where

OLDEST_OPSET = 7
CONTROL_FLOW = {"If", "Loop", "Scan", "SequenceMap"}
QUANTISED = {
    "QuantizeLinear", "DequantizeLinear", "QLinearConv", "QLinearMatMul", "ConvInteger",
    "MatMulInteger", "DynamicQuantizeLinear", "QLinearAdd", "QGemm",
}  # fmt: skip
PROTO_LIMIT = 2**31 - 1
LARGE = 1 << 18  # bytes from which a weight is not carried through every step

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
    _refuse_old(path, model)
    in_float32(model)
    model = _without_initializer_inputs(model)
    put_in_order(path, model)
    weights = _set_aside(model)
    _refuse(path, model, weights)
    model = _fold_constants(path, model)
    shapes, integers = _infer(model)
    given = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(given)
    constants = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer} | weights
    for name, value in constants.items():
        few = value if any(value.strides) else value[(0,) * value.ndim]  # one number everywhere
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(few).all():
            bad = np.argwhere(~np.isfinite(value))[0].tolist()
            raise InputError(
                f"{path}: tensor '{name}' holds {value[tuple(bad)]} at index {bad}; "
                "export the network with finite weights"
            )
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


def _refuse_old(path: Path, model: onnx.ModelProto) -> None:
    """Raise for operator sets of another age."""
    opset = max((o.version for o in model.opset_import if o.domain in ("", "ai.onnx")), default=0)
    if opset < OLDEST_OPSET:
        raise UnsupportedError(
            f"{path}: operator set {opset}; lt-onnx reads {OLDEST_OPSET} and later: "
            "convert it with onnx.version_converter"
        )


def _refuse(path: Path, model: onnx.ModelProto, weights: Mapping[str, Array]) -> None:
    """Raise for models that are broken or that lt-onnx does not convert."""
    reasons = []
    for node in model.graph.node:
        if node.op_type in CONTROL_FLOW:
            reasons.append(f"{where(node)} is control flow")
        elif node.op_type in QUANTISED:
            reasons.append(f"{where(node)} is quantised: bring the float model")
    if reasons:
        more = f" (and {len(reasons) - 1} more such nodes)" if len(reasons) > 1 else ""
        raise UnsupportedError(f"{path}: {reasons[0]}{more}")
    try:
        onnx.checker.check_model(_with_output_shapes(model))
    except onnx.checker.ValidationError as error:
        raise InputError(f"{path}: not a valid ONNX model: {first_line(error)}") from None
    except ValueError as error:  # too large for the checker's own serialisation
        logging.getLogger(__name__).debug("checker: %s", error)
    kinds = [(t.name, t.data_type, len(t.dims)) for t in _tensors(model.graph)]
    kinds += [(k, helper.np_dtype_to_tensor_dtype(v.dtype), v.ndim) for k, v in weights.items()]
    for name, kind, rank in kinds:
        if kind == onnx.TensorProto.BFLOAT16 and rank > 0:
            raise UnsupportedError(
                f"{path}: tensor '{name}' is bfloat16; export the network in float32"
            )


def _with_output_shapes(model: onnx.ModelProto) -> onnx.ModelProto:
    """For the checker, which wants outputs to have shapes; runtimes do without."""
    if all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        return model
    try:
        inferred = onnx.shape_inference.infer_shapes(model)
    except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
        inferred = model
    known = onnx.ModelProto()
    known.CopyFrom(inferred)
    for value in known.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.shape.SetInParent()
    return known


def _without_initializer_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop graph inputs that only give an initializer's type (the habit of IR 3)."""
    constant = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in constant]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model


def _set_aside(model: onnx.ModelProto) -> dict[str, Array]:
    """Take large weights out of the model, so that what follows need not copy them.

    Those that nothing computes with before the network's own data comes in: initializers, and
    ConstantOfShape, which is kept as one number. In the model they become inputs.
    """
    small = {t.name: t for t in model.graph.initializer}
    known = set(small)
    inner: set[str] = {value.name for value in model.graph.output}
    for node in model.graph.node:  # in order, or else nothing is found and everything is copied
        if all(name in known for name in node.input if name) and node.op_type != "Constant":
            known.update(node.output)
            inner.update(node.input)
    found: dict[str, Array] = {}
    for name, tensor in small.items():
        if name not in inner and tensor.ByteSize() > LARGE:
            found[name] = numpy_helper.to_array(tensor)
    filled = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape" or node.domain not in ("", "ai.onnx"):
            continue
        if node.output[0] in inner or node.input[0] not in small:
            continue
        shape = numpy_helper.to_array(small[node.input[0]]).tolist()
        values = [numpy_helper.to_array(a.t) for a in node.attribute if a.name == "value"]
        value = values[0].reshape(-1)[0] if values else np.float32(0)
        if math.prod(shape) * value.itemsize > LARGE:
            found[node.output[0]] = np.broadcast_to(value, shape)
            filled.append(node)
    for node in filled:
        model.graph.node.remove(node)
    kept = [t for t in model.graph.initializer if t.name not in found]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    for name, value in found.items():
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        model.graph.input.append(helper.make_tensor_value_info(name, kind, value.shape))
    return found


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
