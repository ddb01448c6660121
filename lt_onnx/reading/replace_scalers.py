"""Scaler, as skl2onnx writes a StandardScaler, by operators of ONNX's own.

y = (x − offset) · scale becomes Sub and Mul, which are read as any others are.
"""

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lt_onnx.reading.protobuf import replace_items


def replace_scalers(graph: onnx.GraphProto) -> None:
    """Replace every Scaler of the domain ai.onnx.ml in `graph`."""
    nodes: list[onnx.NodeProto] = []
    for node in graph.node:
        if (node.domain, node.op_type) != ("ai.onnx.ml", "Scaler") or not node.output:
            nodes.append(node)
            continue
        source, output = node.input[0], node.output[0]
        for op, key, absent in (("Sub", "offset", 0.0), ("Mul", "scale", 1.0)):
            values = next((a.floats for a in node.attribute if a.name == key), [absent])
            constant, product = f"{output}/{key}", output if op == "Mul" else f"{output}/centred"
            value = numpy_helper.from_array(np.array(values, np.float32).reshape(1, -1), constant)
            graph.initializer.append(value)
            name = f"{node.name or output}/{key}"
            nodes.append(helper.make_node(op, [source, constant], [product], name=name))
            source = product
    replace_items(graph.node, nodes)
