"""Bodies of every kind, as the exporters of several frameworks write them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exports.builder import FLOAT, INT64, Export

NHWC = {"x": ["unk__1", 8, 8, 3]}
SEQUENCE = {"x": ["N", 5, 8]}


def to_first(b: Export, x: str) -> str:
    return b("Transpose", x, perm=[0, 3, 1, 2])


def to_last(b: Export, x: str) -> str:
    return b("Transpose", x, perm=[0, 2, 3, 1])


def channels_last() -> onnx.ModelProto:
    """tf2onnx: a Transpose on both sides of each Conv, its bias behind."""
    b = Export(12)
    x, c = "x", 3
    for width, stride in ((6, 2), (6, 1), (8, 2)):
        weight = b.constant(b.weight(width, c, 3, 3))
        y = b("Conv", to_first(b, x), weight, auto_pad="SAME_UPPER", strides=[stride] * 2)
        x = b("Relu", b("Add", to_last(b, y), b.constant(0.1 * b.rng.normal(size=width))))
        c = width
    x = b.fc(b("ReduceMean", x, axes=[1, 2], keepdims=0), 8, 5)
    return b.made(b("Softmax", x, axis=1), NHWC)


def channels_last_flat() -> onnx.ModelProto:
    """tf2onnx: a residual block, and a Reshape of positions and channels together."""
    b = Export(12)
    x = b.cr(to_first(b, "x"), 3, 6)
    x = b("Relu", b("Add", b.conv(x, 6, 6, pads=[1] * 4), x))
    x = to_last(b, b("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]))
    return b.made(b.head(b("Reshape", x, b.whole([-1, 96])), 96), NHWC)


def channels_last_norms() -> onnx.ModelProto:
    """tf2onnx: BatchNormalization as Mul and Add, a depthwise convolution."""
    b = Export(12)
    x = to_last(b, b.conv(to_first(b, "x"), 3, 6, bias=0, pads=[1] * 4))
    x = b("Mul", x, b.constant(b.rng.uniform(0.5, 1, 6)))
    x = b("Add", x, b.constant(b.rng.normal(size=6)))
    x = b("Clip", x, b.constant(0.0), b.constant(6.0))
    x = to_last(b, b.conv(to_first(b, x), 6, 6, group=6, bias=0, pads=[1] * 4))
    x = b("Relu", b("Add", x, b.constant(b.rng.normal(size=6))))
    x = to_last(b, b("GlobalAveragePool", b.conv(to_first(b, x), 6, 8, 1)))
    return b.made(b.head(b("Relu", b("Squeeze", x, axes=[1, 2])), 8), NHWC)


def keras_pads() -> onnx.ModelProto:
    """Keras: ZeroPadding before convolutions without pads."""
    b = Export(13)
    x = b("Pad", "x", b.whole([0, 0, 0, 0, 0, 0, 1, 1]))
    x = b("Relu", b.conv(x, 3, 6, strides=[2, 2]))
    x = b("Pad", x, b.whole([0, 0, 1, 1, 0, 0, 1, 1]), b.constant(0.0))
    return b.made(b.fc(b.pooled(b("Relu", b.conv(x, 6, 6))), 6, 4))


def mobilenet_v3() -> onnx.ModelProto:
    """paddle2onnx: hard-swish by Add, Clip, Mul and Div of Constant nodes; squeeze and excite."""
    b = Export(11)
    x, c = "x", 3
    for width, stride in ((8, 2), (8, 1)):
        y = b.norm(b.conv(x, c, width, bias=0, pads=[1] * 4, strides=[stride] * 2), width)
        gate = b("Clip", b("Add", y, b.held(3.0)), b.held(0.0), b.held(6.0))
        x, c = b("Div", b("Mul", y, gate), b.held(6.0)), width
    gate = b("Relu", b.conv(b("GlobalAveragePool", x), 8, 4, 1))
    x = b("Mul", x, b("HardSigmoid", b.conv(gate, 4, 8, 1), alpha=0.2, beta=0.5))
    x = b.conv(x, 8, 4, 1)
    n = b("Slice", b("Shape", x), *(b.held([v], np.int64) for v in (0, 1, 0)))
    goal = b("Concat", n, b.held([-1], np.int64), axis=0)
    x = b.fc(b("Reshape", b("GlobalAveragePool", x), goal), 4, 3)
    return b.made(b("Softmax", x, axis=1), {"x": [-1, 3, 8, 8]})


def yolo(nodes: bool = False) -> onnx.ModelProto:
    """darknet: SiLU, CSP, SPP, Resize with empty regions; boxes decoded on a constant grid."""
    b = Export(12)
    x = b.silu(b.conv("x", 3, 8, pads=[1] * 4, strides=[2, 2]))
    first, second = b.split(b.silu(b.conv(x, 8, 8, pads=[1] * 4)), [4, 4])
    third = b("Add", second, b.silu(b.conv(second, 4, 4, pads=[1] * 4)))
    skip = b.silu(b.conv(b("Concat", first, second, third, axis=1), 12, 8, 1))
    x = b.silu(b.conv(skip, 8, 8, pads=[1] * 4, strides=[2, 2]))
    pools = [x]
    for _ in range(2):
        keys: dict[str, Any] = {"kernel_shape": [5, 5], "pads": [2] * 4, "strides": [1, 1]}
        pools.append(b("MaxPool", pools[-1], **keys))
    x = b.silu(b.conv(b("Concat", *pools, axis=1), 24, 8, 1))
    keys = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    scales = b.constant(np.zeros(0)), b.constant([1, 1, 2, 2])
    x = b("Concat", b("Resize", x, *scales, mode="nearest", **keys), skip, axis=1)
    x = b.conv(b.silu(b.conv(x, 16, 8, 1)), 8, 21, 1)
    x = b("Transpose", b.reshape(x, [1, 3, 7, 4, 4]), perm=[0, 1, 3, 4, 2])
    x = b("Sigmoid", x)
    grid = np.stack(np.meshgrid(range(4), range(4)), -1).reshape(1, 1, 4, 4, 2)
    centre = b("Sub", b("Mul", b.part(x, 0, 2, 4), b.constant(2.0)), b.constant(0.5))
    centre = b("Mul", b("Add", centre, b.constant(grid)), b.constant(8.0))
    size = b("Pow", b("Mul", b.part(x, 2, 4, 4), b.constant(2.0)), b.constant(2.0))
    size = b("Mul", size, b.constant(b.rng.uniform(5, 30, (1, 3, 1, 1, 2))))
    x = b("Concat", centre, size, b.part(x, 4, 2**31 - 1, 4), axis=-1)
    model = b.made(b.reshape(x, [1, -1, 7]), {"x": [1, 3, 8, 8]})
    if nodes:
        held = [helper.make_node("Constant", [], [t.name], value=t) for t in b.initializers]
        del model.graph.initializer[:]
        kept = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend([*held, *kept])
        for node in model.graph.node:
            node.name = ""
    return model


def yolo_of_distributions() -> onnx.ModelProto:
    """YOLOv8: boxes by a Softmax over bins and a convolution with constant weights."""
    b = Export(17)
    x = b.silu(b.conv("x", 3, 8, pads=[1] * 4, strides=[2, 2]))
    x = b("Concat", b.conv(x, 8, 16, 1), b.conv(x, 8, 3, 1), axis=1)
    boxes, scores = b.split(b.reshape(x, [1, 19, -1]), [16, 3])
    boxes = b("Transpose", b.reshape(boxes, [1, 4, 4, 16]), perm=[0, 2, 1, 3])
    bins = b.constant(np.arange(4).reshape(1, 4, 1, 1))
    boxes = b.reshape(b("Conv", b("Softmax", boxes, axis=1), bins), [1, 4, 16])
    places = np.stack(np.meshgrid(np.arange(4) + 0.5, np.arange(4) + 0.5)).reshape(1, 2, 16)
    first = b("Sub", b.constant(places), b.part(boxes, 0, 2, 1))
    last = b("Add", b.constant(places), b.part(boxes, 2, 4, 1))
    centre = b("Div", b("Add", first, last), b.constant(2.0))
    boxes = b("Concat", centre, b("Sub", last, first), axis=1)
    boxes = b("Mul", boxes, b.constant(np.full((1, 16), 8.0)))
    return b.made(b("Concat", boxes, b("Sigmoid", scores), axis=1), {"x": [1, 3, 8, 8]})


def unet() -> onnx.ModelProto:
    b = Export(11)
    skip = b.cr("x", 3, 6)
    x = b.cr(b("MaxPool", skip, kernel_shape=[2, 2], strides=[2, 2]), 6, 8)
    weight, bias = b.constant(2 * b.weight(8, 6, 2, 2)), b.constant(np.zeros(6))
    x = b("ConvTranspose", x, weight, bias, strides=[2, 2], kernel_shape=[2, 2])
    x = b.cr(b("Concat", x, skip, axis=1), 12, 6)
    return b.made(b("Sigmoid", b.conv(x, 6, 1, 1)), {"x": ["N", 3, "H", "W"]})


def excited() -> onnx.ModelProto:
    """Squeeze and excite by 1x1 convolutions, HardSigmoid; HardSwish."""
    b = Export(14)
    x = b.cr("x", 3, 8, strides=[2, 2])
    gate = b("Relu", b.conv(b("GlobalAveragePool", x), 8, 4, 1))
    x = b("Mul", x, b("HardSigmoid", b.conv(gate, 4, 8, 1), alpha=1 / 6, beta=0.5))
    x = b("HardSwish", b.conv(x, 8, 8, pads=[1] * 4))
    return b.made(b.fc(b.pooled(x), 8, 4))


def group_normalised(opset: int) -> Callable[[], onnx.ModelProto]:
    """GroupNormalization, by its operator or by InstanceNormalization of reshaped channels."""

    def make() -> onnx.ModelProto:
        b = Export(opset)
        x = b.conv("x", 3, 8, pads=[1] * 4)
        if opset >= 21:
            parts = b.constant(b.rng.uniform(0.5, 1, 8)), b.constant(b.rng.normal(size=8))
            x = b("GroupNormalization", x, *parts, num_groups=2)
        else:
            shape, ones = b("Shape", x), b.constant(np.ones(2))
            x = b("Reshape", x, b.whole([0, 2, -1]))
            x = b("InstanceNormalization", x, ones, b.constant(np.zeros(2)))
            x = b("Reshape", x, shape)
            x = b("Mul", x, b.constant(b.rng.uniform(0.5, 1, (8, 1, 1))))
            x = b("Add", x, b.constant(b.rng.normal(size=(8, 1, 1))))
        return b.made(b.conv(b("Relu", x), 8, 3), ir=min(8 + opset // 10, 10))

    return make


def layer_normalised(parts: bool) -> Callable[[], onnx.ModelProto]:
    """LayerNormalization, by its operator or by its parts."""

    def make() -> onnx.ModelProto:
        b = Export(17)
        x = b.fc("x", 8, 16)
        scale, shift = b.constant(b.rng.uniform(0.5, 1, 16)), b.constant(b.rng.normal(size=16))
        if parts:
            centred = b("Sub", x, b("ReduceMean", x, axes=[-1]))
            variance = b("ReduceMean", b("Pow", centred, b.constant(2.0)), axes=[-1])
            x = b("Div", centred, b("Sqrt", b("Add", variance, b.constant(1e-5))))
            x = b("Add", b("Mul", x, scale), shift)
        else:
            x = b("LayerNormalization", x, scale, shift, axis=-1)
        return b.made(b.fc(b("Relu", x), 16, 4), SEQUENCE)

    return make


def instance_normalised() -> onnx.ModelProto:
    b = Export(11)
    parts = b.constant(b.rng.uniform(0.5, 1, 6)), b.constant(b.rng.normal(size=6))
    x = b("Relu", b("InstanceNormalization", b.conv("x", 3, 6, pads=[1] * 4), *parts))
    return b.made(b("Tanh", b.conv(x, 6, 3, pads=[1] * 4)))


def gelu_by_tanh() -> onnx.ModelProto:
    """The approximation of GELU, two of whose operators stand twice in it."""
    b = Export(13)
    x = b.conv("x", 3, 6, pads=[1] * 4)
    cube = b("Mul", b("Pow", x, b.constant(3.0)), b.constant(0.044715))
    inner = b("Tanh", b("Mul", b("Add", x, cube), b.constant(0.79788)))
    x = b("Mul", b("Mul", x, b("Add", inner, b.constant(1.0))), b.constant(0.5))
    return b.made(b.conv(x, 6, 3))


def clipped() -> onnx.ModelProto:
    """Clips with both bounds, with one of either, as initializers."""
    b = Export(13)
    x = b("Clip", b.conv("x", 3, 6, pads=[1] * 4), b.constant(0.0), b.constant(6.0))
    x = b("Clip", b.conv(x, 6, 6, pads=[1] * 4), "", b.constant(4.0))
    x = b("Clip", b.conv(x, 6, 6, pads=[1] * 4), b.constant(-1.0))
    return b.made(b.conv(x, 6, 3))


def resnet(opset: int) -> Callable[[], onnx.ModelProto]:
    """A residual network in the forms of an operator set."""

    def make() -> onnx.ModelProto:
        b = Export(opset)
        x = b("Relu", b.norm(b.conv("x", 3, 6, bias=0, pads=[1] * 4), 6))
        y = b("Relu", b.norm(b.conv(x, 6, 6, bias=0, pads=[1] * 4), 6))
        y = b.norm(b.conv(y, 6, 6, bias=0, pads=[1] * 4), 6)
        x = b("MaxPool", b("Relu", b("Add", x, y)), kernel_shape=[2, 2], strides=[2, 2])
        keys = {} if opset >= 18 else {"axes": [2, 3]}
        x = b("ReduceMean", x, *([] if keys else [b.whole([2, 3])]), keepdims=0, **keys)
        x = b("Dropout", x, *([b.constant(0.5)] if opset >= 12 else []))
        return b.made(b("Softmax", b.gemm(x, 6, 4), axis=1), ir=10 if opset > 20 else 8)

    return make


def old_inputs() -> onnx.ModelProto:
    """IR 3: initializers are graph inputs too."""
    model = resnet(9)()
    model.ir_version = 3
    for tensor in model.graph.initializer:
        info = helper.make_tensor_value_info(tensor.name, tensor.data_type, list(tensor.dims))
        model.graph.input.append(info)
    return model


def renamed(make: Callable[[], onnx.ModelProto], pattern: str) -> Callable[[], onnx.ModelProto]:
    """The network with other names for everything."""

    def rename() -> onnx.ModelProto:
        model = make()
        graph = model.graph
        for node in graph.node:
            node.name = pattern.format(node.name)
            for names in (node.input, node.output):
                names[:] = [name and pattern.format(name) for name in names]
        for named in [*graph.initializer, *graph.input, *graph.output]:
            named.name = pattern.format(named.name)
        return model

    return rename


def constants_of_shape() -> onnx.ModelProto:
    b = Export(13)
    x = b.cr("x", 3, 6)
    ones = b("ConstantOfShape", b("Shape", x), value=numpy_helper.from_array(np.ones(1, "f")))
    limit = b("Mul", ones, b.constant(0.5))
    return b.made(b.conv(b("Where", b("Greater", x, limit), x, limit), 6, 3))


def dropped_out() -> onnx.ModelProto:
    b = Export(13)
    x = b("Dropout", b.cr("x", 3, 6), b.constant(0.3), b.constant(False, np.bool_))
    return b.made(b.conv(x, 6, 3))


def several_outputs() -> onnx.ModelProto:
    """Outputs that are read inside, given twice, or the input itself."""
    b = Export(13)
    x = b.cr(b("Identity", "x"), 3, 6)
    y = b.cr(x, 6, 6)
    same = b("Identity", y)
    return b.made([b.conv(y, 6, 3), x, same, b("Identity", same), b("Identity", "x")])


def with_states(lengths: tuple[Any, Any, Any]) -> Callable[[], onnx.ModelProto]:
    """Two recurrent layers by hand; sizes of the sequence's batch and of the states' axes."""

    def make() -> onnx.ModelProto:
        b = Export(13)
        x = b("ReduceMean", b("Relu", b.fc("x", 5, 8)), axes=[1], keepdims=0)
        states = []
        for layer in range(2):
            state = b("Gather", "h", b.whole(layer), axis=0)
            x = b("Tanh", b("Add", b.fc(x, 8, 8), b.fc(state, 8, 8)))
            states.append(b.axes("Unsqueeze", x, [0]))
        batch, layers, inner = lengths
        inputs = {"x": [batch, 7, 5], "h": [layers, inner, 8]}
        return b.made([b.fc(x, 8, 3), b("Concat", *states, axis=0)], inputs)

    return make


def resized_single() -> onnx.ModelProto:
    """A Resize of what no layer reads through it."""
    b = Export(13)
    scales = b.constant(np.zeros(0)), b.constant([1, 1, 2, 2])
    return b.made(b("Resize", b.conv(b.stem(), 6, 3), *scales, mode="linear"))


def sampled() -> onnx.ModelProto:
    """A variational autoencoder that draws its code."""
    b = Export(13)
    x = b("Relu", b.fc("x", 12, 16))
    noise = b("RandomNormalLike", b.fc(x, 16, 4))
    code = b("Add", b.fc(x, 16, 4), b("Mul", noise, b("Exp", b.fc(x, 16, 4))))
    return b.made(b.head(code, 4), {"x": ["N", 12]})


def text() -> onnx.ModelProto:
    """An embedding of words, read by a convolution."""
    b = Export(13)
    x = b("Transpose", b("Gather", b.constant(b.weight(20, 8)), "ids"), perm=[0, 2, 1])
    x = b("Relu", b.conv(x, 8, 8, 3, rank=1))
    x = b("ReduceMax", x, axes=[2], keepdims=0)
    return b.made(b.fc(x, 8, 4), {"ids": ["N", 12]}, types={"ids": INT64})


def words() -> onnx.ModelProto:
    """A BERT's beginning: positions and kinds out of buffers, a mask that all words count in."""
    b = Export(13)
    sizes = b("Shape", "ids")
    length = b("Gather", sizes, b.whole(1), axis=0)
    end = b.axes("Unsqueeze", length, [0])
    positions = b("Slice", b.whole(np.arange(512)[None]), b.whole([0]), end, b.whole([1]))
    kinds = b("Expand", b.whole([[0]]), sizes)
    x = b("Gather", b.constant(b.weight(20, 8)), "ids")
    for rows, index in ((512, positions), (2, kinds)):
        x = b("Add", x, b("Gather", b.constant(b.weight(rows, 8)), index))
    whole = b.axes("Unsqueeze", b("Expand", b.constant(1.0), sizes), [2])
    q = b.fc(b("Mul", x, whole), 8, 8)
    counted = b("GreaterOrEqual", b("Range", b.whole(0), length, b.whole(1)), b.whole(0))
    known = b(
        "And", b("And", b.constant(True, np.bool_), counted), b("Cast", "mask", to=TensorProto.BOOL)
    )
    known = b("Where", b.axes("Unsqueeze", known, [1]), b.constant(0.0), b.constant(-1e9))
    scores = b("Add", b("MatMul", q, b("Transpose", q, perm=[0, 2, 1])), known)
    x = b.head(b("MatMul", b("Softmax", scores, axis=-1), q), 8)
    inputs = {"ids": ["N", "T"], "mask": ["N", "T"]}
    return b.made(x, inputs, types={"ids": INT64, "mask": INT64})


def decoder() -> onnx.ModelProto:
    """Words read what is before them in their sequence: a gap in the positions begins another."""
    b = Export(13)
    sizes = b("Shape", "ids")
    length = b("Gather", sizes, b.whole(1), axis=0)
    places = b("Expand", b.whole(np.arange(6)[None]), sizes)
    first = b("Sub", b.part(places, 0, 1, 1), b.whole(1))
    before = b("Concat", first, b.part(places, 0, 5, 1), axis=1)
    gap = b("Not", b("Equal", b("Sub", places, before), b.whole(1)))
    part = b("CumSum", b("Cast", gap, to=INT64), b.whole(1))
    same = b("Equal", b.axes("Unsqueeze", part, [1]), b.axes("Unsqueeze", part, [2]))
    counted = b("Range", b.whole(0), length, b.whole(1))
    causal = b("LessOrEqual", counted, b.axes("Unsqueeze", counted, [1]))
    mask = b("Where", b("And", causal, same), b.constant(0.0), b.constant(-1e9))
    x = b("Gather", b.constant(b.weight(20, 8)), "ids")
    scores = b("MatMul", b.fc(x, 8, 8), b("Transpose", x, perm=[0, 2, 1]))
    x = b("MatMul", b("Softmax", b("Add", scores, mask), axis=-1), x)
    return b.made(b.head(x, 8), {"ids": ["N", 6]}, types={"ids": INT64})


def tied_embedding() -> onnx.ModelProto:
    """The embedding's table is the last layer's weight too."""
    b = Export(13)
    table = b.constant(b.weight(12, 8))
    x = b("Relu", b.fc(b("Gather", table, "ids"), 8, 8))
    x = b("MatMul", x, b("Transpose", table, perm=[1, 0]))
    return b.made(x, {"ids": ["N", 6]}, types={"ids": INT64})


def bytes_of_images() -> onnx.ModelProto:
    """An image of bytes, normalised inside."""
    b = Export(13)
    x = to_first(b, b("Cast", "x", to=FLOAT))
    x = b("Sub", b("Div", x, b.constant(255.0)), b.constant(np.full((1, 3, 1, 1), 0.4)))
    x = b("Div", x, b.constant(np.array([0.2, 0.3, 0.25]).reshape(1, 3, 1, 1)))
    x = b.fc(b.pooled(b.cr(x, 3, 6)), 6, 4)
    return b.made(x, {"x": ["N", 8, 8, 3]}, types={"x": TensorProto.UINT8})


def two_inputs() -> onnx.ModelProto:
    b = Export(13)
    x = b("Concat", b.pooled(b.cr("x", 3, 6)), b("Relu", b.fc("v", 4, 6)), axis=1)
    return b.made(b.head(b("Relu", x), 12), {"x": ["N", 3, 8, 8], "v": ["N", 4]})


def computed_weights() -> onnx.ModelProto:
    """Weights that are transposed, normalised, or cast from half precision."""
    b = Export(13)
    weight = b("Transpose", b.constant(b.weight(3, 6, 3, 3)), perm=[1, 0, 2, 3])
    x = b("Relu", b("Conv", "x", weight, pads=[1] * 4))
    direction, size = (
        b.constant(b.weight(6, 6, 3, 3)),
        b.constant(b.rng.uniform(1, 2, (6, 1, 1, 1))),
    )
    norm = b("ReduceL2", direction, axes=[1, 2, 3], keepdims=1)
    weight = b("Mul", direction, b("Div", size, norm))
    x = b.pooled(b("Relu", b("Conv", x, weight, pads=[1] * 4)))
    weight = b("Cast", b.constant(b.weight(4, 6), np.float16), to=FLOAT)
    return b.made(b("Gemm", x, weight, transB=1))


def half_inside() -> onnx.ModelProto:
    """Half precision between casts."""
    model = resnet(13)()
    for tensor in model.graph.initializer:
        half = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(half, tensor.name))
    output = model.graph.output[0].name
    nodes = list(model.graph.node)
    for node in nodes:
        node.input[:] = ["half" if name == "x" else name for name in node.input]
        node.output[:] = ["made" if name == output else name for name in node.output]
    nodes.insert(0, helper.make_node("Cast", ["x"], ["half"], to=TensorProto.FLOAT16))
    nodes.append(helper.make_node("Cast", ["made"], [output], to=FLOAT))
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model


def prelus() -> onnx.ModelProto:
    """Slopes in the shapes that exporters give them."""
    b = Export(13)
    x = "x"
    for i, shape in ((3, (6, 1, 1)), (6, (1,)), (6, (1, 6, 1, 1))):
        slope = b.constant(b.rng.uniform(0.1, 0.3, shape))
        x = b("PRelu", b.conv(x, i, 6, pads=[1] * 4), slope)
    x = b("PRelu", b.fc(b.pooled(x), 6, 8), b.constant(b.rng.uniform(0.1, 0.3, 8)))
    return b.made(b.fc(x, 8, 3))


def flat_by_rows() -> onnx.ModelProto:
    """Channels last, a Reshape that joins one of two axes of positions with the channels."""
    b = Export(13)
    x = b("Reshape", to_last(b, b.stem()), b.whole([-1, 4, 24]))
    x = b("ReduceMean", b("Relu", b.fc(x, 24, 8)), axes=[1], keepdims=0)
    return b.made(b.fc(x, 8, 3))


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    make.__name__: make
    for make in (
        *(channels_last, channels_last_flat, channels_last_norms, keras_pads, mobilenet_v3, yolo),
        *(yolo_of_distributions, unet, excited, instance_normalised, gelu_by_tanh, clipped),
        *(old_inputs, constants_of_shape, dropped_out, several_outputs, text, words, decoder),
        tied_embedding,
        *(
            resized_single,
            sampled,
            bytes_of_images,
            two_inputs,
            computed_weights,
            half_inside,
            prelus,
            flat_by_rows,
        ),
    )
}
NETWORKS |= {
    **{f"resnet {opset}": resnet(opset) for opset in range(7, 24)},
    **{f"group normalised {opset}": group_normalised(opset) for opset in (13, 21)},
    "layer normalised": layer_normalised(False),
    "layer normalised, parts": layer_normalised(True),
    "with states": with_states((1, 2, 1)),
    "with states of a batch": with_states(("N", 2, "N")),
    "constant nodes": lambda: yolo(nodes=True),
    "names of TensorFlow": renamed(channels_last, "StatefulPartitionedCall/model/{}/BiasAdd:0"),
    "names of torch": renamed(unet, "/model.22/cv2.0/{}/Conv_output_0"),
    "odd names": renamed(resnet(13), "层 {}'\"%s{{0}}\\n;*?"),
}
