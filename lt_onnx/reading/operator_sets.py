"""Operators that mean something else in a later operator set.

In: nodes, as an operator set has them. Out: those that cannot stand as they are in another one.
"""

from collections.abc import Mapping

import onnx
from onnx import helper

from lt_onnx.reading.protobuf import node_title
from lt_onnx.target import is_standard_domain

SEEDED = 18  # the least that has what a generator needs: BitwiseAnd, BitwiseXor

REDUCTIONS = frozenset(
    "ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean ReduceMin ReduceProd "
    "ReduceSumSquare".split()
)
ALWAYS = {  # from which set on: whatever the node has
    **dict.fromkeys("Clip Pad Resize Scatter".split(), 11),
    **dict.fromkeys("Slice TopK Upsample".split(), 10),
    **dict.fromkeys("Unsqueeze Split".split(), 13),
    "Dropout": 12,
    "RoiAlign": 16,
    "BatchNormalization": 9,
}
WITH_AXES = {**dict.fromkeys(REDUCTIONS, 18), "ReduceSum": 13, "Squeeze": 13}
ALONG_LAST = frozenset("Softmax LogSoftmax Hardmax".split())  # flattened behind the axis before 13


def changed_nodes(model: onnx.ModelProto, version: int) -> list[str]:
    """Titles of the nodes, of the operator set `version`, that mean something else in SEEDED."""
    ranks = {
        value.name: len(value.type.tensor_type.shape.dim)
        for value in model.graph.output
        if value.type.tensor_type.HasField("shape")
    }
    return [node_title(node) for node in model.graph.node if _is_changed(node, version, ranks)]


def _is_changed(node: onnx.NodeProto, version: int, ranks: Mapping[str, int]) -> bool:
    """Whether a node is another one in the set SEEDED; `ranks` are of tensors, where known."""
    if not is_standard_domain(node.domain) or version >= SEEDED:
        return False
    attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
    op = node.op_type
    if op in ALONG_LAST and version < 13:
        last = ranks.get(node.output[0], 0) - 1
        axis = attributes.get("axis", 1)
        return axis != last and not (axis == -1 and "axis" in attributes)
    if op == "Split":
        return version < 13 or len(node.input) < 2  # it must say how many outputs there are
    if op in WITH_AXES:
        return version < WITH_AXES[op] and "axes" in attributes
    return version < ALWAYS.get(op, 0)
