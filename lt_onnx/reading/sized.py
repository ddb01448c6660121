"""The shapes that a network's tensors have once its inputs' sizes are known.

Comes in: a Target whose inputs leave axes open, and sizes for them. Goes out: the same Target with
the shapes that inference finds then. Weights take part by their shapes alone.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lt_onnx.errors import InputError
from lt_onnx.reading.inference import infer_shapes, shape_of
from lt_onnx.reading.sandbox import guarded
from lt_onnx.runtime import to_proto, value_info
from lt_onnx.target import Shape, Target, step_nodes

MAX_SHAPE_NUMBERS = 1024  # of a constant that inference may want to see: a shape, axes, scales


def with_sizes(target: Target, sizes: Mapping[str, Sequence[int]]) -> Target:
    """`target` with the shapes of one sample of these `sizes` by input, batch axis apart.

    What inference cannot tell, or all where it fails, stays as it was.
    """
    nodes, constants = [], dict(target.constants)
    for step in target.steps:
        own, given = step_nodes(step)
        nodes += [to_proto(node) for node in own]
        constants |= given
    inputs = [value_info(p.name, p.dtype, (1, *sizes[p.name])) for p in target.inputs]
    tensors = []
    for name, value in constants.items():
        if value.size <= MAX_SHAPE_NUMBERS:
            tensors.append(numpy_helper.from_array(np.asarray(value), name))
        else:
            inputs.append(value_info(name, value.dtype, value.shape))
    outputs = [onnx.ValueInfoProto(name=port.name) for port in target.outputs]
    imports = [helper.make_opsetid(domain, version) for domain, version in target.opsets.items()]
    graph, found = helper.make_graph(nodes, "sized", inputs, outputs, tensors), onnx.GraphProto()
    model = helper.make_model(graph, opset_imports=imports)
    try:
        found.ParseFromString(guarded(infer_shapes, model.SerializeToString()))
    except InputError:
        return target
    values = [*found.value_info, *found.input, *found.output]
    known = [value for value in values if value.type.tensor_type.HasField("shape")]
    shapes: dict[str, Shape] = {value.name: shape_of(value) for value in known}
    return replace(target, shapes={**target.shapes, **shapes})


def largest_tensors(target: Target, sizes: Mapping[str, Sequence[int]]) -> tuple[int, int]:
    """Numbers in the largest tensor that one sample makes, and in the largest of those that grow.

    A tensor grows that has several samples of one: its batch is padded, say, or repeated.
    """
    shapes = with_sizes(target, sizes).shapes
    largest = grown = 0
    for shape in (shapes.get(name, ()) for step in target.steps for name in step.outputs):
        numbers = math.prod(d if isinstance(d, int) else 1 for d in shape)
        largest = max(largest, numbers)
        if shape and isinstance(shape[0], int) and shape[0] > 1:
            grown = max(grown, numbers)
    return largest, grown
