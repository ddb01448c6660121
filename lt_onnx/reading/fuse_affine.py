"""An operator that is affine per channel goes into the linear layer before it.

With y = scale · (W x + b) + shift, of a layer that nothing else reads:

    W ← scale · W,  b ← scale · b + shift

A Transpose may stand between them, as where a network of channels-last tensors has its
convolutions between two of them, or a Squeeze of what a depthwise layer needs: it goes behind.
"""

from dataclasses import replace

import numpy as np

from lt_onnx.reading.affine import affine_input, affine_of
from lt_onnx.reading.rewriting import Network, Refusal, Rewrite, RuleResult
from lt_onnx.target import Linear, Node


def fuse_affine(node: Node, network: Network) -> RuleResult:
    """The layer before `node`, with it in its weights; a ConvTranspose is such a layer too."""
    source = affine_input(node, network.constants)
    if source is None:
        return None
    turn = layer = network.sole_maker(source)
    if isinstance(turn, Node) and turn.op in ("Transpose", "Squeeze") and not turn.domain:
        layer = network.sole_maker(turn.inputs[0])
    if not isinstance(layer, Linear):
        return Refusal("what it reads is made by no linear layer that it alone reads")
    last = layer.op == "MatMul"  # has its channels on the last of any number of axes
    rank = len(network.shapes.get(source, ())) if last else layer.weight.ndim
    axis = -1 if last else 1 - rank
    if isinstance(turn, Node) and turn.op == "Squeeze":
        before = network.shapes.get(turn.inputs[0], ())
        one = len(before) > 2 and before == (
            *network.shapes.get(source, ()),
            *[1] * (len(before) - 2),
        )
        if layer.op != "Conv" or not one:  # else channels may be on another axis
            return Refusal("the Squeeze before it is not of a convolution's one place")
        axis, rank = -1, 2
    elif isinstance(turn, Node):
        order = list(turn.attributes.get("perm") or reversed(range(rank)))
        if sorted(order) != list(range(rank)):
            return Refusal(f"the Transpose before it is of another rank than {rank}")
        axis = order.index(axis + rank) - rank
    affine = affine_of(node, network, channels=len(layer.bias), axis=axis, rank=rank)
    if isinstance(affine, Refusal):
        return affine
    column = affine.scale.reshape(-1, *[1] * (layer.weight.ndim - 1))
    fused = replace(
        layer,
        output=layer.output if isinstance(turn, Node) else node.outputs[0],
        weight=(layer.weight * column).astype(np.float32),
        bias=(layer.bias * affine.scale + affine.shift).astype(np.float32),
    )
    if isinstance(turn, Node):
        return Rewrite(
            (fused, replace(turn, outputs=node.outputs)), replaces=(layer.output, source)
        )
    return Rewrite((fused,), replaces=(source,))
