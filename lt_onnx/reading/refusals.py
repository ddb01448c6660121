"""What is not read: models that lt-onnx does not convert, and models that are broken.

Unsupported parts are collected and told together; what is broken is told where it is met first.
"""

import copy
import logging
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import onnx

from lt_onnx.errors import InputError, UnsupportedError
from lt_onnx.reading.conditionals import may_be_inlined
from lt_onnx.reading.constant_folding import RANDOM_OPS
from lt_onnx.reading.protobuf import all_graphs, all_tensors, canonical_domain, node_title
from lt_onnx.runtime import first_line
from lt_onnx.target import Array, Node, Target
from lt_onnx.units import name_text

MIN_OPSET = 7
# operators that may read an infinite number: it bounds, or masks, and is no weight
INFINITE_OPS = frozenset(
    "Add Clip Concat Equal Expand Gather Greater Identity Less Max Min Pad ScatterND Slice Sub "
    "Trilu Unsqueeze Where".split()
)
MAX_NAME = 2048  # characters; a ticket's names are this and what they are of
MAX_TOLD = 5  # unsupported parts that one message names
CONTROL_FLOW = frozenset("If Loop Scan SequenceMap".split())
QUANTISED = frozenset(
    "ConvInteger DequantizeLinear DynamicQuantizeLinear MatMulInteger QGemm QLinearAdd QLinearConv "
    "QLinearMatMul QuantizeLinear".split()
)


def refuse_parts(path: Path, model: onnx.ModelProto, opsets: Mapping[str, int]) -> None:
    """Refuse a model for its names, operator sets, operators, functions and tensors' types.

    Raises InputError, and UnsupportedError that tells all that is not converted.
    """
    if any(not isinstance(name, str) for name in _names(model)):  # protobuf gives them as bytes
        bad = next(name for name in _names(model) if not isinstance(name, str))
        raise InputError(f"{path}: the name {bad!r} is not UTF-8; export the model again")
    opset, newest = opsets.get("", 0), onnx.defs.onnx_opset_version()
    if not MIN_OPSET <= opset <= newest:
        mend = f"lt-onnx reads {MIN_OPSET} and later: convert it with onnx.version_converter"
        if opset > newest:
            mend = f"the newest known here is {newest}: export the model with that one"
        raise UnsupportedError(f"{path}: operator set {opset}; {mend}")
    nodes = [node for node in model.graph.node if not may_be_inlined(node)]
    _refuse_all(path, [*_unsupported_nodes(nodes, opsets), *_unsupported_parts(model)])
    for name in _names(model):
        if len(str(name)) > MAX_NAME:
            raise InputError(
                f"{path}: the name '{name_text(str(name))}' has {len(str(name)):,} characters; "
                f"rename it: at most {MAX_NAME:,} are read"
            )


def refuse_operators(path: Path, model: onnx.ModelProto, opsets: Mapping[str, int]) -> None:
    """Refuse what constant folding has left: raises UnsupportedError that tells all of it."""
    _refuse_all(path, _unsupported_nodes(model.graph.node, opsets))


def refuse_invalid(path: Path, model: onnx.ModelProto) -> None:
    """Raises InputError for what onnx.checker refuses, which wants outputs to have shapes.

    A model that is too large for the checker's serialisation is not checked.
    """
    checked = model
    if not all(value.type.tensor_type.HasField("shape") for value in model.graph.output):
        try:
            checked = onnx.shape_inference.infer_shapes(model)
        except (onnx.shape_inference.InferenceError, ValueError, RuntimeError):
            checked = copy.deepcopy(model)
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
    """Refuse a graph of nodes for its training mode, constants and inputs.

    Raises UnsupportedError and InputError.
    """
    nodes = [step for step in graph.steps if isinstance(step, Node)]
    random = (f"{n.title} draws random numbers" for n in nodes if n.op in RANDOM_OPS)
    _refuse_all(graph.path, [*_in_training(nodes, graph.constants), *random])
    for node in nodes:
        if node.op in ("Div", "Mod") and len(node.inputs) == 2:
            divisor = graph.constants.get(node.inputs[1])  # a zero would end the process
            if divisor is not None and divisor.dtype.kind in "iu" and not divisor.all():
                raise InputError(f"{graph.path}: {node.title} divides whole numbers by zero")
    computing = {name for node in nodes if node.op not in INFINITE_OPS for name in node.inputs}
    for name, value in graph.constants.items():
        if value.dtype.kind == "f" and not is_finite(value):
            wrong = ~np.isfinite(value) if name in computing else np.isnan(value)
            if not wrong.any():  # minus infinity, as masks have it
                continue
            index = np.argwhere(wrong)[0].tolist()
            where = f"{graph.path}: tensor '{name}' holds {value[tuple(index)]} at index {index}"
            raise InputError(f"{where}; export the network with finite weights")
    for port in graph.inputs:
        if 0 in port.shape:
            where = f"{graph.path}: input '{port.name}' of shape {list(port.shape)}"
            raise InputError(f"{where} holds nothing; give its axes sizes, or names")


def is_finite(value: Array) -> bool:
    """Whether a float array holds neither NaN nor infinity, cheap for one number everywhere."""
    repeated = value.size > 0 and not any(value.strides)
    return bool(np.isfinite(value[(0,) * value.ndim] if repeated else value).all())


def _refuse_all(path: Path, reasons: Iterable[str]) -> None:
    """Raises UnsupportedError if there are reasons to."""
    told = [*reasons]
    more = f"; and {len(told) - MAX_TOLD:,} more" if len(told) > MAX_TOLD else ""
    if told:
        raise UnsupportedError(f"{path}: {'; '.join(told[:MAX_TOLD])}{more}")


def _names(model: onnx.ModelProto) -> Iterator[object]:
    yield from (entry.domain for entry in model.opset_import)
    for graph in all_graphs(model):
        yield graph.name
        yield from (tensor.name for tensor in graph.initializer)
        for node in graph.node:
            yield from [node.name, node.op_type, node.domain, *node.input, *node.output]
            yield from (attribute.name for attribute in node.attribute)
        for value in [*graph.input, *graph.output, *graph.value_info]:
            yield from [value.name, *(dim.dim_param for dim in value.type.tensor_type.shape.dim)]


def _unsupported_nodes(nodes: Iterable[onnx.NodeProto], opsets: Mapping[str, int]) -> Iterator[str]:
    """Each node that is not converted, with the reason."""
    for node in nodes:
        domain = canonical_domain(node.domain)
        if may_be_inlined(node):
            yield f"{node_title(node)} is control flow, and no shape tells which branch is taken"
        elif node.op_type in CONTROL_FLOW:
            yield f"{node_title(node)} is control flow"
        elif node.op_type in QUANTISED:
            yield f"{node_title(node)} is quantised: bring the float model"
        elif domain not in opsets:
            yield f"{node_title(node)} is of the domain '{domain}', which the model does not import"
        elif not domain and not onnx.defs.has(node.op_type, max_inclusive_version=opsets[""]):
            yield f"{node_title(node)}: operator set {opsets['']} has no such operator"


def _unsupported_parts(model: onnx.ModelProto) -> Iterator[str]:
    """Each part but nodes that is not converted, with the reason."""
    for function in model.functions:
        yield f"function '{function.name}' is the model's own: inline it with onnx.inliner"
    for sparse in model.graph.sparse_initializer:
        yield f"tensor '{sparse.values.name}' is sparse: store it dense"
    for tensor in all_tensors(model):
        if tensor.data_type == onnx.TensorProto.BFLOAT16 and tensor.dims:
            yield f"tensor '{tensor.name}' is bfloat16; export the network in float32"


def _in_training(nodes: Iterable[Node], constants: Mapping[str, Array]) -> Iterator[str]:
    """Each node that would run as in training: BatchNormalization on batches, Dropout at random."""
    read = {name for node in nodes for name in node.inputs if name}
    for node in nodes:
        training: object = False
        if node.op == "BatchNormalization":
            training = read.intersection(node.outputs[1:]) or node.attributes.get("training_mode")
        elif node.op == "Dropout" and any(node.inputs[2:]):
            training = np.any(constants.get(node.inputs[2], True))
        if training and not node.domain:
            yield f"{node.title} is in training mode; export the network for inference"
