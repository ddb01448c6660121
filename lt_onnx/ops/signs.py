"""Sign knowledge: which tensors are never negative, whatever the network is given."""

from collections.abc import Mapping, Set

from lt_onnx.target import Array, Node, Target

ALWAYS = frozenset("Relu Sigmoid HardSigmoid Softmax Softplus Abs Exp Sqrt EyeLike".split())
# where no input is ever negative …
IF_ALL = frozenset(
    "MaxPool AveragePool GlobalAveragePool GlobalMaxPool Flatten Transpose Pad Concat Add Sum Mul "
    "Max Min Identity Dropout DepthToSpace SpaceToDepth LeakyRelu Elu".split()
)
# … or the first one is not, and the others only say what is to be done with it
IF_FIRST = frozenset(
    "Clip Reshape Slice Squeeze Unsqueeze Gather Split Expand Tile ReduceMean ReduceSum ReduceMax "
    "PRelu".split()
)


def nonnegative_tensors(target: Target) -> frozenset[str]:
    """The outputs of nodes of `target` that are ≥ 0 for every input of the network."""
    found: set[str] = set()
    for step in target.steps:
        if isinstance(step, Node) and _never_negative(step, found, target.constants):
            found.update(step.outputs)
    return frozenset(found)


def _never_negative(node: Node, nonnegative: Set[str], constants: Mapping[str, Array]) -> bool:
    """Whether the output of `node` is ≥ 0, where the tensors `nonnegative` are."""

    def number(key: str, position: int, absent: float) -> float:
        """A number of the node, from its attribute or its input; -1 where it is computed."""
        name = node.inputs[position] if len(node.inputs) > position else ""
        if key in node.attributes or not name:
            return float(node.attributes.get(key, absent))
        return float(min(constants[name].flat, default=-1.0)) if name in constants else -1.0

    if node.op in ALWAYS:
        return True
    if node.op == "Clip" and number("min", 1, absent=-1.0) >= 0:
        return True
    if node.op not in IF_ALL | IF_FIRST:
        return False
    data = [name for name in node.inputs if name]
    if node.op == "Pad" and node.attributes.get("mode", "constant") == "constant":
        if number("value", 2, absent=0.0) < 0:
            return False
        data = data[:1]
    return all(
        name in nonnegative or (name in constants and bool((constants[name] >= 0).all()))
        for name in (data[:1] if node.op in IF_FIRST else data)
    )
