"""Shape arithmetic as exporters write it: flattening, shuffling, resizing to computed sizes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from exports.builder import Export

SHAPES: dict[str, list[Any]] = {
    "fixed batch": [1, 3, 8, 8],
    "named batch": ["N", 3, 8, 8],
    "open batch": [None, 3, 8, 8],
    "all open": [None, 3, None, None],
    "alike": ["?", 3, "?", "?"],
}


def gathered(b: Export, x: str) -> str:
    """Shape → Gather → Unsqueeze → Concat."""
    return b.joined(*b.dims(x, 0), [-1])


def sliced(b: Export, x: str) -> str:
    """Shape → Slice → Concat."""
    return b.joined(b.part(b("Shape", x), 0, 1, 0), [-1])


def multiplied(b: Export, x: str) -> str:
    """Shape → Slice → ReduceProd → Concat."""
    shape = b("Shape", x)
    rest = b("ReduceProd", b.part(shape, 1, 2**31 - 1, 0), axes=[0], keepdims=1)
    return b.joined(b.part(shape, 0, 1, 0), rest)


def by_factors(b: Export, x: str) -> str:
    """Single sizes, multiplied."""
    n, c, h, w = b.dims(x, 0, 1, 2, 3)
    return b.joined(n, b("Mul", b("Mul", c, h), w))


def cast(b: Export, x: str) -> str:
    """Shape → Cast → Slice → Concat → Cast, as tf2onnx writes it."""
    n = b.part(b("Cast", b("Shape", x), to=TensorProto.INT32), 0, 1, 0)
    both = b("Concat", n, b.constant([-1], np.int32), axis=0)
    return b("Cast", both, to=TensorProto.INT64)


def of_input(b: Export, x: str) -> str:
    """The batch is read off the network's input."""
    return gathered(b, "x")


def flattened(goal: Callable[[Export, str], str], shape: list[Any], pooled: bool) -> Any:
    def make() -> onnx.ModelProto:
        b = Export(11)
        x = b.stem()
        x = b("GlobalAveragePool", x) if pooled else x
        y = b("Reshape", x, goal(b, x))
        return b.made(b.head(y, 6 if pooled else 96), {"x": shape})

    return make


def shuffled(divided: bool) -> Any:
    def make() -> onnx.ModelProto:
        b = Export(11)
        x = b.cr("x", 3, 8, strides=[2, 2])
        n, c, h, w = b.dims(x, 0, 1, 2, 3)
        per_group: Any = [4]
        if divided:
            quotient = b("Cast", b("Div", c, b.whole([2])), to=TensorProto.FLOAT)
            per_group = b("Cast", b("Floor", quotient), to=TensorProto.INT64)
        y = b("Reshape", x, b.joined(n, [2], per_group, h, w))
        y = b("Reshape", b("Transpose", y, perm=[0, 2, 1, 3, 4]), b.joined(n, [-1], h, w))
        return b.made(b.head(b.pooled(b.cr(y, 8, 8, group=2)), 8), {"x": ["N", 3, "H", "W"]})

    return make


def attention(dynamic: bool) -> Any:
    def make() -> onnx.ModelProto:
        b = Export(13)
        split, joined = b.whole([0, 0, 2, 4]), b.whole([0, 0, 8])
        if dynamic:
            n, t = b.dims("x", 0, 1)
            split, joined = b.joined(n, t, [2], [4]), b.joined(n, t, [8])
        heads = [
            b("Transpose", b("Reshape", b.fc("x", 8, 8), split), perm=perm)
            for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        ]
        scores = b("Div", b("MatMul", *heads[:2]), b.constant(2.0))
        y = b("MatMul", b("Softmax", scores, axis=-1), heads[2])
        y = b("Reshape", b("Transpose", y, perm=[0, 2, 1, 3]), joined)
        x = b("Add", "x", b.fc(y, 8, 8))
        x = b("Add", x, b.fc(b("Relu", b.fc(x, 8, 16)), 16, 8))
        return b.made(b.fc(b("Gather", x, b.whole(0), axis=1), 8, 4), {"x": ["N", "T", 8]})

    return make


def excited() -> onnx.ModelProto:
    """Squeeze and excite by fully connected layers, reshaped and expanded to computed shapes."""
    b = Export(11)
    x = b.cr("x", 3, 8, strides=[2, 2])
    (n,) = b.dims(x, 0)
    y = b("Reshape", b("GlobalAveragePool", x), b.joined(n, [8]))
    y = b("Sigmoid", b.fc(b("Relu", b.fc(y, 8, 4)), 4, 8))
    y = b("Expand", b("Reshape", y, b.joined(n, [8], [1], [1])), b("Shape", x))
    return b.made(b.conv(b("Mul", x, y), 8, 4))


def resized_to(opset: int) -> Any:
    """An Upsample or Resize to the size of an earlier tensor, its regions left empty."""

    def make() -> onnx.ModelProto:
        b = Export(opset)
        x = b.stem()
        y = b.cr(x, 6, 6, strides=[2, 2])
        empty = b.held(np.zeros(0))
        size = b.part(b("Shape", x), 2, 4, 0)
        sizes = b.joined(b.part(b("Shape", y), 0, 2, 0), size)
        y = b("Resize", y, empty, empty, sizes, mode="nearest")
        return b.made(b.conv(b("Add", x, y), 6, 2), {"x": ["N", 3, "H", "W"]})

    return make


def scaled_up() -> onnx.ModelProto:
    """An Upsample by the quotient of sizes, as old torch exports interpolate."""
    b = Export(9)
    x = b.stem()
    size = b("Slice", b("Shape", x), axes=[0], starts=[2], ends=[4])
    size = b("Cast", size, to=TensorProto.FLOAT)
    doubled = b("Cast", b("Floor", b("Mul", size, b.constant([2.0, 2.0]))), to=TensorProto.FLOAT)
    scales = b("Concat", b.constant([1.0, 1.0]), b("Div", doubled, size), axis=0)
    return b.made(b.conv(b("Upsample", x, scales, mode="nearest"), 6, 3))


def cropped() -> onnx.ModelProto:
    """A crop to the size of another tensor."""
    b = Export(11)
    x = b.cr("x", 3, 6)
    y = b.cr(b("Pad", x, b.whole([0, 0, 1, 1, 0, 0, 2, 2])), 6, 6)
    size = b.part(b("Shape", x), 2, 4, 0)
    y = b("Slice", y, b.whole([0, 0]), size, b.whole([2, 3]))
    return b.made(b.conv(b("Add", x, y), 6, 3), {"x": ["N", 3, "H", "W"]})


def padded_unet() -> onnx.ModelProto:
    """Pads that make up for odd sizes are computed of the shapes on both sides of a skip."""
    b = Export(11)
    skip = b.cr("x", 3, 6)
    x = b.cr(b("MaxPool", skip, kernel_shape=[2, 2], strides=[2, 2]), 6, 8)
    weight, bias = b.constant(2 * b.weight(8, 6, 2, 2)), b.constant(np.zeros(6))
    x = b("ConvTranspose", x, weight, bias, strides=[2, 2], kernel_shape=[2, 2])
    missing = [b("Sub", *pair) for pair in zip(b.dims(skip, 2, 3), b.dims(x, 2, 3), strict=True)]
    before = [b("Div", size, b.whole([2])) for size in missing]
    after = [b("Sub", *pair) for pair in zip(missing, before, strict=True)]
    x = b("Pad", x, b.joined([0], [0], *before, [0], [0], *after), b.constant(0.0))
    x = b.cr(b("Concat", skip, x, axis=1), 12, 6)
    return b.made(b("Sigmoid", b.conv(x, 6, 1, 1)), {"x": ["N", 3, "H", "W"]})


def torch_pads() -> onnx.ModelProto:
    """Pads as torch makes them of its own order: Concat, Reshape, Slice backwards, Transpose."""
    b = Export(11)
    zeros = b("ConstantOfShape", b.whole([4]), value=numpy_helper.from_array(np.zeros(1, np.int64)))
    pairs = b("Reshape", b("Concat", b.whole([1, 1, 1, 1]), zeros, axis=0), b.whole([-1, 2]))
    bounds = (b.whole([v]) for v in (-1, -(2**63) + 1, 0, -1))
    turned = b("Transpose", b("Slice", pairs, *bounds), perm=[1, 0])
    pads = b("Cast", b("Reshape", turned, b.whole([-1])), to=TensorProto.INT64)
    x = b("Pad", b.cr("x", 3, 6), pads, b.constant(0.0), mode="reflect")
    return b.made(b.conv(x, 6, 3))


def with_token() -> onnx.ModelProto:
    """A patch embedding with a class token, which is expanded to the batch as torch does it."""
    b = Export(13)
    x = b("Reshape", b.conv("x", 3, 8, 4, strides=[4, 4]), b.whole([0, 8, -1]))
    x = b("Transpose", x, perm=[0, 2, 1])
    (n,) = b.dims(x, 0)
    goal = b.joined(n, [-1], [-1])
    fill = numpy_helper.from_array(np.ones(1, np.int64))
    ones = b("ConstantOfShape", b.whole([3]), value=fill)
    unknown = b("Equal", goal, b("Mul", ones, b.whole(-1)))
    token = b("Expand", b.constant(b.rng.normal(size=(1, 1, 8))), b("Where", unknown, ones, goal))
    x = b("Add", b("Concat", token, x, axis=1), b.constant(b.rng.normal(size=(1, 5, 8))))
    x = b.fc(b("Relu", b.fc(x, 8, 16)), 16, 8)
    return b.made(b.fc(b("Gather", x, b.whole(0), axis=1), 8, 4))


def tiled_positions() -> onnx.ModelProto:
    """Positions that Tile repeats for every input."""
    b = Export(13)
    x = b("Relu", b.conv("x", 3, 8, 4, strides=[4, 4]))
    (n,) = b.dims(x, 0)
    places = b("Tile", b.constant(b.rng.normal(size=(1, 8, 2, 2))), b.joined(n, [1], [1], [1]))
    x = b("Flatten", b("Add", x, places))
    return b.made(b.fc(b("Relu", b.fc(x, 32, 16)), 16, 4))


def standardised() -> onnx.ModelProto:
    """A large weight normalised over each row by a BatchNormalization in training mode, as timm."""
    b = Export(15)
    x = b("Relu", b.conv("x", 3, 128, 2, strides=[2, 2]))
    rows = b.held(b.rng.normal(1, 3, size=(1, 64, 128 * 9)))
    mean = b("ReduceMean", rows, axes=[0, 2], keepdims=0)
    gains = b.held(0.03 * b.rng.uniform(0.5, 1.5, size=64))
    given = rows, gains, b.held(np.zeros(64)), mean, b.held(np.ones(64))
    (normal, *_) = b.several("BatchNormalization", *given, outputs=3, training_mode=1)
    weight = b("Reshape", normal, b.held([64, 128, 3, 3], np.int64))
    return b.made(b.fc(b.pooled(b("Relu", b("Conv", x, weight))), 64, 4))


def squeezed_if_single() -> onnx.ModelProto:
    """torch.jit's squeeze of an axis whose size it does not know: an If on that size."""
    b = Export(13)
    x = b("Relu", b.conv(b.cr("x", 3, 6, strides=[2, 2]), 6, 8, 4))
    yes = b("Equal", b("Gather", b("Shape", x), b.whole(3), axis=0), b.whole(1))
    branches = {}
    for name, op, more in (
        ("then_branch", "Squeeze", [b.whole([3])]),
        ("else_branch", "Identity", []),
    ):
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        node = helper.make_node(op, [x, *more], [name])
        branches[name] = helper.make_graph([node], name, [], [out])
    x = b("Flatten", b("Conv", b("If", yes, **branches), b.constant(b.weight(8, 8, 1))))
    return b.made(b.fc(b("Relu", x), 8, 4))


def recognised() -> onnx.ModelProto:
    """Convolutions read as a sequence by a GRU whose state starts as zeros of a computed shape."""
    b = Export(11)
    x = b.cr(b.cr("x", 1, 4, strides=[2, 2]), 4, 4)
    x = b("Transpose", x, perm=[3, 0, 1, 2])
    t, n = b.dims(x, 0, 1)
    x = b("Reshape", x, b.joined(t, n, [-1]))
    weights = [b.constant(0.5 * b.weight(2, 24, i)) for i in (16, 8)]
    zeros = numpy_helper.from_array(np.zeros(1, np.float32))
    state = b("ConstantOfShape", b.joined([2], n, [8]), value=zeros)
    bias = b.constant(np.zeros((2, 48)))
    keys = {"hidden_size": 8, "direction": "bidirectional", "linear_before_reset": 1}
    y, _ = b.several("GRU", x, *weights, bias, "", state, outputs=2, **keys)
    y = b("Reshape", b("Transpose", y, perm=[0, 2, 1, 3]), b.whole([0, 0, -1]))
    return b.made(b("LogSoftmax", b.fc(y, 16, 6), axis=2), {"x": ["N", 1, 8, "W"]})


def pixel_shuffled() -> onnx.ModelProto:
    """A pixel shuffle by reshapes to computed sizes."""
    b = Export(11)
    x = b.conv(b.cr("x", 3, 8), 8, 12, pads=[1] * 4)
    n, h, w = b.dims(x, 0, 2, 3)
    x = b("Transpose", b("Reshape", x, b.joined(n, [3, 2, 2], h, w)), perm=[0, 1, 4, 2, 5, 3])
    x = b("Reshape", x, b.joined(n, [3], *(b("Mul", size, b.whole([2])) for size in (h, w))))
    return b.made(x, {"x": ["N", 3, "H", "W"]})


FLATTENED: dict[str, Any] = {
    f"{goal.__name__}, {name}{', pooled' * pooled}": flattened(goal, shape, pooled)
    for goal in (gathered, sliced, multiplied, by_factors, cast, of_input)
    for name, shape in SHAPES.items()
    for pooled in (False, True)
    if pooled or (None not in shape[1:] and "?" not in shape)
}
SIZES: dict[str, Any] = {
    **FLATTENED,
    "shuffled": shuffled(False),
    "shuffled, divided": shuffled(True),
    "attention": attention(False),
    "attention of computed shapes": attention(True),
    "excited": excited,
    "resized 11": resized_to(11),
    "resized 13": resized_to(13),
    "scaled up": scaled_up,
    "cropped": cropped,
    "padded U-Net": padded_unet,
    "torch pads": torch_pads,
    "with token": with_token,
    "tiled positions": tiled_positions,
    "standardised": standardised,
    "squeezed if single": squeezed_if_single,
    "recognised": recognised,
    "pixel shuffled": pixel_shuffled,
}
