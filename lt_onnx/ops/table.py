"""The op table: which rule takes an operator over, with all the copies of every channel.

| rules in      | what they do                                                             |
|---------------|--------------------------------------------------------------------------|
| `copywise`    | apply the operator unchanged to all physical channels                    |
| `merging`     | bring several inputs to the same physical order first                    |
| `rearranging` | index arithmetic: the layout changes, the data moves as in the target    |
| `reshaping`   | the same for Reshape and Transpose, and for chains of them                |

An operator that is not in `RULES`, or whose rule refuses, is *dense*: its inputs are collapsed to
one copy, it runs as in the target, and a linear layer behind it opens a new two-for-one block.
To add an operator, name it in a row of `RULES`; one that is computed position by position, in
`ELEMENTWISE`.
"""

from collections.abc import Collection, Mapping

from lt_onnx.ops import copywise, merging, rearranging, reshaping
from lt_onnx.ops.rule import RefusalError, Rule
from lt_onnx.target import Node

# Functions that can serve as φ in a two-for-one block: elementwise, parameters apart.
ACTIVATIONS = frozenset(
    "Relu LeakyRelu Tanh Sigmoid Clip Elu Selu Celu Gelu HardSigmoid HardSwish Mish Softplus "
    "Softsign Swish ThresholdedRelu".split()
)
ELEMENTWISE = ACTIVATIONS | frozenset(
    "Identity Dropout Abs Neg Sqrt Exp Log Erf Floor Ceil Round Sign Reciprocal Sin Cos Atan "
    "Cast".split()
)
POOLING = "MaxPool AveragePool GlobalAveragePool GlobalMaxPool LpPool GlobalLpPool".split()
REDUCING = (
    "ReduceMean ReduceMax ReduceMin ReduceSum ReduceL1 ReduceL2 ReduceLogSumExp ReduceSumSquare "
    "ReduceProd".split()
)
MERGING = frozenset("Add Sub Mul Div Max Min Sum Mean Pow".split())


def registered(*rows: tuple[Rule, Collection[str]]) -> Mapping[str, Rule]:
    """The rules by operator. Raises ValueError for an operator with two rules."""
    rules: dict[str, Rule] = {}
    for rule, operators in rows:
        for op in operators:
            if op in rules:
                raise ValueError(f"operator {op} has two rules: {rules[op]} and {rule}")
            rules[op] = rule
    return rules


RULES = registered(
    (copywise.elementwise, ELEMENTWISE),
    (copywise.spatial, POOLING),
    (copywise.reduce, REDUCING),
    (copywise.along, "Softmax LogSoftmax Hardmax".split()),
    (copywise.resize, "Resize Upsample".split()),
    (copywise.repeat, "Tile Expand".split()),
    (copywise.instance_norm, ["InstanceNormalization"]),
    (copywise.prelu, ["PRelu"]),
    (merging.merge, MERGING),
    (merging.concat, ["Concat"]),
    (reshaping.reshape, "Flatten Reshape".split()),
    (reshaping.transpose, ["Transpose"]),
    (rearranging.squeeze, ["Squeeze"]),
    (rearranging.unsqueeze, ["Unsqueeze"]),
    (rearranging.slice_, ["Slice"]),
    (rearranging.split, ["Split"]),
    (rearranging.gather, ["Gather"]),
    (rearranging.pad, ["Pad"]),
    (rearranging.depth_to_space, ["DepthToSpace"]),
    (rearranging.space_to_depth, ["SpaceToDepth"]),
)
UNKNOWN = "the op table has no rule for it"


def has_rule(node: Node) -> bool:
    """Whether the table knows the operator."""
    return not node.domain and node.op in RULES


def rule_for(node: Node) -> Rule:
    """The rule of the operator. Raises RefusalError where the table has none."""
    if not has_rule(node):
        raise RefusalError(UNKNOWN)
    return RULES[node.op]
