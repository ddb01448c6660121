"""Normalizations without parameters: their scale and shift become a Mul and an Add behind them.

γ and β of LayerNormalization, RMSNormalization, InstanceNormalization and GroupNormalization are
replaced by ones and zeros that the graph makes,

    y = γ · normalized(x) + β,

so that they can go into the layers that read y (`fuse_into_readers`). What is one or zero
everywhere needs no node of its own, as where a GroupNorm is exported as an InstanceNormalization.
"""

from dataclasses import replace

from lt_onnx.reading.made_tensors import MIN_OPSET, filled
from lt_onnx.reading.rewriting import Network, Refusal, Rewrite, RuleResult
from lt_onnx.target import Array, Node, Step

NORMALIZATIONS = frozenset(
    "GroupNormalization InstanceNormalization LayerNormalization RMSNormalization".split()
)
CHANNELS_FIRST = frozenset("GroupNormalization InstanceNormalization".split())


def normalization(node: Node, network: Network) -> RuleResult:
    """`node` with ones and zeros for parameters, and what follows it then."""
    if node.op not in NORMALIZATIONS or node.domain or network.opset < MIN_OPSET:
        return None
    shape, inputs = network.shapes.get(node.inputs[0]), [node.inputs[0]]
    if shape is None:
        return Refusal("what it reads is of unknown shape")
    follow, constants = list[Node](), dict[str, Array]()
    for place, (op, number) in enumerate((("Mul", 1), ("Add", 0)), 1):
        value = network.floats(node, place)
        if value is None and any(node.inputs[place : place + 1]):
            return Refusal("its parameters are computed, or not of float32")
        if value is None:
            continue
        inputs.append(filled(number, value.shape))
        if not (value == number).all():
            name = f"{node.outputs[0]}/{op.lower()}"
            first = node.op in CHANNELS_FIRST
            constants[name] = value.reshape(-1, *[1] * (len(shape) - 2)) if first else value
            follow.append(Node(op, name, ("", name), ("",)))
    tensors = [node.outputs[0]]
    tensors[:0] = [f"{node.outputs[0]}/{part}" for part in ("plain", "scaled")[: len(follow)]]
    steps: list[Step] = [
        replace(node, inputs=tuple(inputs), outputs=(tensors[0], *node.outputs[1:]))
    ]
    for number, step in enumerate(follow):
        read = tensors[number], step.inputs[1]
        steps.append(replace(step, inputs=read, outputs=(tensors[number + 1],)))
    return Rewrite(tuple(steps), constants, dict.fromkeys(tensors, shape))
