"""From an ONNX file to plain nodes: everything that a bad file can do is met here.

Comes in: a path. Goes out: the model's nodes in topological order with every constant subgraph
evaluated, ready for `lowering`. All refusals that can be seen at once are reported at once.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from lt_onnx.errors import InputError, UnsupportedError
from lt_onnx.reading.constant_folding import LARGEST, fold, shape_of
from lt_onnx.reading.float32 import in_float32
from lt_onnx.reading.model_file import load
from lt_onnx.reading.protobuf import all_tensors, array_of, operator_sets, plain_node
from lt_onnx.reading.topology import put_in_order, where
from lt_onnx.runtime import first_line
from lt_onnx.target import Array, Node, Port, Shape, is_standard_domain

OLDEST_OPSET = 7
CONTROL_FLOW = {"If", "Loop", "Scan", "SequenceMap"}
QUANTISED = {
    "QuantizeLinear",
    "DequantizeLinear",
    "QLinearConv",
    "QLinearMatMul",
    "ConvInteger",
    "MatMulInteger",
    "DynamicQuantizeLinear",
    "QLinearAdd",
    "QGemm",
}
LARGE = 1 << 18  # bytes from which a weight is not carried through every step


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
    _refuse_names(path, model)
    # before IR 4 initializers had to be graph inputs too; onnxruntime does not mind, nor do we
    model.ir_version = max(4, model.ir_version)
    opsets = _opsets(path, model)
    for tensor in all_tensors(model):
        array_of(path, tensor)
    in_float32(model)
    model = _without_initializer_inputs(model)
    put_in_order(path, model)
    weights = _set_aside(path, model)
    _refuse(path, model, weights)
    shapes, integers = fold(path, model, opsets)
    given = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(given)
    constants = {t.name: array_of(path, t) for t in model.graph.initializer} | weights
    _refuse_division(path, model, constants)
    for name, value in constants.items():
        few = value if any(value.strides) else value[(0,) * value.ndim]  # one number everywhere
        if np.issubdtype(value.dtype, np.floating) and not np.isfinite(few).all():
            bad = np.argwhere(~np.isfinite(value))[0].tolist()
            raise InputError(
                f"{path}: tensor '{name}' holds {value[tuple(bad)]} at index {bad}; "
                "export the network with finite weights"
            )
    for value in model.graph.input:
        if 0 in shape_of(value):
            raise InputError(
                f"{path}: input '{value.name}' of shape {list(shape_of(value))} holds nothing; "
                "give its axes sizes, or names"
            )
    return Graph(
        path=path,
        sha256=digest,
        name=model.graph.name,
        inputs=tuple(_port(path, value) for value in model.graph.input),
        outputs=tuple(_port(path, value) for value in model.graph.output),
        nodes=tuple(plain_node(path, proto, i) for i, proto in enumerate(model.graph.node)),
        constants=constants,
        shapes=shapes,
        integers=integers,
        opsets=opsets,
        ir_version=model.ir_version,
    )


def _refuse_names(path: Path, model: onnx.ModelProto) -> None:
    """Raise for names that are no text; protobuf hands them out as bytes."""
    graph = model.graph
    for node in graph.node:
        names = [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [attribute.name for attribute in node.attribute]
        if not all(isinstance(name, str) for name in names):
            raise InputError(
                f"{path}: node '{node.name!s}' ({node.op_type!s}) has a name that is not UTF-8; "
                "export the model again"
            )
    values = [*graph.input, *graph.output, *graph.value_info]
    names = [graph.name, *[v.name for v in values], *[t.name for t in graph.initializer]]
    names += [dim.dim_param for v in values for dim in v.type.tensor_type.shape.dim]
    names += [o.domain for o in model.opset_import]
    if not all(isinstance(name, str) for name in names):
        raise InputError(f"{path}: a tensor's name is not UTF-8; export the model again")


def _opsets(path: Path, model: onnx.ModelProto) -> dict[str, int]:
    """Operator sets by domain. Raises UnsupportedError for those of another age."""
    versions = operator_sets(model)
    opset = versions.get("", 0)
    if opset < OLDEST_OPSET:
        raise UnsupportedError(
            f"{path}: operator set {opset}; lt-onnx reads {OLDEST_OPSET} and later: "
            "convert it with onnx.version_converter"
        )
    newest = onnx.defs.onnx_opset_version()
    if opset > newest:
        raise UnsupportedError(
            f"{path}: operator set {opset}; the newest known here is {newest}: "
            "export the model with that one"
        )
    return versions


def _refuse(path: Path, model: onnx.ModelProto, weights: Mapping[str, Array]) -> None:
    """Raise for models that are broken or that lt-onnx does not convert."""
    reasons = []
    for node in model.graph.node:
        if node.op_type in CONTROL_FLOW:
            reasons.append(f"{where(node)} is control flow")
        elif node.op_type in QUANTISED:
            reasons.append(f"{where(node)} is quantised: bring the float model")
    if model.functions:
        reasons.append(
            f"function '{model.functions[0].name}' is the model's own: inline it with onnx.inliner"
        )
    for sparse in model.graph.sparse_initializer[:1]:
        reasons.append(f"tensor '{sparse.values.name}' is sparse: store it dense")
    if reasons:
        more = f" (and {len(reasons) - 1} more such nodes)" if len(reasons) > 1 else ""
        raise UnsupportedError(f"{path}: {reasons[0]}{more}")
    try:
        onnx.checker.check_model(_with_output_shapes(model))
    except onnx.checker.ValidationError as error:
        raise InputError(f"{path}: not a valid ONNX model: {first_line(error)}") from None
    except ValueError as error:  # too large for the checker's own serialisation
        logging.getLogger(__name__).debug("checker: %s", error)
    kinds = [(t.name, t.data_type, len(t.dims)) for t in all_tensors(model)]
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


def _refuse_division(path: Path, model: onnx.ModelProto, constants: Mapping[str, Array]) -> None:
    """Raise for whole numbers divided by a constant zero, which ends the process."""
    for node in model.graph.node:
        if node.op_type in ("Div", "Mod") and len(node.input) == 2:
            by = constants.get(node.input[1])
            if by is not None and np.issubdtype(by.dtype, np.integer) and not by.all():
                raise InputError(f"{path}: {where(node)} divides whole numbers by zero")


def _without_initializer_inputs(model: onnx.ModelProto) -> onnx.ModelProto:
    """Drop graph inputs that only give an initializer's type (the habit of IR 3)."""
    constant = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in constant]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    return model


def _set_aside(path: Path, model: onnx.ModelProto) -> dict[str, Array]:
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
            found[name] = array_of(path, tensor)
    filled = []
    for node in model.graph.node:
        if node.op_type != "ConstantOfShape" or not is_standard_domain(node.domain):
            continue
        if len(node.input) != 1 or len(node.output) != 1 or node.output[0] in inner:
            continue
        if node.input[0] not in small:
            continue
        shape = array_of(path, small[node.input[0]])
        values = [array_of(path, a.t) for a in node.attribute if a.name == "value"]
        value = values[0].reshape(-1)[:1] if values else np.zeros(1, np.float32)
        sizes = shape.reshape(-1).tolist()
        if shape.dtype != np.int64 or len(value) != 1 or not min(sizes, default=0) > 0:
            continue  # for the checker, or for onnxruntime, to tell
        if math.prod(sizes) * value.itemsize > LARGE and math.prod(sizes) <= LARGEST:
            found[node.output[0]] = np.broadcast_to(value[0], sizes)
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


def _port(path: Path, value: onnx.ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise UnsupportedError(f"{path}: '{value.name}' is not a tensor")
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type or onnx.TensorProto.FLOAT))
    except KeyError:
        raise InputError(f"{path}: '{value.name}' is of unknown type {kind.elem_type}") from None
    if dtype in (np.float16, np.float64):
        raise UnsupportedError(
            f"{path}: '{value.name}' is {dtype.name}; export the network in float32"
        )
    return Port(value.name, shape_of(value), dtype)
