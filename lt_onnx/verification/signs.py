"""Which tensors of a graph are never negative, whatever the network is given.

In: the graph. Out: names. A collapsed layer whose block has neurons of one sign alone weighs x
where the ticket weighs φ(x): these are the same where x ≥ 0.
"""

from collections.abc import Mapping, Set

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

from lt_onnx.target import is_standard_domain
from lt_onnx.verification.tensors import is_external

NEVER = frozenset("Relu Sigmoid HardSigmoid Softmax Softplus Abs Exp Sqrt EyeLike".split())
IF_ALL = frozenset("Concat Add Sum Mul Max Min Mean".split())  # where no input is negative
IF_FIRST = frozenset(  # where their first input is not: others say what to do with it
    "MaxPool AveragePool GlobalAveragePool GlobalMaxPool Flatten Transpose Pad Identity Dropout "
    "DepthToSpace SpaceToDepth LeakyRelu Elu PRelu Clip Reshape Slice Squeeze Unsqueeze Gather "
    "Split Expand Tile ReduceMean ReduceSum ReduceMax".split()
)


def nonnegative_tensors(graph: onnx.GraphProto) -> set[str]:
    """Names of the tensors that are ≥ 0 for every input."""
    arrays = {tensor.name: tensor for tensor in graph.initializer if not is_external(tensor)}
    names = {name for name, tensor in arrays.items() if _least(tensor) >= 0}
    for node in graph.node:
        if is_standard_domain(node.domain) and _is_nonnegative(node, names, arrays):
            names.update(
                filter(None, node.output[: len(node.output) if node.op_type == "Split" else 1])
            )
    return names


def _is_nonnegative(
    node: onnx.NodeProto, nonnegative: Set[str], arrays: Mapping[str, TensorProto]
) -> bool:
    """Whether a node's output is ≥ 0 where the tensors `nonnegative` are."""
    if node.op_type == "Clip" and _number(node, "max", 2, arrays, absent=0) < 0:
        return False  # whatever it bounds from below
    if node.op_type in NEVER or (node.op_type == "Clip" and _number(node, "min", 1, arrays) >= 0):
        return True
    if node.op_type == "Pad" and _number(node, "value", 2, arrays, absent=0) < 0:
        return False
    read = {*node.input} if node.op_type in IF_ALL else {*node.input[:1]}
    return node.op_type in IF_ALL | IF_FIRST and bool(read) and read <= nonnegative


def _number(
    node: onnx.NodeProto,
    key: str,
    position: int,
    arrays: Mapping[str, TensorProto],
    *,
    absent: float = -1,
) -> float:
    """A number of a node, an attribute or an input; -1 where it is computed."""
    given = [a.f for a in node.attribute if a.name == key]
    name = node.input[position] if len(node.input) > position else ""
    if name:
        return _least(arrays[name]) if name in arrays else -1
    return float(next(iter(given), absent))


def _least(tensor: TensorProto) -> float:
    """The least of a tensor's numbers; -1 where they cannot be read."""
    try:
        value = numpy_helper.to_array(tensor)
        return float(value.min()) if value.size else np.inf
    except (ValueError, TypeError, KeyError):
        return -1
