"""Operators that are affine per channel and follow no linear layer: depthwise 1x1 layers.

1. BatchNormalization, Add, Sub, Mul and Div by one number per channel become a convolution with
   one weight and one bias per channel. What has no spatial axis gets one for it.
2. Such a layer goes into the convolution that alone reads it, y = W (scale · x + shift) + b:

       W ← W · scale,  b ← b + Σ W · shift

   Where padding puts zeros beside the shifted x, only a shift of zero can.
"""

from dataclasses import replace

import numpy as np

from lt_onnx.reading.affine import Affine, affine_input, affine_of
from lt_onnx.reading.fuse_into_readers import is_padded, with_affine_before
from lt_onnx.reading.rewriting import Network, Refusal, Rewrite, RuleResult
from lt_onnx.target import Array, Linear, Node


def to_depthwise(node: Node, network: Network) -> RuleResult:
    """Case 1."""
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


def fuse_depthwise(layer: Linear, network: Network) -> RuleResult:
    """Case 2."""
    before = network.sole_maker(layer.input)
    if layer.op != "Conv" or not isinstance(before, Linear):
        return None
    if before.op != "Conv" or before.attributes:
        return None
    if not before.group == before.weight.size == len(before.bias):
        return None
    if is_padded(layer) and before.bias.any():
        return Refusal("its padding is of zeros that the shift before it does not reach")
    affine = Affine(before.weight.reshape(-1).astype(np.float64), before.bias.astype(np.float64))
    fused = replace(with_affine_before(layer, affine), input=before.input)
    return Rewrite((fused,), replaces=(layer.input,))
