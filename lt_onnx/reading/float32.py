"""Half and double precision networks as float32 ones: the ticket computes in float32."""

from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lt_onnx.reading.protobuf import all_graphs, all_tensors
from lt_onnx.target import is_standard_domain

OTHER_FLOATS = (TensorProto.FLOAT16, TensorProto.DOUBLE)
TYPE_ATTRIBUTES = {"to", "dtype"}


def in_float32(model: onnx.ModelProto) -> bool:
    """Rewrite weights, constants, casts and ports of `model` as float32, if its weights are not.

    Returns whether anything was changed. Numbers beyond float32's range become infinite and are
    refused where weights are checked.
    """
    tensors = list(all_tensors(model))
    if not any(t.data_type in OTHER_FLOATS and len(t.dims) > 1 for t in tensors):
        return False
    for tensor in tensors:
        if tensor.data_type in OTHER_FLOATS:
            with np.errstate(over="ignore"):
                value = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    for graph in all_graphs(model):
        for value_info in (*graph.input, *graph.output, *graph.value_info):
            kind = value_info.type.tensor_type
            if kind.elem_type in OTHER_FLOATS:
                kind.elem_type = TensorProto.FLOAT
        for attribute in (a for node in graph.node for a in node.attribute):
            if attribute.name in TYPE_ATTRIBUTES and attribute.i in OTHER_FLOATS:
                attribute.CopyFrom(helper.make_attribute(attribute.name, TensorProto.FLOAT))
    return True


def hand_on_floats(graph: onnx.GraphProto, types: Mapping[str, int]) -> None:
    """Make a Cast to float32 of what is of float32 an Identity; `types` are those of tensors."""
    for node in graph.node:
        if node.op_type == "Cast" and is_standard_domain(node.domain):
            to = next((a.i for a in node.attribute if a.name == "to"), None)
            if {types.get(name) for name in node.input} == {to} == {TensorProto.FLOAT}:
                node.op_type = "Identity"
                del node.attribute[:]
