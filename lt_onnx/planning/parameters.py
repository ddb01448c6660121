"""The parameters of a dense place: numbers of the target that its operator computes with.

Numbers that only say where data goes, or how long it is, are none; nor are scalars.
"""

from collections.abc import Mapping

from lt_onnx.target import Array, Node

MULTIPLYING = frozenset(
    "Conv ConvTranspose DeformConv Gemm MatMul Einsum LSTM GRU RNN Attention".split()
)
# what shapes are computed with, and whole-numbered data may be
WHOLE_ARITHMETIC = frozenset(
    "Add Sub Mul Div Mod Min Max Pow Sum Concat Where Equal Less Greater LessOrEqual "
    "GreaterOrEqual".split()
)


def parameter_count(node: Node, constants: Mapping[str, Array]) -> int:
    """Numbers among the target's `constants` that `node` computes with."""
    values = [*_values(node, constants, "f"), *_whole_numbers(node, constants)]
    return sum(value.size for value in values)


def has_parameters(node: Node, constants: Mapping[str, Array], *, from_shapes: bool) -> bool:
    """Whether `node` computes with any; `from_shapes`: whole numbers meet only shapes there."""
    if _values(node, constants, "fb"):
        return True
    return not from_shapes and bool(_whole_numbers(node, constants))


def _values(node: Node, constants: Mapping[str, Array], kinds: str) -> list[Array]:
    """Constants that `node` reads, of the dtype kinds; of scalars those that it joins to others."""
    least = 1 if node.op == "Concat" else 2
    values = [constants[name] for name in node.inputs if name in constants]
    return [value for value in values if value.dtype.kind in kinds and value.size >= least]


def _whole_numbers(node: Node, constants: Mapping[str, Array]) -> list[Array]:
    return _values(node, constants, "iu") if node.op in WHOLE_ARITHMETIC else []
