"""The weight and bias of a collapsed layer, summed up from the kept weights that `generator` makes.

In: a layer of the ticket, the one that opens its block, and how they collapse. Out: nodes appended
to the generator's.
"""

import numpy as np

from lt_onnx.manifest import CollapsedLayer, LayerRecord
from lt_onnx.target import Array, Node
from lt_onnx.writing.generator import Graph

POSITIVE = "positive"  # ends the names of max(x, 0), and of a weight that reads it alone
SUM_TEXT = "The neurons of a channel hand on the same number: their weights are added up."


def signs_of(slope: float) -> Array:
    """What φ(x), φ(−x) (rows) have of x, max(x, 0) (columns), φ having this slope for x < 0."""
    return np.array([[slope, 1 - slope], [-1, 1 - slope]])


def sum_weight(
    graph: Graph,
    layer: LayerRecord,
    univariate: LayerRecord,
    collapse: CollapsedLayer,
    *,
    slope: float,
) -> None:
    """The weight and bias of a collapsed layer, summed from what `generate` made.

    `univariate` is the layer that opens its block. Letters: G groups, O outputs of one, S neurons,
    C constants, I channels, P parts of each, m neurons of each part, T taps.
    """
    block, name = univariate.block, layer.weight
    assert block is not None
    group, outputs = block.group, collapse.outputs
    channels, parts, m = block.channels // group, len(block.parts), block.neurons
    taps = collapse.inner * int(np.prod(layer.shape[2:]))
    neurons, width = channels * parts * m, layer.shape[1] // collapse.inner
    shape = graph.constant(f"{name}/shape", [group, layer.shape[0] // group, width, taps])
    source = graph.add("Reshape", [f"{name}/flat", shape], f"{name}/source", SUM_TEXT)
    axes = graph.constant("draw/rows_and_columns", [1, 2])
    bounds = [
        graph.constant("draw/begin", [0, 0]),
        graph.constant(f"{name}/end", [outputs, neurons]),
    ]
    kept = graph.add("Slice", [source, *bounds, axes], f"{name}/neurons")
    sets = graph.constant(f"{name}/sets_shape", [group * outputs, channels, parts, m, taps])
    sets = graph.add("Reshape", [kept, sets], f"{name}/sets")
    axis = graph.constant("draw/members", [3])
    sums = graph.add("ReduceSum", [sets, axis], f"{name}/sums", keepdims=0)
    if parts == 2:
        signs = graph.constant("draw/signs", signs_of(slope), np.float32)
        by_tap = graph.add("Transpose", [sums], f"{name}/by_tap", perm=[0, 1, 3, 2])
        mixed = graph.add("MatMul", [by_tap, signs], f"{name}/mixed")
        sums = graph.add("Transpose", [mixed], f"{name}/by_part", perm=[0, 3, 1, 2])
    rows = graph.constant(f"{name}/rows_shape", [group, layer.shape[0] // group])
    rows = graph.add("Reshape", [layer.scale, rows], f"{name}/rows")
    bounds = [graph.constant("draw/start", [0]), graph.constant(f"{name}/outputs", [outputs])]
    one = graph.constant("draw/columns", [1])
    scale = graph.add("Slice", [rows, *bounds, one], f"{name}/scale")
    factor = graph.constant("draw/by_row", [-1, 1, 1, 1])
    factor = graph.add("Reshape", [scale, factor], f"{name}/factor")
    scaled = graph.add("Mul", [sums, factor], f"{name}/weighted")
    if block.gain != 1:
        gain = graph.constant(f"{name}/gain", block.gain, np.float32)
        scaled = graph.add("Mul", [scaled, gain], f"{name}/gained")
    inputs = parts * channels * collapse.inner
    final = graph.constant(f"{name}/sum_shape", [group * outputs, inputs, *layer.shape[2:]])
    if layer.transposed:
        matrix = graph.add("Reshape", [scaled, final], f"{name}/matrix")
        graph.add("Transpose", [matrix], name, perm=[1, 0])
    elif parts == 2 and group > 1:  # an operator for x, one for max(x, 0)
        whole = graph.add("Reshape", [scaled, final], f"{name}/whole")
        halves = whole, graph.constant(f"{name}/halves", [inputs // 2] * 2)
        split = name, f"{name}/{POSITIVE}"
        graph.nodes.append((Node("Split", "", halves, split, {"axis": 1}), ""))
    else:
        graph.add("Reshape", [scaled, final], name)
    if collapse.bias is not None:
        _sum_bias(graph, univariate, layer, collapse, scale=scale, neurons=neurons)


def _sum_bias(
    graph: Graph,
    univariate: LayerRecord,
    layer: LayerRecord,
    collapse: CollapsedLayer,
    *,
    scale: str,
    neurons: int,
) -> None:
    """The bias that the constant neurons of a block add up to."""
    name, width = layer.weight, layer.shape[1] // collapse.inner
    assert collapse.bias is not None
    made = constant_values(univariate, width - neurons)
    values = graph.constant(f"{name}/constants", made[:, None], np.float32)
    bounds = [
        graph.constant(f"{name}/constants_begin", [0, neurons]),
        graph.constant(f"{name}/constants_end", [collapse.outputs, width]),
    ]
    axes = graph.constant("draw/rows_and_columns", [1, 2])
    part = graph.add("Slice", [f"{name}/source", *bounds, axes], f"{name}/constant_weights")
    driven = graph.add("Mul", [part, values], f"{name}/driven")
    axes = graph.constant("draw/columns_and_taps", [2, 3])
    sums = graph.add("ReduceSum", [driven, axes], f"{name}/offsets", keepdims=0)
    biases = graph.add("Mul", [sums, scale], f"{name}/biases")
    graph.add("Reshape", [biases, graph.constant("draw/flat", [-1])], collapse.bias)


def constant_values(univariate: LayerRecord, count: int) -> Array:
    """What a block's constants are, [count]: 2^(d/4 - 24), as its record has d; the last again."""
    block = univariate.block
    assert block is not None
    assert block.constants is not None
    places = np.minimum(np.arange(count), block.constants.count - 1)
    levels = np.array(block.constants.levels)[places % len(block.constants.levels)]
    return np.asarray(2.0 ** (levels / 4 - 24), np.float32)
