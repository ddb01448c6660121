"""What is not read: models that lt-onnx does not convert, and models that are broken.

Unsupported parts are collected and told together; what is broken is told where it is met first.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx

from lt_onnx.errors import InputError, UnsupportedError
from lt_onnx.reading.protobuf import all_tensors, canonical_domain, node_title
from lt_onnx.runtime import first_line
from lt_onnx.target import Array, Node, Target

MIN_OPSET = 7
MAX_TOLD = 5  # unsupported parts that one message names
CONTROL_FLOW = frozenset("If Loop Scan SequenceMap".split())
QUANTISED = frozenset(
    "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QGemm QLinearAdd QLinearConv "
    "QLinearMatMul QuantizeLinear".split()
)


def refuse_unsupported(path: Path, reasons: Iterable[str]) -> None:
    """Raises UnsupportedError that tells the reasons, if there are any, in one line."""
    told = [*reasons]
    more = f"; and {len(told) - MAX_TOLD:,} more" if len(told) > MAX_TOLD else ""
    if told:
        raise UnsupportedError(f"{path}: {'; '.join(told[:MAX_TOLD])}{more}")


def unsupported_parts(model: onnx.ModelProto, opsets: Mapping[str, int]) -> Iterator[str]:
    """Why operators, functions and tensors of `model` are not converted."""
    for node in model.graph.node:
        domain = canonical_domain(node.domain)
        if node.op_type in CONTROL_FLOW:
            yield f"{node_title(node)} is control flow"
        elif node.op_type in QUANTISED:
            yield f"{node_title(node)} is quantised: bring the float model"
        elif domain not in opsets:
            yield f"{node_title(node)} is of the domain '{domain}', which the model does not import"
        elif not domain and not onnx.defs.has(node.op_type, max_inclusive_version=opsets[""]):
            yield f"{node_title(node)}: operator set {opsets['']} has no such operator"
    for function in model.functions:
        yield f"function '{function.name}' is the model's own: inline it with onnx.inliner"
    for sparse in model.graph.sparse_initializer:
        yield f"tensor '{sparse.values.name}' is sparse: store it dense"
    for tensor in all_tensors(model):
        if tensor.data_type == onnx.TensorProto.BFLOAT16 and tensor.dims:
            yield f"tensor '{tensor.name}' is bfloat16; export the network in float32"


def training_nodes(nodes: Sequence[Node], constants: Mapping[str, Array]) -> Iterator[str]:
    """Which nodes would run as in training."""
    read = {name for node in nodes for name in node.inputs if name}
    for node in nodes:
        match node.op:
            case "BatchNormalization":
                flag = node.attributes.get("training_mode", 0)
                training = bool(flag) or not read.isdisjoint(node.outputs[1:])
            case "Dropout":
                switch = "".join(node.inputs[2:3])
                training = bool(switch) and bool(np.any(constants.get(switch, True)))
            case _:
                continue
        if training and not node.domain:
            yield f"{node.title} is in training mode; export the network for inference"


def refuse_opsets(path: Path, opsets: Mapping[str, int]) -> None:
    """Raises UnsupportedError for an operator set of another age."""
    opset, newest = opsets.get("", 0), onnx.defs.onnx_opset_version()
    if opset < MIN_OPSET:
        mend = f"lt-onnx reads {MIN_OPSET} and later: convert it with onnx.version_converter"
        raise UnsupportedError(f"{path}: operator set {opset}; {mend}")
    if opset > newest:
        mend = f"the newest known here is {newest}: export the model with that one"
        raise UnsupportedError(f"{path}: operator set {opset}; {mend}")


def refuse_names(path: Path, model: onnx.ModelProto) -> None:
    """Raises InputError for names that are no text; protobuf hands them out as bytes."""
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


def refuse_invalid(path: Path, model: onnx.ModelProto) -> None:
    """Raises InputError for what onnx.checker refuses; of outputs without shapes it need not know.

    Of a model that is too large for the checker's serialisation nothing is said.
    """
    checked = model
    if not all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        checked = onnx.ModelProto()
        try:
            checked.CopyFrom(onnx.shape_inference.infer_shapes(model))
        except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
            checked.CopyFrom(model)
        for value in checked.graph.output:
            if value.type.HasField("tensor_type"):
                value.type.tensor_type.shape.SetInParent()
    try:
        onnx.checker.check_model(checked)
    except onnx.checker.ValidationError as error:
        raise InputError(f"{path}: not a valid ONNX model: {first_line(error)}") from None
    except ValueError as error:
        logging.getLogger(__name__).debug("checker: %s", error)


def refuse_values(graph: Target) -> None:
    """Raises InputError for constants and inputs that nothing can be computed with."""
    for node in graph.steps:
        if isinstance(node, Node) and node.op in ("Div", "Mod") and len(node.inputs) == 2:
            divisor = graph.constants.get(node.inputs[1])  # a zero would end the process
            if divisor is not None and divisor.dtype.kind in "iu" and not divisor.all():
                raise InputError(f"{graph.path}: {node.title} divides whole numbers by zero")
    for name, value in graph.constants.items():
        if value.dtype.kind == "f" and not is_finite(value):
            index = np.argwhere(~np.isfinite(value))[0].tolist()
            raise InputError(
                f"{graph.path}: tensor '{name}' holds {value[tuple(index)]} at index {index}; "
                "export the network with finite weights"
            )
    for port in graph.inputs:
        if 0 in port.shape:
            raise InputError(
                f"{graph.path}: input '{port.name}' of shape {list(port.shape)} holds nothing; "
                "give its axes sizes, or names"
            )


def is_finite(value: Array) -> bool:
    """Whether a float array holds neither NaN nor infinity, cheap for one number everywhere."""
    repeated = value.size > 0 and not any(value.strides)
    return bool(np.isfinite(value[(0,) * value.ndim] if repeated else value).all())
