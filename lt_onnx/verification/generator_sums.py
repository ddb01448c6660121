"""What sums up the weight and bias of a collapsed layer, node by node and number by number.

In: a layer's entry in the record of a collapsed ticket. Out: the nodes between the kept weights of
the layer, in one row, and its own tensors, and what those read. Like `generator_nodes` this is a
specification, and shares no code with the writer's.
"""

import math
from typing import Any

import numpy as np
import onnx
from onnx import helper

from lt_onnx.manifest import CollapsedLayer, LayerRecord, Manifest
from lt_onnx.target import Array
from lt_onnx.verification.node_text import written

# W stands for the layer's weight, S for its scales, Z for its bias
SUMS = """
W/source = Reshape(W/flat W/shape) ! \
The neurons of a channel hand on the same number: their weights are added up.
W/neurons = Slice(W/source draw/begin W/end draw/rows_and_columns)
W/sets = Reshape(W/neurons W/sets_shape)
W/sums = ReduceSum(W/sets draw/members) keepdims=0
"""
BY_SIGN = """
W/by_tap = Transpose(W/sums) perm=0,1,3,2
W/mixed = MatMul(W/by_tap draw/signs)
W/by_part = Transpose(W/mixed) perm=0,3,1,2
"""
SCALES = """
W/rows = Reshape(S W/rows_shape)
W/scale = Slice(W/rows draw/start W/outputs draw/columns)
W/factor = Reshape(W/scale draw/by_row)
W/weighted = Mul(V W/factor)
"""
GAINED = "W/gained = Mul(W/weighted W/gain)"
SUMMED = "W = Reshape(V W/sum_shape)"
SUMMED_ROWS = """
W/matrix = Reshape(V W/sum_shape)
W = Transpose(W/matrix) perm=1,0
"""
SUMMED_WHOLE = "W/whole = Reshape(V W/sum_shape)"
SUMMED_BIAS = """
W/constant_weights = Slice(W/source W/constants_begin W/constants_end draw/rows_and_columns)
W/driven = Mul(W/constant_weights W/constants)
W/offsets = ReduceSum(W/driven draw/columns_and_taps) keepdims=0
W/biases = Mul(W/offsets W/scale)
Z = Reshape(W/biases draw/flat)
"""


def summed(
    entry: CollapsedLayer, manifest: Manifest, slope: float
) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """The nodes that sum the weight and bias of a collapsed layer, and what they read."""
    layer, block = manifest.layers[entry.layer], manifest.layers[entry.block].block
    assert block is not None
    name, group, parts = layer.weight, block.group, len(block.parts)
    slots, width = block.slots // group, layer.shape[1] // entry.inner
    channels, rows = block.channels // group, layer.shape[0] // group
    taps = entry.inner * math.prod(layer.shape[2:])
    values: dict[str, Any] = {
        f"{name}/shape": [group, rows, width, taps],
        f"{name}/end": [entry.outputs, slots],
        f"{name}/sets_shape": [group * entry.outputs, channels, parts, block.neurons, taps],
        f"{name}/rows_shape": [group, rows],
        f"{name}/outputs": [entry.outputs],
        f"{name}/sum_shape": [
            group * entry.outputs,
            parts * channels * entry.inner,
            *layer.shape[2:],
        ],
        "draw/begin": [0, 0],
        "draw/rows_and_columns": [1, 2],
        "draw/members": [3],
        "draw/columns": [1],
        "draw/by_row": [-1, 1, 1, 1],
    }
    nodes, value = [*written(SUMS, W=name)], f"{name}/sums"
    if parts == 2:
        nodes += written(BY_SIGN, W=name)
        value, rest = f"{name}/by_part", 1 - slope
        values["draw/signs"] = np.array([[slope, rest], [-1, rest]], np.float32)
    nodes += written(SCALES, W=name, S=layer.scale, V=value)
    value = f"{name}/weighted"
    if block.gain != 1:
        nodes += written(GAINED, W=name)
        value, values[f"{name}/gain"] = f"{name}/gained", np.float32(block.gain)
    if is_apart(layer, manifest.layers[entry.block]):
        nodes += written(SUMMED_WHOLE, W=name, V=value)
        halves, outputs = [f"{name}/whole", f"{name}/halves"], [name, f"{name}/positive"]
        nodes.append(helper.make_node("Split", halves, outputs, axis=1))
        values[f"{name}/halves"] = [channels * entry.inner] * 2
    else:
        nodes += written(SUMMED_ROWS if layer.transposed else SUMMED, W=name, V=value)
    if entry.bias is not None and block.constants is not None:
        nodes += written(SUMMED_BIAS, W=name, Z=entry.bias)
        places = np.minimum(np.arange(width - slots), block.constants.count - 1)
        levels = np.array(block.constants.levels)[places % len(block.constants.levels)]
        made = block.constants.sign * 2.0 ** (levels / 4 - 24)
        values[f"{name}/constants"] = made[:, None].astype(np.float32)
        values[f"{name}/constants_begin"] = [0, slots]
        values[f"{name}/constants_end"] = [entry.outputs, width]
        values["draw/columns_and_taps"] = [2, 3]
    return nodes, {key: np.asarray(value) for key, value in values.items()}


def is_apart(layer: LayerRecord, univariate: LayerRecord) -> bool:
    """Whether a layer of sums has one weight for x and one for max(x, 0), not one for both."""
    block = univariate.block
    assert block is not None
    return len(block.parts) == 2 and block.group > 1 and not layer.transposed
