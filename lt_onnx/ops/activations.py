"""The activations of a network: one operator, or the few that make one function of one tensor.

SiLU is often exported as x·Sigmoid(x), Mish as x·Tanh(Softplus(x)), GELU by its Erf. Such a group
is one activation: φ(x) − φ(−x) is then exactly linear where that of its parts is not.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from lt_onnx.ops.activation_fit import LocalModel, Use, fit
from lt_onnx.ops.table import ACTIVATIONS, ELEMENTWISE, MERGING
from lt_onnx.runtime import Program
from lt_onnx.target import Floats, Node, Target

MAX_OPERATORS = 8  # of one activation
MAX_EXACT_ERROR = 1e-6  # of a local model, where the error is float32's own
AFFINE = frozenset("Add Sub Mul Div Neg".split())


@dataclass(frozen=True)
class Activation:
    """Nodes that together are a function of the tensor `input`, the last one its value."""

    nodes: tuple[Node, ...]
    input: str

    @property
    def output(self) -> str:
        """The tensor of its value."""
        return self.nodes[-1].outputs[0]

    @property
    def title(self) -> str:
        """Its operators, as in Sigmoid·Mul."""
        return "·".join(node.op for node in self.nodes)

    def kind(self, target: Target) -> tuple[object, ...]:
        """Equal for activations that are the same function."""
        names: dict[str, object] = {self.input: "x"}
        kinds = []
        for number, node in enumerate(self.nodes):
            values = [target.constants.get(name) for name in node.inputs]
            inputs = tuple(
                names.get(name, name) if value is None else value.tobytes()
                for name, value in zip(node.inputs, values, strict=True)
            )
            kinds.append((node.op, sorted((k, str(v)) for k, v in node.attributes.items()), inputs))
            names[node.outputs[0]] = str(number)
        return tuple(map(str, kinds))

    def constants(self, target: Target) -> list[str]:
        """The constants that it reads."""
        return [n for node in self.nodes for n in node.inputs if n in target.constants]

    def at(self, name: str, source: str, output: str) -> tuple[Node, ...]:
        """The same function of another tensor."""
        names, nodes = {self.input: source, self.output: output}, []
        counts = Counter[str]()
        for node in self.nodes:
            counts[node.op] += 1
            title = f"{name}/{node.op}" + (f"_{counts[node.op]}" if counts[node.op] > 1 else "")
            inputs = tuple(names.get(n, n) for n in node.inputs)
            outputs = (names.setdefault(node.outputs[0], title),)
            nodes.append(replace(node, name=title, inputs=inputs, outputs=outputs))
        return tuple(nodes)

    def function(self, target: Target) -> Callable[[Floats], Floats]:
        """Its values, as a function of flat arrays."""
        like = {self.input: np.zeros(1, np.float32)}
        constants, opsets, outputs = target.constants, target.opsets, [self.output]
        program = Program(self.nodes, like, constants=constants, outputs=outputs, opsets=opsets)
        return lambda x: np.asarray(program({self.input: x})[0])


SMALLEST_LIMIT = 1e-3  # of an activation from below that is more than 0
RELU = Activation((Node("Relu", "Relu", ("x",), ("y",)),), "x")


def after(tensor: str, target: Target) -> Activation | None:
    """The activation that reads `tensor`, if one does: its nodes read nothing else."""
    nodes = _functions_of(tensor, target)
    affine = {tensor}
    for node in nodes:
        data = [n for n in node.inputs if n and n not in target.constants]
        if len(set(data)) > 1 and any(n in affine for n in data):  # x joins a function of x
            needed = _ancestors(node, nodes)
            if any(n.op in ACTIVATIONS or n.op == "Erf" for n in needed):
                return Activation(tuple(needed), tensor)
        if node.op in AFFINE and all(n in affine for n in data):
            affine.add(node.outputs[0])
    own = (n for n in nodes if n.op in ACTIVATIONS and n.inputs[0] == tensor)
    first = next((n for n in own if not _is_guard(n, target)), None)
    return None if first is None else Activation((first,), tensor)


def _is_guard(node: Node, target: Target) -> bool:
    """Whether it keeps a divisor from zero, as the length of what is brought to length 1."""
    if node.op != "Clip":
        return False
    least = target.constants.get("".join(node.inputs[1:2]), node.attributes.get("min", 0.0))
    return bool(np.size(least) == 1 and 0 < float(np.ravel(least)[0]) < SMALLEST_LIMIT)


def _functions_of(tensor: str, target: Target) -> list[Node]:
    """Elementwise nodes that depend on `tensor` and scalars alone, the next few."""
    reach = {tensor}
    nodes: list[Node] = []
    readers = target.consumers
    waiting = list(readers.get(tensor, []))
    while waiting and len(nodes) < MAX_OPERATORS:
        step = waiting.pop(0)
        if not isinstance(step, Node) or step.domain or step in nodes:
            continue
        others = [n for n in step.inputs if n and n not in reach]
        scalars = all(n in target.constants and target.constants[n].size == 1 for n in others)
        if step.op in ELEMENTWISE | MERGING and scalars:
            nodes.append(step)
            reach.add(step.outputs[0])
            waiting += readers.get(step.outputs[0], [])
    return nodes


def _ancestors(node: Node, nodes: list[Node]) -> list[Node]:
    """`node` and those of `nodes` that it depends on, in their order."""
    needed, names = [node], set(node.inputs)
    for other in reversed(nodes[: nodes.index(node)]):
        if other.outputs[0] in names:
            needed.insert(0, other)
            names |= set(other.inputs)
    return needed


def block_activation(target: Target) -> tuple[Activation, LocalModel]:
    """φ of the two-for-one blocks: the target's activation that hands on its input best.

    One that is piecewise linear, as ReLU is, goes before those that are linear only in pairs, and
    those before others that are linear in a small range; of equals the commonest is taken. A
    hard-swish beside a ReLU would bring an error of its own into every block.
    """
    readers = [after(tensor, target) for tensor in target.consumers]
    activations = [activation for activation in readers if activation is not None]
    for outer in list(activations):  # the Sigmoid inside a SiLU is none of its own
        if len(outer.nodes) > 1:
            inside = {node.name for node in outer.nodes}
            activations = [a for a in activations if a is outer or a.nodes[0].name not in inside]
    counts = Counter(activation.kind(target) for activation in activations)
    usable: list[tuple[Activation, LocalModel]] = []
    for kind, _ in counts.most_common():
        activation = next(a for a in activations if a.kind(target) == kind)
        model = fit(activation.function(target))
        if model is not None:
            usable.append((activation, model))
    linear = LocalModel(Use.SPLIT, 1.0, 0.0, 0.0, math.inf, 0.0)
    usable.sort(key=lambda pair: (pair[1].error > MAX_EXACT_ERROR, pair[1].use is not Use.SPLIT))
    return next(iter(usable), (RELU, linear))


def next_one(tensor: str, target: Target) -> Activation | None:
    """The activation that `tensor` meets next, through operators that change little."""
    for _ in target.steps:
        activation = after(tensor, target)
        nodes = [step for step in target.consumers.get(tensor, []) if isinstance(step, Node)]
        if activation is not None or not nodes or any(node.op == "PRelu" for node in nodes):
            return activation
        tensor = nodes[0].outputs[0]
    return None


def response(activation: Activation | None, target: Target) -> tuple[Floats, Floats]:
    """Pre-activations h over many sizes, both signs, and their values φ(h); φ(h) = h without."""
    powers = 2.0 ** np.arange(-24, 6.25, 0.25)
    h: Floats = np.concatenate([powers, -powers]).astype(np.float32)
    return h, h if activation is None else activation.function(target)(h)
