"""Sign knowledge: which tensors are never negative, whatever the network is given."""

from collections.abc import Mapping

from lt_onnx.target import Array, Node

_ALWAYS = {"Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Abs", "Exp", "Sqrt"}
_IF_ALL = {
    "MaxPool",
    "AveragePool",
    "GlobalAveragePool",
    "GlobalMaxPool",
    "Flatten",
    "Reshape",
    "Transpose",
    "Slice",
    "Pad",
    "Concat",
    "Add",
    "Sum",
    "Mul",
    "Max",
    "Min",
    "Identity",
    "Dropout",
    "Squeeze",
    "Unsqueeze",
    "Gather",
    "Split",
    "DepthToSpace",
    "SpaceToDepth",
    "ReduceMean",
    "ReduceSum",
    "ReduceMax",
    "Expand",
    "Tile",
    "LeakyRelu",
    "PRelu",
    "Elu",
}


def never_negative(node: Node, known: Mapping[str, bool], constants: Mapping[str, Array]) -> bool:
    """Sign knowledge: whether the output of `node` is ≥ 0 for every input of the network."""
    if node.op in _ALWAYS:
        return True
    if node.op == "Clip":
        low = node.attributes.get("min")
        if low is None and len(node.inputs) > 1 and node.inputs[1] in constants:
            low = constants[node.inputs[1]].reshape(-1)[0]
        if low is not None and low >= 0:
            return True
    if node.op in _IF_ALL or node.op == "Clip":
        data = [name for name in node.inputs if name]
        if node.op in (
            "Reshape",
            "Slice",
            "Squeeze",
            "Unsqueeze",
            "Gather",
            "Split",
            "Expand",
            "Tile",
            "ReduceMean",
            "ReduceSum",
            "ReduceMax",
            "Clip",
            "PRelu",
        ):
            data = data[:1]
        if node.op == "Pad" and node.attributes.get("mode", "constant") == "constant":
            fill = node.attributes.get("value", 0.0)
            if len(node.inputs) > 2 and node.inputs[2]:
                value = constants.get(node.inputs[2])
                fill = -1.0 if value is None else float(value.reshape(-1)[0])
            if fill < 0:
                return False
            data = data[:1]
        return all(
            known.get(name, False) or (name in constants and bool((constants[name] >= 0).all()))
            for name in data
        )
    return False
