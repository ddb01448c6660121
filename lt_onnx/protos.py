"""Parts of an ONNX file as plain values; what contradicts itself ends here.

Tensors become arrays whose shape, type and bytes agree, nodes become `Node`.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lt_onnx.errors import InputError
from lt_onnx.target import Array, Node


def tensors_of(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Initializers, and tensors that nodes hold."""
    yield from model.graph.initializer
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t


def array_of(path: Path, tensor: onnx.TensorProto) -> Array:
    """The numbers of a tensor. Raises InputError where type, shape and bytes disagree."""
    if min(tensor.dims, default=0) < 0:
        raise _odd(path, tensor, "has a negative size")
    try:
        value = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError):
        raise _odd(path, tensor, "its type, shape and bytes contradict each other") from None
    if value.shape != tuple(tensor.dims):
        raise _odd(path, tensor, "its shape and bytes contradict each other")
    return np.asarray(value)


def _odd(path: Path, tensor: onnx.TensorProto, what: str) -> InputError:
    shape = list(tensor.dims)[:8]
    return InputError(f"{path}: tensor '{tensor.name}' {shape}: {what}; export the model again")


def plain_node(path: Path, proto: onnx.NodeProto, index: int) -> Node:
    """An operator, its attributes as Python has them. Raises InputError."""
    name = proto.name or f"{proto.op_type}_{index}"
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        try:
            value = helper.get_attribute_value(attribute)
            if attribute.type == onnx.AttributeProto.STRING:
                value = value.decode()
        except ValueError:  # of no kind, or no text
            raise InputError(
                f"{path}: node '{name}' ({proto.op_type}): its attribute '{attribute.name}' "
                "cannot be read; export the model again"
            ) from None
        if attribute.type == onnx.AttributeProto.TENSOR:
            value = array_of(path, value)
        attributes[attribute.name] = value
    return Node(
        op=proto.op_type,
        name=name,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=attributes,
        domain="" if proto.domain == "ai.onnx" else proto.domain,
    )
