"""What comes behind the last layer: class maps, labels, masks, boxes."""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from exports.builder import FLOAT, INT64, Export

INT32, UINT8, BOOL = TensorProto.INT32, TensorProto.UINT8, TensorProto.BOOL
SEQUENCE = {"x": ["N", 5, 8]}
TABLE = {"x": [None, 4]}
Head = Callable[[Export, str], tuple[list[str], dict[str, int]]]


def class_map(head: Head) -> Callable[[], onnx.ModelProto]:
    """A segmentation network of 5 classes and a head."""

    def make() -> onnx.ModelProto:
        b = Export(13)
        outputs, types = head(b, b.conv(b.stem(), 6, 5, 1))
        return b.made(outputs, types=types)

    return make


def best(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    best = b("ArgMax", y, axis=1, keepdims=0)
    return [best], {best: INT64}


def one_hot(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    best = b("ArgMax", y, axis=1, keepdims=0)
    hot = b("OneHot", best, b.whole(5), b.constant([0, 1]))
    return [y, b("Transpose", hot, perm=[0, 3, 1, 2])], {}


def one_hot_whole(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    """The pixels of each class, summed where they are its own; the map as int32."""
    best = b("ArgMax", y, axis=1, keepdims=0)
    hot = b("OneHot", best, b.whole([5]), b.whole([0, 1]), axis=1)
    mask = b("Cast", b("Equal", hot, b.whole(1)), to=FLOAT)
    sums = b("ReduceSum", b("Mul", mask, y), b.whole([2, 3]), keepdims=0)
    classes = b("Cast", best, to=INT32)
    return [sums, classes], {classes: INT32}


def one_hot_cast(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    hot = b("OneHot", b("ArgMax", y, axis=1, keepdims=0), b.whole(5), b.whole([0, 1]), axis=1)
    return [b("Mul", b("Cast", hot, to=FLOAT), y), b("Cast", hot, to=BOOL)], {f"t{b.count}": BOOL}


def one_class(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    mask = b("Equal", b("ArgMax", y, axis=1, keepdims=1), b.whole(2))
    mask = b("Cast", mask, to=FLOAT)
    return [y, mask, b("ReduceSum", mask, b.whole([2, 3]), keepdims=0)], {}


def every_class(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    """All classes' masks by one comparison with a vector."""
    classes = b.whole(np.arange(5).reshape(1, 5, 1, 1))
    mask = b("Equal", b("ArgMax", y, axis=1, keepdims=1), classes)
    kept = b("Where", mask, y, b.constant(0.0))
    return [kept, b("ReduceSum", kept, b.whole([1]), keepdims=1)], {}


def masks_as_floats(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    """All classes' masks, cast and counted."""
    classes = b.whole(np.arange(5).reshape(1, 5, 1, 1))
    mask = b("Cast", b("Equal", b("ArgMax", y, axis=1, keepdims=1), classes), to=FLOAT)
    return [b("Mul", mask, y), b("ReduceSum", mask, b.whole([2, 3]), keepdims=0)], {}


def masks_joined(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    """A mask for each class, joined."""
    best = b("ArgMax", y, axis=1, keepdims=1)
    masks = [b("Cast", b("Equal", best, b.whole(k)), to=FLOAT) for k in range(5)]
    joined = b("Concat", *masks, axis=1)
    return [joined, b("Where", b("Cast", joined, to=BOOL), y, b.constant(-1.0))], {}


def thresholded(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    above = b("Greater", b("Sigmoid", y), b.constant(0.5))
    chosen = b("Where", above, b.constant(1.0), b.constant(0.0))
    pixels = b("Cast", above, to=UINT8)
    return [chosen, pixels], {pixels: UINT8}


def doubtful(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    """Grey levels of the best class where it is likely."""
    p = b("Softmax", y, axis=1)
    sure = b("GreaterOrEqual", b("ReduceMax", p, axes=[1], keepdims=1), b.constant(0.4))
    best = b("Where", sure, b("ArgMax", p, axis=1, keepdims=1), b.whole(-1))
    pixels = b("Cast", b("Mul", b("Cast", best, to=FLOAT), b.constant(51.0)), to=UINT8)
    return [pixels], {pixels: UINT8}


def palette(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    colours = b.constant(10 * np.arange(15).reshape(5, 3))
    image = b("Gather", colours, b("ArgMax", y, axis=1, keepdims=0))
    return [b("Transpose", image, perm=[0, 3, 1, 2])], {}


def counted(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    number = b("Cast", b("ArgMax", y, axis=1, keepdims=0), to=FLOAT)
    return [b("Div", b("ReduceSum", number, b.whole([1, 2]), keepdims=0), b.constant(16.0))], {}


def top_two(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    values, places = b.several("TopK", b.pooled(y), b.whole([2]), outputs=2, axis=1)
    return [values, places], {places: INT64}


def at_the_best(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    best = b("ArgMax", y, axis=1, keepdims=1)
    return [b("GatherElements", y, best, axis=1)], {}


def truths(b: Export, y: str) -> tuple[list[str], dict[str, int]]:
    y = b.pooled(y)
    first = b("Greater", y, b.constant(0.0))
    both = b("And", first, b("Less", y, b.constant(1.0)))
    return [y, both, b("Not", first)], {both: BOOL, f"t{b.count}": BOOL}


def suppressed() -> onnx.ModelProto:
    """A detector that ends in NonMaxSuppression."""
    b = Export(13)
    x = b.cr("x", 3, 8, strides=[2, 2])
    boxes = b("Transpose", b.conv(x, 8, 8, 1), perm=[0, 2, 3, 1])
    boxes = b("Reshape", boxes, b.whole([1, -1, 4]))
    scores = b("Sigmoid", b("Reshape", b.conv(x, 8, 4, 1), b.whole([1, 2, -1])))
    limits = b.whole([10]), b.constant([0.5]), b.constant([0.1])
    chosen = b("NonMaxSuppression", boxes, scores, *limits)
    return b.made([boxes, scores, chosen], {"x": [1, 3, 8, 8]}, types={chosen: INT64})


def with_priors() -> onnx.ModelProto:
    """SSD's boxes: offsets and sizes of constant priors."""
    b = Export(11)
    x = b("Transpose", b.conv(b.cr("x", 3, 8, strides=[2, 2]), 8, 8, 1), perm=[0, 2, 3, 1])
    x = b("Reshape", x, b.whole([0, -1, 4]))
    centres, sizes = (b.constant(b.rng.uniform(0, 1, (32, 2))) for _ in range(2))
    centre = b("Mul", b("Mul", b.part(x, 0, 2, 2), b.constant(0.1)), sizes)
    centre = b("Add", centre, centres)
    size = b("Mul", b("Exp", b("Mul", b.part(x, 2, 4, 2), b.constant(0.2))), sizes)
    half = b("Div", size, b.constant(2.0))
    return b.made(b("Concat", b("Sub", centre, half), b("Add", centre, half), axis=2))


def normalised() -> onnx.ModelProto:
    """An embedding over its norm, which torch clips and expands."""
    b = Export(11)
    x = b.fc(b.pooled(b.cr("x", 3, 8)), 8, 6)
    norm = b("Clip", b("ReduceL2", x, axes=[1], keepdims=1), b.constant(1e-12))
    return b.made(b("Div", x, b("Expand", norm, b("Shape", x))))


def labelled(binary: bool) -> Callable[[], onnx.ModelProto]:
    """A multilayer perceptron as skl2onnx writes it, without ZipMap."""

    def make() -> onnx.ModelProto:
        b = Export(13)
        x = b("Relu", b.fc(b("Cast", "x", to=FLOAT), 4, 8))
        p = b("Softmax", b.fc(x, 8, 3), axis=1)
        if binary:
            p = b("Sigmoid", b.fc(x, 8, 1))
            p = b("Concat", b("Sub", b.constant([1.0]), p), p, axis=1)
        labels = b.constant([0, 1] if binary else [0, 1, 2], np.int32)
        best = b("ArgMax", p, axis=1, keepdims=1)
        label = b("ArrayFeatureExtractor", labels, best, domain="ai.onnx.ml")
        label = b("Reshape", b("Cast", label, to=INT64), b.whole([-1]))
        return b.made([label, p], TABLE, types={label: INT64}, domains=["ai.onnx.ml"])

    return make


def scaled_table() -> onnx.ModelProto:
    """skl2onnx's StandardScaler before a perceptron."""
    b = Export(13)
    keys: dict[str, Any] = {"offset": [1.0, 2.0, 3.0, 4.0], "scale": [0.5] * 4}
    x = b("Relu", b.fc(b("Scaler", "x", domain="ai.onnx.ml", **keys), 4, 8))
    return b.made(b.fc(x, 8, 1), TABLE, domains=["ai.onnx.ml"])


def zipped() -> onnx.ModelProto:
    """skl2onnx's default: probabilities as a sequence of maps, which is no tensor."""
    b = Export(13)
    p = b("Softmax", b.fc(b("Relu", b.fc("x", 4, 8)), 8, 3), axis=1)
    label = b("ArgMax", p, axis=1, keepdims=0)
    maps = b("ZipMap", p, domain="ai.onnx.ml", classlabels_int64s=[0, 1, 2])
    model = b.made([label, maps], TABLE, types={label: INT64}, domains=["ai.onnx.ml"])
    number = helper.make_tensor_type_proto(FLOAT, [])
    kind = helper.make_sequence_type_proto(helper.make_map_type_proto(INT64, number))
    model.graph.output[1].CopyFrom(helper.make_value_info(maps, kind))
    return model


def masked(how: str) -> Callable[[], onnx.ModelProto]:
    """Attention under a mask of minus infinity, constant or from an input."""

    def make() -> onnx.ModelProto:
        b = Export(13)
        q = b.fc("x", 8, 8)
        scores = b("MatMul", q, b("Transpose", q, perm=[0, 2, 1]))
        later, inputs = np.triu(np.ones((5, 5), bool), 1), dict(SEQUENCE)
        if how == "added":
            scores = b("Add", scores, b.constant(np.where(later, -np.inf, 0)))
        elif how == "chosen":
            scores = b("Where", b.constant(later[None], np.bool_), b.constant(-np.inf), scores)
        else:
            inputs["mask"] = ["N", 5]
            mask = b.axes("Unsqueeze", b("Cast", "mask", to=BOOL), [1])
            scores = b("Where", mask, scores, b.constant(-np.inf))
        scores = b("Softmax", scores, axis=-1)
        if how == "given":
            scores = b("Where", b("IsNaN", scores), b.constant(0.0), scores)
        x = b.head(b("MatMul", scores, q), 8)
        return b.made(x, inputs, types={"mask": INT64})

    return make


def bounded() -> onnx.ModelProto:
    """Infinite bounds: of a Clip, and around a MaxPool."""
    b = Export(13)
    x = b("Clip", b.conv("x", 3, 6, pads=[1] * 4), b.constant(0.0), b.constant(np.inf))
    x = b("Pad", x, b.whole([0, 0, 1, 1, 0, 0, 1, 1]), b.constant(-np.inf))
    x = b("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2])
    return b.made(b.conv(x, 6, 3))


HEADS: dict[str, Callable[[], onnx.ModelProto]] = {
    **{
        f"class map: {head.__name__}": class_map(head)
        for head in (
            *(best, one_hot, one_hot_whole, one_hot_cast, one_class, every_class, masks_as_floats),
            *(masks_joined, thresholded, doubtful, palette, counted, top_two, at_the_best, truths),
        )
    },
    **{f"mask {how}": masked(how) for how in ("added", "chosen", "given")},
    "bounded": bounded,
    "labelled": labelled(False),
    "labelled, binary": labelled(True),
    "normalised": normalised,
    "scaled table": scaled_table,
    "suppressed": suppressed,
    "with priors": with_priors,
    "zipped": zipped,
}
