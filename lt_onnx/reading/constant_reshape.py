"""A Reshape to a computed shape that is known up to one axis gets that shape as a constant."""

from dataclasses import replace

import numpy as np

from lt_onnx.reading.rewriting import Network, Refusal, Rewrite, RuleResult
from lt_onnx.target import Node


def constant_reshape(node: Node, network: Network) -> RuleResult:
    """The axis that is not known is -1, as in ONNX."""
    if node.op != "Reshape" or node.domain or node.inputs[1] in network.constants:
        return None
    shape = network.shapes.get(node.outputs[0])
    if shape is None or sum(not isinstance(d, int) for d in shape) > 1:
        return Refusal("more than one axis of its result is not known")
    name = f"{node.name}/shape"
    sizes = np.array([d if isinstance(d, int) else -1 for d in shape], np.int64)
    return Rewrite((replace(node, inputs=(node.inputs[0], name)),), {name: sizes})
