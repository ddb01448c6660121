"""Random networks that the oracle is tried on: skips, strides, groups, pads, odd operators."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx
from graphs import Builder


@dataclass
class Network:
    """A network as it grows: its last tensor [N, c, size, size]; no size, no more layers."""

    b: Builder
    activation: str
    x: str = "x"
    c: int = 3
    size: int | None = 8

    def act(self, tensor: str) -> str:
        """The network's activation."""
        if self.activation != "Clip":
            return self.b(self.activation, tensor)
        if self.b.opset < 11:
            return self.b("Clip", tensor, min=0.0, max=6.0)
        return self.b("Clip", tensor, self.b.constant(0.0), self.b.constant(6.0))

    def layer(self, o: int, k: int = 3, **words: object) -> None:
        """A convolution to `o` channels, and the activation."""
        self.x, self.c = self.act(self.b.conv(self.x, self.c, o, k, **words)), o


def random_graph(seed: int, *, opset: int = 17) -> onnx.ModelProto:
    """A small network of whatever layers the seed gives, on [N, 3, 8, 8]."""
    b = Builder(seed, opset)
    net = Network(b, str(b.rng.choice(["Relu", "LeakyRelu", "Clip"])))
    kinds = [*LAYERS, *BETWEEN]
    for _ in range(int(b.rng.integers(2, 6))):
        kind, o = str(b.rng.choice(kinds)), int(b.rng.choice([4, 6, 8]))
        if kind in LAYERS:
            LAYERS[kind](net, o)
        else:
            net.layer(8, pads=[1] * 4)
            grown = BETWEEN[kind](b, net.x, net.size)
            if grown is not None:
                net.x, net.c, net.size = grown
            net.layer(o, pads=[1] * 4)
        if net.size is None:
            break
    if net.size is None or not 1 <= net.size <= 8 or b.rng.random() < 0.5:
        net.x, net.size = b("GlobalAveragePool", net.x), 1
    x = b("Flatten", net.x, axis=1)
    return b.model(b.gemm(x, net.c * net.size * net.size, 5))


# layers ----------------------------------------------------------------------------------------


def skip(net: Network, o: int) -> None:
    b, x = net.b, net.x
    y = b.conv(net.act(b.conv(x, net.c, o, pads=[1] * 4)), o, net.c, pads=[1] * 4)
    net.x = net.act(b("Add", x, y) if b.rng.random() < 0.5 else b("Add", y, x))


def project(net: Network, o: int) -> None:
    if net.size < 4:
        return
    b = net.b
    y = b.norm(b.conv(net.x, net.c, o, bias=0, pads=[1] * 4, strides=[2, 2]), o)
    z = b.conv(net.x, net.c, o, 1, strides=[2, 2])
    net.x, net.c, net.size = net.act(b("Add", y, z)), o, -(-net.size // 2)


def concat(net: Network, o: int) -> None:
    y = net.act(net.b.conv(net.x, net.c, o, pads=[1] * 4))
    net.x, net.c = net.b("Concat", net.x, y, axis=1), net.c + o


def group(net: Network, o: int) -> None:
    if net.c % 2 == 0:
        net.layer(o, pads=[1] * 4, group=2)


def pool(net: Network, o: int) -> None:
    if net.size >= 4:
        op = str(net.b.rng.choice(["MaxPool", "AveragePool", "LpPool"]))
        net.x = net.b(op, net.x, kernel_shape=[2, 2], strides=[2, 2])
        net.size //= 2


def average(net: Network, o: int) -> None:
    if net.size >= 4:
        counted = int(net.b.rng.integers(2))
        words = {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": counted}
        net.x = net.b("AveragePool", net.x, **words)


def norm(net: Network, o: int) -> None:
    net.x = net.act(net.b.norm(net.x, net.c))


def odd(net: Network, o: int) -> None:
    net.layer(o, 3, pads=[2, 0, 1, 1], bias=4.0)
    net.size = None


def dilated(net: Network, o: int) -> None:
    if net.size >= 6:
        net.layer(o, pads=[2] * 4, dilations=[2, 2])


def wide(net: Network, o: int) -> None:
    if net.size <= 12:
        net.layer(o, 1, pads=[1] * 4)
        net.size += 2


def transposed(net: Network, o: int) -> None:
    if net.size > 8:
        return
    b, (k, pad) = net.b, (2, 0) if net.b.rng.random() < 0.5 else (4, 1)
    w = b.constant(b.weight(net.c, o, k, k))
    bias = b.constant(0.3 * b.rng.standard_normal(o))
    y = b("ConvTranspose", net.x, w, bias, strides=[2, 2], pads=[pad] * 4)
    net.x, net.c, net.size = net.act(y), o, 2 * net.size


LAYERS: dict[str, Callable[[Network, int], None]] = {
    "conv": lambda net, o: net.layer(o, pads=[1] * 4),
    "skip": skip,
    "project": project,
    "concat": concat,
    "group": group,
    "depthwise": lambda net, o: net.layer(net.c, pads=[1] * 4, group=net.c),
    "pool": pool,
    "norm": norm,
    "odd": odd,
    "dilated": dilated,
    "average": average,
    "same": lambda net, o: net.layer(o, 2, auto_pad="SAME_UPPER"),
    "wide": wide,
    "transposed": transposed,
}


# operators between two layers, on [N, 8, size, size] -------------------------------------------

Grown = tuple[str, int, int] | None  # tensor, channels, size; None: it does not fit here


def gate(b: Builder, x: str, size: int) -> Grown:
    mean = b.rng.random() < 0.5
    pooled = b.reduce("ReduceMean", x, [2, 3]) if mean else b("GlobalAveragePool", x)
    gated = b("Sigmoid", b.conv(b("Relu", b.conv(pooled, 8, 4, 1)), 4, 8, 1))
    return b("Mul", x, gated) if b.rng.random() < 0.5 else b("Mul", gated, x), 8, size


def split(b: Builder, x: str, size: int) -> Grown:
    parts = b.split(x, [2, 6])
    return b("Concat", parts[1], b("Relu", parts[0]), axis=1), 8, size


def shuffle(b: Builder, x: str, size: int) -> Grown:
    y = b("Transpose", b.reshape(x, [0, 2, 4, size, size]), perm=[0, 2, 1, 3, 4])
    return b.reshape(y, [0, 8, size, size]), 8, size


def resize(b: Builder, x: str, size: int) -> Grown:
    if size > 8:
        return None
    scales = b.constant([1.0, 1.0, 2.0, 2.0])
    if b.opset < 9:
        return b("Upsample", x, scales=[1.0, 1.0, 2.0, 2.0]), 8, 2 * size
    if b.opset < 11:
        return b("Upsample" if b.opset == 9 else "Resize", x, scales), 8, 2 * size
    mode = str(b.rng.choice(["nearest", "linear", "cubic"]))
    roi = b.constant([]) if b.opset < 13 else ""
    return b("Resize", x, roi, scales, mode=mode), 8, 2 * size


def to_space(b: Builder, x: str, size: int) -> Grown:
    if size > 8:
        return None
    mode = {"mode": str(b.rng.choice(["DCR", "CRD"]))} if b.opset >= 11 else {}
    return b("DepthToSpace", x, blocksize=2, **mode), 2, 2 * size


def to_depth(b: Builder, x: str, size: int) -> Grown:
    return None if size % 2 else (b("SpaceToDepth", x, blocksize=2), 32, size // 2)


def channel_slice(b: Builder, x: str, size: int) -> Grown:
    y = b.slice(x, 1, int(b.rng.integers(3)), 7)
    return y, 7 - b.last, size


def pad(b: Builder, x: str, size: int) -> Grown:
    mode = str(b.rng.choice(["constant", "edge"]))
    return b.pad(x, [0, 0, 1, 0, 0, 0, 1, 2], mode), 8, size + 2


def instance(b: Builder, x: str, size: int) -> Grown:
    values = b.constant(b.rng.uniform(0.5, 1.5, 8)), b.constant(b.rng.standard_normal(8))
    return b("InstanceNormalization", x, *values), 8, size


def affine(b: Builder, x: str, size: int) -> Grown:
    y = b("Mul", x, b.constant(b.rng.uniform(0.5, 1.5, (8, 1, 1))))
    return b("Sub", b.constant(b.rng.standard_normal((1, 8, 1, 1))), y), 8, size


def maximum(b: Builder, x: str, size: int) -> Grown:
    op = str(b.rng.choice(["Max", "Min", "Sum"]))
    return b(op, x, b.conv(x, 8, 8, 1)), 8, size


def nhwc(b: Builder, x: str, size: int) -> Grown:
    y = b("MatMul", b("Transpose", x, perm=[0, 2, 3, 1]), b.constant(b.weight(8, 8)))
    y = b("Relu", b("Add", y, b.constant(b.rng.standard_normal(8))))
    return b("Transpose", y, perm=[0, 3, 1, 2]), 8, size


def tile(b: Builder, x: str, size: int) -> Grown:
    if size > 6:
        return None
    return b("Tile", x, b.constant([1, 1, 2, 2], np.int64)), 8, 2 * size


def unsqueeze(b: Builder, x: str, size: int) -> Grown:
    return b.axes("Squeeze", b("Relu", b.axes("Unsqueeze", x, [2])), [2]), 8, size


def expand(b: Builder, x: str, size: int) -> Grown:
    if b.opset < 8:
        return None
    pooled = b("GlobalMaxPool", x) if b.rng.random() < 0.5 else b("GlobalLpPool", x)
    return b("Add", b("Expand", pooled, b.constant([1, 8, size, size], np.int64)), x), 8, size


def softmax(b: Builder, x: str, size: int) -> Grown:
    if b.opset < 13:
        return None
    op = str(b.rng.choice(["Softmax", "LogSoftmax"]))
    return b(op, x, axis=int(b.rng.choice([2, -1]))), 8, size


def newer(b: Builder, x: str, size: int) -> Grown:
    known = {"Celu": 12, "HardSwish": 14, "Mish": 18, "Gelu": 20, "ThresholdedRelu": 10}
    ops = ["Relu", *[op for op, since in known.items() if b.opset >= since]]
    op = str(b.rng.choice(ops))
    # it jumps by α at α: what is within rounding of that may fall on either side
    return b(op, x, **({"alpha": 0.0} if op == "ThresholdedRelu" else {})), 8, size


def reduce(b: Builder, x: str, size: int) -> Grown:
    op = str(b.rng.choice(["ReduceMax", "ReduceMin", "ReduceL2", "ReduceSum"]))
    if op == "ReduceSum" and b.opset >= 13:
        total = b("ReduceSum", b("Abs", x), b.constant([2, 3], np.int64))
        return b("Div", x, b("Add", total, b.constant(1.0))), 8, size
    return b("Sub", x, b.reduce(op, x, [int(b.rng.choice([2, 3]))])), 8, size


def erf(b: Builder, x: str, size: int) -> Grown:
    if b.opset < 9:
        return None
    inner = b("Erf", b("Div", x, b.constant(2**0.5)))
    return b("Mul", b("Mul", x, b("Add", inner, b.constant(1.0))), b.constant(0.5)), 8, size


def others(b: Builder, x: str, size: int) -> Grown:
    op = str(b.rng.choice("Elu Selu HardSigmoid Softplus Softsign Abs Tanh".split()))
    return b(op, x), 8, size


BETWEEN: dict[str, Callable[[Builder, str, int], Grown]] = {
    "gate": gate,
    "silu": lambda b, x, size: (b("Mul", x, b("Sigmoid", x)), 8, size),
    "split": split,
    "shuffle": shuffle,
    "resize": resize,
    "to_space": to_space,
    "to_depth": to_depth,
    "slice": channel_slice,
    "gather": lambda b, x, size: (
        b("Gather", x, b.constant([5, 1, 1, 0, 7], np.int64), axis=1),
        5,
        size,
    ),
    "pad": pad,
    "channels": lambda b, x, size: (b.pad(x, [0, 2, 0, 0, 0, 1, 0, 0], "constant"), 11, size),
    "instance": instance,
    "prelu": lambda b, x, size: (
        b("PRelu", x, b.constant(b.rng.uniform(0.1, 0.4, (8, 1, 1)))),
        8,
        size,
    ),
    "affine": affine,
    "maximum": maximum,
    "subtract": lambda b, x, size: (
        b("Sub", x, b("Div", b.conv(x, 8, 8, 1), b.constant(3.0))),
        8,
        size,
    ),
    "nhwc": nhwc,
    "tile": tile,
    "position": lambda b, x, size: (
        b("Add", x, b.constant(b.rng.standard_normal((1, 8, 1, 1)) * 0.1)),
        8,
        size,
    ),
    "mask": lambda b, x, size: (b("Mul", x, b("Sigmoid", b.conv(x, 8, 1, 1))), 8, size),
    "dense": lambda b, x, size: (b("LRN", x, size=3), 8, size),
    "others": others,
    "unsqueeze": unsqueeze,
    "expand": expand,
    "softmax": softmax,
    "newer": newer,
    "reduce": reduce,
    "power": lambda b, x, size: (b("Pow", b("Abs", x), b.constant(1.5)), 8, size),
    "erf": erf,
}
