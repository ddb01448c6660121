"""An operator that is affine per channel goes into the linear layer before it.

With y = scale · (W x + b) + shift, of a layer that nothing else reads:

    W ← scale · W,  b ← scale · b + shift

Operators that only arrange the tensor may stand between them, as where a network of channels-last
tensors has its convolutions between two Transposes, or one of sequences between an Unsqueeze and a
Squeeze: they go behind.
"""

from dataclasses import replace

import numpy as np

from lt_onnx.reading.affine import affine_input, affine_of
from lt_onnx.reading.channel_axis import ARRANGING_OPS, axis_arranged
from lt_onnx.reading.rewriting import Network, Refusal, Rewrite, RuleResult
from lt_onnx.target import Linear, Node


def fuse_affine(node: Node, network: Network) -> RuleResult:
    """The layer before `node`, with it in its weights; a ConvTranspose is such a layer too."""
    source = affine_input(node, network.constants)
    if source is None:
        return None
    between, layer = list[Node](), network.sole_maker(source)
    while isinstance(layer, Node) and layer.op in ARRANGING_OPS and not layer.domain:
        between.insert(0, layer)
        layer = network.sole_maker(layer.inputs[0])
    if not isinstance(layer, Linear):
        return Refusal("what it reads is made by no linear layer that it alone reads")
    last = layer.op == "MatMul"  # has its channels on the last of any number of axes
    rank = len(network.shapes.get(layer.output, ())) if last else layer.weight.ndim
    if not rank:
        return Refusal("the layer before it makes a tensor of unknown shape")
    axis = rank - 1 if last else 1
    for arranging in between:
        behind = axis_arranged(arranging, network, axis=axis, rank=rank)
        if behind is None:
            return Refusal(f"the {arranging.op} before it leaves channels on no axis of their own")
        axis, rank = behind
    affine = affine_of(node, network, channels=len(layer.bias), axis=axis - rank, rank=rank)
    if isinstance(affine, Refusal):
        return affine
    column = affine.scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    outputs = [layer.output, *(name for step in between for name in step.outputs)]
    fused = replace(
        layer,
        output=layer.output if between else node.outputs[0],
        weight=(layer.weight * column).astype(np.float32),
        bias=(layer.bias * affine.scale + affine.shift).astype(np.float32),
    )
    if between:
        between[-1] = replace(between[-1], outputs=node.outputs)
    return Rewrite((fused, *between), replaces=tuple(outputs))
