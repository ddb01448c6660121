"""Which of a network's outputs are no class scores, as far as the operators tell that make them.

Of an output [N, k] the highest entry is taken for a class, unless it is an embedding, which the
network brings to length 1, or stands beside outputs of which some are behind a Softmax: then the
classes are those, and what is left are boxes, landmarks and the like.
"""

from collections.abc import Mapping
from dataclasses import replace

from lt_onnx.reading.inputs import ARRANGING
from lt_onnx.target import Array, Node, Port, Target, step_nodes

CHOOSING = frozenset("Softmax LogSoftmax Hardmax".split())
LENGTHS = frozenset("ReduceL2 ReduceSumSquare ReduceSum".split())  # the last of squares
OF_LENGTHS = frozenset("Add Clip Expand Max Pow Reciprocal Sqrt".split()) | ARRANGING


def with_known_outputs(target: Target) -> Target:
    """The target, whose ports say which outputs are no class scores."""
    nodes = [node for step in target.steps for node in step_nodes(step)[0]]
    makers = {name: node for node in nodes for name in node.outputs}
    constants = target.constants
    behind = {port.name: _maker(port.name, makers) for port in target.outputs}
    choosing = {n: node for n, node in behind.items() if node and node.op in CHOOSING}
    chosen = {*choosing, *(_origin(node.inputs[0], makers) for node in choosing.values())}

    def scores(port: Port) -> bool:
        node = behind[port.name]
        if chosen:
            return port.name in chosen or _origin(port.name, makers) in chosen
        return node is None or not _is_of_length_1(node, makers, constants)

    return replace(target, outputs=tuple(replace(p, scores=scores(p)) for p in target.outputs))


def _origin(name: str, makers: Mapping[str, Node]) -> str:
    """The tensor that `name` is another arrangement of."""
    while (node := makers.get(name)) is not None and node.op in ARRANGING:
        name = node.inputs[0]
    return name


def _maker(name: str, makers: Mapping[str, Node]) -> Node | None:
    """The node whose numbers a tensor holds."""
    return makers.get(_origin(name, makers))


def _is_of_length_1(node: Node, makers: Mapping[str, Node], constants: Mapping[str, Array]) -> bool:
    """Whether it divides its input by the length of that, in the forms that exporters write."""
    if node.op == "LpNormalization":
        return True
    if node.op not in ("Div", "Mul"):
        return False
    pairs = [node.inputs] if node.op == "Div" else [node.inputs, node.inputs[::-1]]
    return any(_is_length(of, by, makers, constants) for of, by in pairs)


def _is_length(
    of: str, name: str, makers: Mapping[str, Node], constants: Mapping[str, Array]
) -> bool:
    """Whether tensor `name` comes from the squares of `of`, added."""
    while (node := makers.get(name)) is not None and node.op in OF_LENGTHS:
        name = next((n for n in node.inputs if n and n not in constants), "")
    if node is None or node.op not in LENGTHS:
        return False
    if node.op != "ReduceSum":
        return node.inputs[0] == of
    square = makers.get(node.inputs[0])
    return square is not None and square.op in ("Mul", "Pow") and square.inputs[0] == of
