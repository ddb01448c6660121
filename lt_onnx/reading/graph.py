"""From an ONNX file to plain nodes: everything that a bad file can do is met here.

Comes in: a path. Goes out: the model's nodes in topological order with every constant subgraph
evaluated, ready for `lowering`.
"""

import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from lt_onnx.errors import InputError, UnsupportedError
from lt_onnx.manifest import METADATA_KEY
from lt_onnx.reading.constant_folding import MAX_TENSOR_SIZE, fold
from lt_onnx.reading.float32 import in_float32
from lt_onnx.reading.inference import shape_of
from lt_onnx.reading.inputs import with_known_inputs
from lt_onnx.reading.model_file import load
from lt_onnx.reading.outputs import with_known_outputs
from lt_onnx.reading.protobuf import (
    all_tensors,
    array_of,
    canonical_domain,
    metadata_of,
    names_read,
    operator_sets,
    plain_node,
    replace_items,
)
from lt_onnx.reading.refusals import refuse_invalid, refuse_operators, refuse_parts, refuse_values
from lt_onnx.reading.replace_scalers import replace_scalers
from lt_onnx.reading.topology import sort_nodes
from lt_onnx.runtime import value_info
from lt_onnx.target import Array, Port, Target, is_standard_domain

MIN_LARGE_BYTES = 1 << 18  # from there on a weight is not copied through every step


def read_graph(path: Path) -> Target:
    """Read and check the ONNX model at `path`; every step of the target is still a node.

    Raises InputError for a file that cannot be used (missing, truncated, not ONNX, NaN weights,
    external data outside its folder) and UnsupportedError for models that are not float networks.
    """
    model, digest = load(path)
    graph = model.graph
    opsets = operator_sets(model)
    refuse_parts(path, model, opsets)
    # before IR 4 initializers had to be graph inputs too; onnxruntime does not mind, nor do we
    model.ir_version = max(4, model.ir_version)
    for tensor in all_tensors(model):
        array_of(path, tensor)
    was_float32 = not in_float32(model)
    replace_scalers(graph)
    initializers = {tensor.name for tensor in graph.initializer}
    replace_items(graph.input, [v for v in graph.input if v.name not in initializers])
    sort_nodes(path, graph)
    inputs, outputs = ([_port(path, v) for v in ports] for ports in (graph.input, graph.output))
    weights = _set_aside(path, model)
    refuse_invalid(path, model)
    shapes, integers = fold(path, model, opsets)
    refuse_operators(path, model, opsets)
    used = {"", *(canonical_domain(node.domain) for node in graph.node)}
    target = Target(
        path=path,
        sha256=digest,
        name=graph.name,
        inputs=tuple(inputs),
        outputs=tuple(
            replace(port, shape=shapes[port.name], ranked=True)
            if port.name in shapes and not port.ranked
            else port
            for port in outputs
        ),
        steps=tuple(plain_node(path, proto, i) for i, proto in enumerate(graph.node)),
        constants={t.name: array_of(path, t) for t in graph.initializer} | weights,
        shapes=shapes,
        integers=integers,
        is_ticket=METADATA_KEY in metadata_of(model),
        was_float32=was_float32,
        opsets={domain: version for domain, version in opsets.items() if domain in used},
        ir_version=model.ir_version,
    )
    refuse_values(target)
    return with_known_outputs(with_known_inputs(target))


def read_compared(target: Path, other: Path) -> Target:
    """The target of a comparison. Raises InputError as `read_graph`, and where both are swapped."""
    network = read_graph(target)
    if network.is_ticket and other.suffix == ".onnx" and not read_graph(other).is_ticket:
        raise InputError(f"{target}: is a ticket: give its target first, then the ticket")
    return network


def _set_aside(path: Path, model: onnx.ModelProto) -> dict[str, Array]:
    """Take large weights out of the model, so that what follows need not copy them.

    Those that nothing computes with before the network's own data comes in: initializers, and
    ConstantOfShape, which is kept as one number. In the model they become inputs.
    """
    graph = model.graph
    tensors = {t.name: t for t in graph.initializer}
    constant, inner = set(tensors), {value.name for value in graph.output}
    for node in graph.node:
        read = names_read(node)
        if constant.issuperset(read):
            constant.update(node.output)
            inner.update(read)
    weights = {
        name: array_of(path, tensor)
        for name, tensor in tensors.items()
        if name not in inner and tensor.ByteSize() > MIN_LARGE_BYTES
    }
    kept = []
    for node in graph.node:
        value = _filled(path, node, tensors) if inner.isdisjoint(node.output) else None
        if value is None:
            kept.append(node)
        else:
            weights[node.output[0]] = value
    replace_items(graph.node, kept)
    replace_items(graph.initializer, [t for t in graph.initializer if t.name not in weights])
    graph.input.extend(value_info(name, v.dtype, v.shape) for name, v in weights.items())
    return weights


def _filled(
    path: Path, node: onnx.NodeProto, tensors: Mapping[str, onnx.TensorProto]
) -> Array | None:
    """What a large ConstantOfShape makes, as one number seen many times; None for what is none.

    What the checker or onnxruntime would refuse is left to them.
    """
    if node.op_type != "ConstantOfShape" or not is_standard_domain(node.domain):
        return None
    if len(node.input) != 1 or len(node.output) != 1 or node.input[0] not in tensors:
        return None
    shape = array_of(path, tensors[node.input[0]])
    values = [array_of(path, a.t) for a in node.attribute if a.name == "value"]
    value = values[0].reshape(-1)[:1] if values else np.zeros(1, np.float32)
    sizes = shape.reshape(-1).tolist()
    if shape.dtype != np.int64 or len(value) != 1 or min(sizes, default=0) <= 0:
        return None
    size = math.prod(sizes)
    large = size * value.itemsize > MIN_LARGE_BYTES and size <= MAX_TENSOR_SIZE
    return np.broadcast_to(value[0], sizes) if large else None


def _port(path: Path, value: onnx.ValueInfoProto) -> Port:
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        raise UnsupportedError(
            f"{path}: '{value.name}' is not a tensor; export the network without it (skl2onnx: "
            "options={'zipmap': False})"
        )
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(kind.elem_type or onnx.TensorProto.FLOAT))
    except KeyError:
        raise InputError(f"{path}: '{value.name}' is of unknown type {kind.elem_type}") from None
    if dtype in (np.float16, np.float64):
        raise UnsupportedError(
            f"{path}: '{value.name}' is {dtype.name}; export the network in float32"
        )
    return Port(value.name, shape_of(value), dtype, kind.HasField("shape"))
