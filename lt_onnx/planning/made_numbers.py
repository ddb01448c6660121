"""Numbers that a network makes in its own graph, of shapes, by counting, or of zeros and ones.

In: a node that reads shapes and constants alone, and what is known of these. Out: what kind of
numbers it makes. Where such numbers join data, a place is declared dense.
"""

from collections.abc import Mapping
from enum import Enum

import numpy as np

from lt_onnx.target import Node

MOVING = frozenset(
    "Cast CastLike Concat Expand Flatten Identity Pad Reshape Slice Split Squeeze Tile Transpose "
    "Trilu Unsqueeze Where".split()
)
SIZES = frozenset(
    "Abs Add Ceil Div Floor Gather GatherElements GatherND Max Min Mod Mul Neg Pow Reciprocal "
    "ReduceMax ReduceMin ReduceProd ReduceSum Sqrt Sub Sum".split()
)
COMPARING = frozenset("Equal Less Greater LessOrEqual GreaterOrEqual And Or Not".split())
# of these operators the first input is the value, the others say where and how many
PLACING = frozenset(
    "Expand Gather GatherElements GatherND Pad Reshape Resize Slice Split Squeeze Tile TopK Trilu "
    "Unsqueeze Upsample".split()
)


class Content(Enum):
    """What a tensor that depends on no data holds."""

    SIZES = "sizes of tensors"
    FILLED = "zeros, ones or infinities"
    MADE = "other numbers"


def content_of(node: Node, known: Mapping[str, Content]) -> Content:
    """What a node makes of shapes and constants alone."""
    if node.op in ("Shape", "Size") or node.op in COMPARING:
        return Content.SIZES
    if node.op == "ConstantOfShape":
        value = np.asarray(node.attributes.get("value", np.float32(0)))
        return Content.FILLED if value.dtype.kind == "f" else Content.SIZES
    kinds = {known.get(name) for name in _values(node)}
    filled = Content.FILLED in kinds
    other = node.op not in MOVING | SIZES
    if other or Content.MADE in kinds or (filled and node.op not in MOVING):
        return Content.MADE
    return Content.FILLED if filled else Content.SIZES


def joins_made(node: Node, known: Mapping[str, Content]) -> bool:
    """Whether a node that reads data reads numbers that the graph makes, too."""
    return any(known.get(name) is Content.MADE for name in _values(node))


def _values(node: Node) -> tuple[str, ...]:
    return node.inputs[:1] if node.op in PLACING else node.inputs
