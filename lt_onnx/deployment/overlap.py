"""How much the masks of two tickets have in common, layer by layer, and what chance would give."""

from dataclasses import dataclass
from os import PathLike

import numpy as np

from lt_onnx.deployment.network import Network, load
from lt_onnx.errors import InputError


@dataclass(frozen=True)
class Overlap:
    """The masks of one layer in two tickets: kept weights, and those that both keep.

    `jaccard` is |a ∩ b| / |a ∪ b|; `chance` is what it would be near, were the kept weights of
    both drawn independently among all `size`. Positions that are in no base set, or are of target
    weights that are 0, are kept in no ticket: those of unrelated seeds lie somewhat above chance.
    Of a univariate layer the mask follows from the seed.
    """

    layer: str
    size: int
    kept_a: int
    kept_b: int
    both: int
    jaccard: float
    chance: float
    univariate: bool


def overlap(a: str | PathLike[str] | Network, b: str | PathLike[str] | Network) -> list[Overlap]:
    """Compare the masks of two tickets, one row for each layer; `pandas.DataFrame` takes the rows.

    Args:
        a: a ticket or a pack, as a path or as `load` opens it.
        b: another one, with layers of the same names: made from one target, or from two networks
            of one architecture. Layers whose shapes differ, as with another base size, are left
            out.

    Raises:
        InputError: one of them has no masks to read, or no layer is in both with one shape.
    """
    first, second = (net if isinstance(net, Network) else load(net) for net in (a, b))
    rows = []
    for name in first.layers:
        if name not in second.layers or first.layers.shape(name) != second.layers.shape(name):
            continue
        layer, other = first.layers[name], second.layers[name]
        both, size = int(np.count_nonzero(layer.mask & other.mask)), layer.mask.size
        rows.append(
            Overlap(
                name,
                size,
                layer.kept,
                other.kept,
                both,
                jaccard=_jaccard(layer.kept, other.kept, both),
                chance=_jaccard(layer.kept, other.kept, layer.kept * other.kept / size),
                univariate=layer.is_univariate,
            )
        )
    if not rows:
        raise InputError(
            f"{first.path} and {second.path} have no layer of one name and shape: make both from "
            "one architecture, with the same `mode` and `base_size`"
        )
    return rows


def _jaccard(a: int, b: int, both: float) -> float:
    """|a ∩ b| / |a ∪ b| of sets of these sizes; 1 where both are empty."""
    union = a + b - both
    return both / union if union else 1.0
