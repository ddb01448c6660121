"""Named networks and what is expected of their tickets, at every depth they are tested at.

`SMALL` are built here: structures that are read twice, read never, given twice or padded oddly.
`EXPORTED` come from torch, `CLASSICS` from the model zoo, `SHIPPED` lie in `models/`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import classics
import numpy as np
import onnx
import paths
import torch_networks
from graphs import Builder, save
from onnx import TensorProto, helper


@dataclass(frozen=True)
class Case:
    """A network, and what is expected of its tickets."""

    write: Callable[[Path], Path]  # writes it into a folder
    dense: frozenset[str] = frozenset()  # operators that stay dense
    tolerance: float = 1e-5  # relative error of every output with exact weights
    decibels: float = 20  # SQNR of a real ticket in mode 2l
    layers: int | None = None  # how many are constructed, 1-to-many layers apart


def several_inputs() -> onnx.ModelProto:
    b = Builder(1)
    image = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    vector = b("Relu", b.gemm("v", 5, 6))
    both = b("Mul", image, b.reshape(vector, [-1, 6, 1, 1]))
    model = b.model(b.conv(b("Concat", both, image, axis=1), 12, 4))
    model.graph.input.append(helper.make_tensor_value_info("v", TensorProto.FLOAT, ["N", 5]))
    return model


def outputs_in_the_middle() -> onnx.ModelProto:
    """And a layer with two readers."""
    b = Builder(2)
    x = b.conv("x", 3, 6, pads=[1] * 4)
    y = b("Relu", x)
    a, c = b.conv(y, 6, 4), b.conv(b("MaxPool", y, kernel_shape=[2, 2]), 6, 4)
    return b.model([a, x, y, c])


def taken_from_the_input() -> onnx.ModelProto:
    b = Builder(3)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    noise = b.conv(b("Relu", b.conv(x, 6, 6, pads=[1] * 4)), 6, 3, pads=[1] * 4)
    return b.model(b("Sub", "x", noise))


def tied_weights() -> onnx.ModelProto:
    b = Builder(4)
    w, bias = b.constant(b.weight(6, 6, 3, 3)), b.constant(0.2 * b.rng.standard_normal(6))
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    for _ in range(3):
        x = b("Relu", b("Add", x, b("Conv", x, w, bias, pads=[1] * 4)))
    return b.model(b.conv(x, 6, 2))


def zeros() -> onnx.ModelProto:
    """As residual networks begin, and pruned ones end: a branch, and a whole layer, of zeros."""
    b = Builder(14)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    nothing = b.constant(np.zeros((6, 6, 3, 3)))
    y = b("Conv", b("Relu", b.conv(x, 6, 6, pads=[1] * 4)), nothing, pads=[1] * 4)
    return b.model(b.conv(b("Relu", b("Add", x, y)), 6, 4))


def channels_as_a_plane() -> onnx.ModelProto:
    """As spectrograms are: the channels of one convolution are an axis of the next one's image."""
    b = Builder(5)
    x = b.reshape(b("Relu", b.conv("x", 3, 6, pads=[1] * 4)), [0, 1, 6, 64])
    x = b("Relu", b.conv(x, 1, 4, pads=[1] * 4))
    return b.model(b.conv(x, 4, 2))


def no_activation() -> onnx.ModelProto:
    b = Builder(5)
    x = b.conv(b.conv("x", 3, 6, pads=[1] * 4), 6, 4, pads=[1] * 4)
    return b.model(b.conv(b("AveragePool", x, kernel_shape=[2, 2]), 4, 2))


def one_pixel() -> onnx.ModelProto:
    """And a batch that is fixed."""
    b = Builder(6)
    x = b("Relu", b.conv("x", 3, 8, pads=[1] * 4))
    x = b("Relu", b.conv(x, 8, 8, pads=[1] * 4))
    return b.model(b.gemm(b.reshape(x, [1, 8]), 8, 3), (1, 3, 1, 1))


def a_single_layer() -> onnx.ModelProto:
    b = Builder(7)
    return b.model(b.conv("x", 3, 2))


def perceptron() -> onnx.ModelProto:
    """With norms between."""
    b = Builder(8)
    x = b.norm(b("Relu", b.gemm("x", 6, 12)), 12)
    x = b("Tanh", b.gemm(b("Relu", x), 12, 12))
    return b.model(b.gemm(b.norm(b("Relu", x), 12), 12, 4), ("N", 6))


def unordered_nodes() -> onnx.ModelProto:
    """And outputs without a shape."""
    b = Builder(9)
    model = b.model(b.conv(b("Relu", b.conv("x", 3, 6)), 6, 2))
    nodes = list(model.graph.node)[::-1]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return model


def an_untouched_output() -> onnx.ModelProto:
    b = Builder(10)
    half = b("Mul", "x", b.constant(0.5))
    return b.model([b.conv(b("Relu", "x"), 3, 4), half])


def open_axes() -> onnx.ModelProto:
    b = Builder(11)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    return b.model(b.conv(x, 6, 2, pads=[1] * 4), ("N", 3, "H", "W"))


def swallowed_constants() -> onnx.ModelProto:
    """x − max x: a constant added to x is gone."""
    b = Builder(12)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    x = b("Sub", x, b("ReduceMax", x, axes=[2, 3]))
    x = b("Relu", b.conv(x, 6, 6, pads=[1] * 4))
    return b.model(b.conv(x, 6, 2))


def of_type(kind: type) -> onnx.ModelProto:
    """Another precision than float32, in weights, inputs and outputs."""
    b = Builder(13)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    model = b.model(b.conv(b("Relu", b.conv(x, 6, 6)), 6, 2))
    for tensor in model.graph.initializer:
        value = onnx.numpy_helper.to_array(tensor).astype(kind)
        tensor.CopyFrom(onnx.numpy_helper.from_array(value, tensor.name))
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(kind))
    del model.graph.value_info[:]
    return model


def transposed_gemm() -> onnx.ModelProto:
    b = Builder(14)
    w, c = b.constant(b.weight(6, 5)), b.constant(b.rng.standard_normal((1, 5)))
    x = b("Gemm", b("Relu", b("Identity", "x")), w, c, transA=1, alpha=0.5, beta=2.0)
    x = b("Gemm", b("Relu", x), b.constant(b.weight(5, 3)), alpha=1.5)
    return b.model(x, (6, 4))


def transposed_conv(stride: int, **words: Any) -> onnx.ModelProto:
    b = Builder(15)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    x = b("ConvTranspose", x, b.constant(b.weight(6, 5, 4, 4)), strides=[stride] * 2, **words)
    return b.model(b.conv(b("Relu", x), 5, 2), (2, 3, 8, 8))


def transposed_conv_and_norm(stride: int) -> onnx.ModelProto:
    b = Builder(16)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    x = b("ConvTranspose", x, b.constant(b.weight(6, 5, 4, 4)), strides=[stride] * 2)
    x = b("Mul", b.norm(x, 5), b.constant(b.rng.uniform(0.5, 2, (5, 1, 1))))
    return b.model(b.conv(b("Relu", x), 5, 2), (2, 3, 8, 8))


def large_biases() -> onnx.ModelProto:
    """Border pixels of a padded convolution must not see them."""
    b = Builder(3)
    x = b("Relu", b.conv("x", 3, 6, pads=[1] * 4))
    x = b("Relu", b.conv(x, 6, 6, pads=[1] * 4, bias=20.0))
    return b.model(b.conv(x, 6, 4, pads=[1] * 4, bias=20.0))


def outside_the_table() -> onnx.ModelProto:
    b = Builder(2)
    x = b("LRN", b("Relu", b.conv("x", 3, 4, pads=[1] * 4)), size=3)
    x = b("Relu", b.conv(x, 4, 4, pads=[1] * 4))
    x = b("Einsum", x, b.constant(b.weight(4, 4)), equation="nchw,cd->ndhw")
    return b.model(b.conv(b("Relu", x), 4, 2))


def activated(op: str) -> onnx.ModelProto:
    """Three layers with one activation between."""
    b = Builder(1)
    x = b.conv("x", 3, 6, pads=[1] * 4)
    for _ in range(2):
        slopes = [b.constant(b.rng.uniform(0.1, 0.3, (6, 1, 1)))] if op == "PRelu" else []
        x = b.conv(b(op, x, *slopes), 6, 6, pads=[1] * 4)
    return b.model(x)


def small(make: Callable[..., onnx.ModelProto], *given: Any, **expected: Any) -> Case:
    """A case of a model that is built here; `given` is what to build it with."""

    def write(folder: Path) -> Path:
        return save(make(*given), folder)

    return Case(write, **expected)


CURVED = {"Tanh": 5e-4, "Sigmoid": 5e-4, "Softplus": 5e-4, "Elu": 5e-3}  # by their local model
PADDED: dict[str, dict[str, Any]] = {
    f"ConvTranspose {word}, stride {stride}": (
        {"output_shape": [8 * stride - 1] * 2} if word == "output_shape" else {"auto_pad": word}
    )
    for stride in (2, 3)
    for word in ("SAME_UPPER", "SAME_LOWER", "VALID", "output_shape")
}
SMALL: dict[str, Case] = {
    "several inputs": small(several_inputs),
    "outputs in the middle": small(outputs_in_the_middle),
    "taken from the input": small(taken_from_the_input),
    "tied weights": small(tied_weights),
    "zeros": small(zeros, layers=4),
    "channels as a plane": small(channels_as_a_plane, layers=3),
    "no activation": small(no_activation),
    "one pixel": small(one_pixel),
    "a single layer": small(a_single_layer, layers=1),
    "perceptron": small(perceptron),
    "unordered nodes": small(unordered_nodes, layers=2),
    "an untouched output": small(an_untouched_output),
    "open axes": small(open_axes),
    "swallowed constants": small(swallowed_constants),
    "float16": small(of_type, np.float16, tolerance=2e-3),
    "float64": small(of_type, np.float64),
    "transposed Gemm": small(transposed_gemm, layers=2),
    **{
        what: small(partial(transposed_conv, int(what[-1]), **words), layers=3)
        for what, words in PADDED.items()
    },
    "ConvTranspose and norm": small(transposed_conv_and_norm, 1, layers=3),
    "ConvTranspose and norm, stride 2": small(transposed_conv_and_norm, 2, layers=3),
    "large biases": small(large_biases),
    "outside the table": small(outside_the_table, dense=frozenset({"LRN"})),
    **{op: small(activated, op, tolerance=tolerance) for op, tolerance in CURVED.items()},
    "PRelu": small(activated, "PRelu"),
}

DENSE = {  # what a network leaves dense: attention and its norms
    "hybrid": frozenset({"LayerNormalization", "MatMul"}),
    "convnext": frozenset({"LayerNormalization"}),
}
EXPORTED: dict[str, Case] = {
    name: Case(
        partial(torch_networks.export, name), dense=DENSE.get(name, frozenset()), decibels=25
    )
    for name in torch_networks.NETWORKS
}
FIXED_BATCH: dict[str, Case] = {
    f"{name}, fixed batch": Case(
        partial(torch_networks.export, name, dynamic=False), dense=DENSE.get(name, frozenset())
    )
    for name in ("shufflenet", "unet", "yolo", "conv1d", "hybrid")
}
WITH_LRN = frozenset({"LRN"})
CLASSICS: dict[str, Case] = {
    name: Case(
        partial(classics.redrawn, name),
        dense=WITH_LRN if name in ("bvlc_alexnet", "inception_v1", "zfnet512") else frozenset(),
    )
    for name in classics.NAMES
}
SHIPPED: dict[str, Case] = {
    name: Case(
        lambda folder, n=name: paths.MODELS / f"{n}.onnx",
        dense=frozenset({"LayerNormalization", "MatMul"} if name == "transformer" else ()),
        tolerance=5e-5,
    )
    for name in paths.SHIPPED
}
EVERY = SMALL | EXPORTED | FIXED_BATCH | SHIPPED
