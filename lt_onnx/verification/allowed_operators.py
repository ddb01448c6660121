"""Which operators a ticket may have, and what they may be given.

In: a node and the model's operator sets. Out: what no ticket has: operators that its sets do not
have, attributes that the operator does not have, operators of somebody's own, those that train or
that hold a compiled network.
"""

from collections.abc import Iterator, Mapping

import numpy as np
import onnx
from onnx.defs import OpSchema, SchemaError, get_schema, onnx_opset_version

from lt_onnx.reading.protobuf import canonical_domain
from lt_onnx.verification.tensors import Tensor, Tensors

OWN_DOMAINS = frozenset(["", "ai.onnx.ml"])  # of which ONNX has the operators' descriptions
RUNTIME_DOMAINS = frozenset(["com.microsoft"])  # which stock runtimes have
MAX_VERSION = 999  # of any operator set
COMPILED_OPS = frozenset("EPContext".split())
TRAINING_INPUT = {"Dropout": 2}  # is true while training
TRAINING_ATTRIBUTES = {"BatchNormalization": ("training_mode", 0), "Dropout": ("is_test", 1)}


def check_operator_sets(sets: Mapping[str, int]) -> Iterator[str]:
    """What is wrong with the operator sets that a model names."""
    if sets.get("", 0) > onnx_opset_version():
        yield f"operator set {sets['']} is newer than {onnx_opset_version()}, which ONNX has here"
    for domain in sets:
        if domain not in OWN_DOMAINS | RUNTIME_DOMAINS:
            yield f"operator set '{domain}' is somebody's own"
        elif not 0 < sets[domain] <= MAX_VERSION:
            yield f"operator set '{domain}' has the version {sets[domain]}"


def check_operator(
    node: onnx.NodeProto, sets: Mapping[str, int], tensors: Tensors
) -> Iterator[str]:
    """What is wrong with a node's operator, its attributes and the number of its inputs."""
    domain = canonical_domain(node.domain)
    if domain not in sets:
        yield f"is of domain '{domain}', of which the model names no operator set"
    if domain in RUNTIME_DOMAINS:
        if node.op_type in COMPILED_OPS:
            yield "holds a compiled network"
        return
    if domain not in OWN_DOMAINS:
        yield f"is of domain '{domain}', which is somebody's own"
        return
    schema = schema_of(node, sets)
    if schema is None:
        yield f"is of no operator that ONNX knows in set {sets.get(domain, 0)}"
        return
    for attribute in node.attribute:
        known = schema.attributes.get(attribute.name)
        if known is None or int(known.type) != attribute.type:  # type: ignore[call-overload]
            yield f"has an attribute '{attribute.name}', which {node.op_type} has not"
    if len(node.input) > schema.max_input or len(node.output) > schema.max_output:
        yield f"has more inputs or outputs than {node.op_type}"
    yield from _training(node, tensors)


def schema_of(node: onnx.NodeProto, sets: Mapping[str, int]) -> OpSchema | None:
    """What ONNX says of a node's operator in the model's operator sets; None: nothing."""
    domain = canonical_domain(node.domain)
    try:
        return get_schema(node.op_type, min(max(sets.get(domain, 0), 0), MAX_VERSION), domain)
    except SchemaError:
        return None


def _training(node: onnx.NodeProto, tensors: Tensors) -> Iterator[str]:
    """Whether a node computes as in training, at random or with the batch's own moments."""
    place = TRAINING_INPUT.get(node.op_type, len(node.input))
    for name in node.input[place : place + 1]:
        mode = tensors.get(name)
        off = isinstance(mode, Tensor) and mode.dtype == np.bool_ and not mode.array().any()
        if name and not off:
            yield "computes as in training"
    name, off_value = TRAINING_ATTRIBUTES.get(node.op_type, ("", 0))
    if any(attribute.name == name and attribute.i != off_value for attribute in node.attribute):
        yield "computes as in training"
