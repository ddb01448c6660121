"""The op table: what every operator does to a layout.

| kind      | rule                                                                            |
|-----------|---------------------------------------------------------------------------------|
| copy-wise | applied unchanged to all physical channels                                       |
| merging   | both inputs brought to the same physical order first                             |
| layout    | index arithmetic: the layout changes, the data moves as in the target            |

An operator that is not in `RULES`, or whose rule refuses, is *dense*: its inputs are collapsed to
one copy, it runs as in the target, and a linear layer behind it opens a new two-for-one block.
To add an operator: write a rule or reuse one, and name it in `RULES`.
"""

from collections.abc import Mapping

from lt_onnx.ops import copywise, merging, rearranging
from lt_onnx.ops.rearranging import composed
from lt_onnx.ops.rule import Emitter, RefusalError, Rule, UndecidedError
from lt_onnx.ops.signs import never_negative

__all__ = [
    "ACTIVATIONS",
    "ELEMENTWISE",
    "RULES",
    "Emitter",
    "RefusalError",
    "UndecidedError",
    "composed",
    "never_negative",
]

ELEMENTWISE = (
    "Relu",
    "LeakyRelu",
    "Tanh",
    "Sigmoid",
    "Clip",
    "Elu",
    "Selu",
    "Celu",
    "Gelu",
    "HardSigmoid",
    "HardSwish",
    "Mish",
    "Softplus",
    "Softsign",
    "Swish",
    "ThresholdedRelu",
    "Identity",
    "Dropout",
    "Abs",
    "Neg",
    "Sqrt",
    "Exp",
    "Log",
    "Erf",
    "Floor",
    "Ceil",
    "Round",
    "Sign",
    "Reciprocal",
    "Sin",
    "Cos",
    "Atan",
    "Cast",
)
MERGING = ("Add", "Sub", "Mul", "Div", "Max", "Min", "Sum", "Mean", "Pow")
POOLING = ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool", "GlobalLpPool")
REDUCING = (
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceSum",
    "ReduceL1",
    "ReduceL2",
    "ReduceLogSumExp",
    "ReduceSumSquare",
    "ReduceProd",
)

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(ELEMENTWISE, copywise.elementwise),
    **dict.fromkeys(POOLING, copywise.spatial),
    **dict.fromkeys(REDUCING, copywise.reduce),
    **dict.fromkeys(("Softmax", "LogSoftmax", "Hardmax"), copywise.along),
    **dict.fromkeys(("Resize", "Upsample"), copywise.resize),
    **dict.fromkeys(("Tile", "Expand"), copywise.repeat),
    "InstanceNormalization": copywise.instance_norm,
    "PRelu": copywise.prelu,
    **dict.fromkeys(MERGING, merging.merge),
    "Concat": merging.concat,
    **dict.fromkeys(("Flatten", "Reshape"), rearranging.reshape),
    "Transpose": rearranging.transpose,
    "Squeeze": rearranging.squeeze,
    "Unsqueeze": rearranging.unsqueeze,
    "Slice": rearranging.slice_,
    "Split": rearranging.split,
    "Gather": rearranging.gather,
    "Pad": rearranging.pad,
    "DepthToSpace": rearranging.depth_to_space,
    "SpaceToDepth": rearranging.space_to_depth,
}

# Functions that can serve as φ in a two-for-one block: elementwise, parameters apart.
ACTIVATIONS = frozenset(ELEMENTWISE[: ELEMENTWISE.index("Identity")])
