"""On which axis channels are behind an operator that only arranges a tensor: decided here alone."""

import numpy as np

from lt_onnx.reading.rewriting import Network
from lt_onnx.target import Node, Shape

ARRANGING_OPS = frozenset("Flatten Reshape Squeeze Transpose Unsqueeze".split())


def axis_arranged(node: Node, network: Network, *, axis: int, rank: int) -> tuple[int, int] | None:
    """The channels' axis behind a `node` of ARRANGING_OPS, and how many axes there are then.

    What it reads has `rank` axes, with the channels on `axis`. None where they are not on one axis
    behind it, or that is not known.
    """
    if node.op == "Transpose":
        order = list(node.attributes.get("perm") or reversed(range(rank)))
        return (order.index(axis), rank) if sorted(order) == list(range(rank)) else None
    after = network.shapes.get(node.outputs[0])
    given = network.constants.get("".join(node.inputs[1:2]), node.attributes.get("axes"))
    if node.op == "Squeeze" and given is not None:
        dropped = {int(place) % rank for place in np.ravel(given)}
        left = [place for place in range(rank) if place not in dropped]
        return (left.index(axis), len(left)) if axis in left else None
    if node.op == "Unsqueeze" and given is not None:
        rank += np.size(given)
        added = {int(place) % rank for place in np.ravel(given)}
        return [place for place in range(rank) if place not in added][axis], rank
    before = network.shapes.get(node.inputs[0])
    if before is None or after is None or len(before) != rank:
        return None
    place = _axis_reshaped(before, after, axis)
    return None if place is None else (place, len(after))


def _axis_reshaped(before: Shape, after: Shape, axis: int) -> int | None:
    """The axis that keeps what `axis` held when a tensor is reshaped; None where none does."""
    channels = before[axis]
    if not isinstance(channels, int):
        return None
    ahead, behind = before[:axis], before[axis + 1 :]
    if not behind:
        return len(after) - 1 if after and after[-1] == channels else None
    for place, size in enumerate(after):
        if size == channels and None not in ahead and after[:place] == ahead:
            return place
    return None
