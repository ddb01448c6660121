"""Operators that are affine per channel and go into no linear layer: depthwise 1x1 layers.

BatchNormalization, Add, Sub, Mul and Div by one number per channel become a convolution with one
weight and one bias per channel. What has no spatial axis gets one for it.
"""

from dataclasses import replace

import numpy as np

from lt_onnx.reading.affine import affine_input, affine_of
from lt_onnx.reading.rewriting import Network, Refusal, Rewrite, RuleResult
from lt_onnx.target import Array, Linear, Node


def to_depthwise(node: Node, network: Network) -> RuleResult:
    """The depthwise layer that an affine operator is."""
    source = affine_input(node, network.constants)
    if source is None:
        return None
    shape = network.shapes.get(source, ())
    rank = len(shape)
    if rank < 2:
        return Refusal("what it reads has no channels, or is of unknown shape")
    channels = shape[1] if isinstance(shape[1], int) else None
    affine = affine_of(node, network, channels=channels, axis=1 - rank, rank=rank)
    if isinstance(affine, Refusal):
        return affine
    if affine.scale.size == 1 and node.op != "BatchNormalization":
        return Refusal("it has one number for all channels, which every copy can take")
    layer = Linear(
        name=node.name,
        op="Conv",
        input=source,
        output=node.outputs[0],
        weight=affine.scale.astype(np.float32).reshape(-1, *[1] * max(rank - 1, 2)),
        bias=affine.shift.astype(np.float32),
        group=len(affine.scale),
    )
    if rank > 2:
        return Rewrite((layer,))
    opened, closed, axes = (f"{node.name}/{part}" for part in ("given", "made", "axes"))
    attributes: dict[str, list[int]] = {"axes": [2]}
    constants: dict[str, Array] = {}
    if network.opset >= 13:  # axes became an input
        attributes, constants = {}, {axes: np.array([2], np.int64)}
    steps = (
        Node("Unsqueeze", f"{node.name}/open", (source, *constants), (opened,), attributes),
        replace(layer, input=opened, output=closed),
        Node("Squeeze", f"{node.name}/close", (closed, *constants), node.outputs, attributes),
    )
    return Rewrite(steps, constants, {opened: (*shape, 1), closed: (*shape, 1)})
