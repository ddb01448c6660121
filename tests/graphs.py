"""One-line builders of small graphs, and the random graphs that the oracle is tried on."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lt_onnx.target import Array


class Builder:
    """An ONNX graph grown node by node, weights drawn from one generator."""

    def __init__(self, seed: int = 0, opset: int = 17) -> None:
        self.rng = np.random.default_rng(seed)
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.count = 0
        self.last = 0

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        self.count += 1
        name = f"c{self.count}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def __call__(self, op: str, *inputs: str, **attributes: Any) -> str:
        self.count += 1
        name = f"t{self.count}"
        self.nodes.append(
            helper.make_node(op, list(inputs), [name], name=f"{op}_{self.count}", **attributes)
        )
        return name

    def weight(self, *shape: int) -> Array:
        fan = int(np.prod(shape[1:])) or 1
        return (self.rng.standard_normal(shape) * np.sqrt(2 / fan)).astype(np.float32)

    def conv(self, x: str, i: int, o: int, k: int = 3, *, bias: float = 0.3, **keys: Any) -> str:
        group = keys.get("group", 1)
        rank = keys.pop("rank", 2)
        inputs = [x, self.constant(self.weight(o, i // group, *[k] * rank))]
        if bias:
            inputs.append(self.constant(bias * self.rng.standard_normal(o)))
        return self("Conv", *inputs, **keys)

    def gemm(self, x: str, i: int, o: int) -> str:
        w, b = self.constant(self.weight(o, i)), self.constant(self.rng.standard_normal(o))
        return self("Gemm", x, w, b, transB=1)

    def reshape(self, x: str, shape: list[int]) -> str:
        return self("Reshape", x, self.constant(shape, np.int64))

    def reduce(self, op: str, x: str, axes: list[int]) -> str:
        if self.opset >= 18:
            return self(op, x, self.constant(axes, np.int64))
        return self(op, x, axes=axes)

    def axes(self, op: str, x: str, axes: list[int]) -> str:
        if self.opset >= 13:
            return self(op, x, self.constant(axes, np.int64))
        return self(op, x, axes=axes)

    def split(self, x: str, sizes: list[int]) -> list[str]:
        self.count += 1
        names = [f"s{self.count}_{i}" for i in range(len(sizes))]
        inputs, keys = [x], {"axis": 1}
        if self.opset >= 13:
            inputs.append(self.constant(sizes, np.int64))
        else:
            keys["split"] = sizes  # type: ignore[assignment]
        self.nodes.append(
            helper.make_node("Split", inputs, names, name=f"Split_{self.count}", **keys)
        )
        return names

    def slice(self, x: str, axis: int, start: int, stop: int) -> str:
        self.last = start
        if self.opset < 10:
            return self("Slice", x, axes=[axis], starts=[start], ends=[stop])
        bounds = [self.constant([v], np.int64) for v in (start, stop, axis)]
        return self("Slice", x, *bounds)

    def pad(self, x: str, pads: list[int], mode: str) -> str:
        if self.opset < 11:
            return self("Pad", x, pads=pads, mode=mode)
        return self("Pad", x, self.constant(pads, np.int64), mode=mode)

    def norm(self, x: str, c: int) -> str:
        values = (
            self.rng.uniform(0.5, 1.5, c),
            self.rng.standard_normal(c) * 0.3,
            self.rng.standard_normal(c) * 0.3,
            self.rng.uniform(0.5, 2, c),
        )
        return self("BatchNormalization", x, *[self.constant(v) for v in values])

    def model(
        self, outputs: list[str] | str, shape: tuple[Any, ...] = ("N", 3, 8, 8), ir: int = 8
    ) -> onnx.ModelProto:
        outputs = [outputs] if isinstance(outputs, str) else outputs
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.initializers,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)])
        model.ir_version = ir
        return onnx.shape_inference.infer_shapes(model)


def save(model: onnx.ModelProto, folder: Path, name: str = "target.onnx") -> Path:
    path = folder / name
    onnx.save(model, str(path))
    return path


def random_graph(seed: int, *, opset: int = 17) -> onnx.ModelProto:
    """A small residual network with whatever skips, strides, groups and pads the seed gives."""
    b = Builder(seed, opset)
    rng = b.rng
    x, c = "x", 3
    size = 8
    activation = str(rng.choice(["Relu", "LeakyRelu", "Clip"]))

    def act(t: str) -> str:
        if activation == "Clip":
            if opset < 11:
                return b("Clip", t, min=0.0, max=6.0)
            return b("Clip", t, b.constant(0.0), b.constant(6.0))
        return b(activation, t)

    for _ in range(int(rng.integers(2, 6))):
        kind = str(rng.choice(KINDS))
        o = int(rng.choice([4, 6, 8]))
        if kind == "conv":
            x, c = act(b.conv(x, c, o, pads=[1] * 4)), o
        elif kind == "skip":
            y = b.conv(act(b.conv(x, c, o, pads=[1] * 4)), o, c, pads=[1] * 4)
            x = act(b("Add", x, y) if rng.random() < 0.5 else b("Add", y, x))
        elif kind == "project" and size >= 4:
            y = b.norm(b.conv(x, c, o, bias=0, pads=[1] * 4, strides=[2, 2]), o)
            z = b.conv(x, c, o, 1, strides=[2, 2])
            x, c, size = act(b("Add", y, z)), o, -(-size // 2)
        elif kind == "concat":
            y = act(b.conv(x, c, o, pads=[1] * 4))
            x, c = b("Concat", x, y, axis=1), c + o
        elif kind == "group" and c % 2 == 0:
            x, c = act(b.conv(x, c, o, pads=[1] * 4, group=2)), o
        elif kind == "depthwise":
            x = act(b.conv(x, c, c, pads=[1] * 4, group=c))
        elif kind == "pool" and size >= 4:
            op = str(rng.choice(["MaxPool", "AveragePool", "LpPool"]))
            x, size = b(op, x, kernel_shape=[2, 2], strides=[2, 2]), size // 2
        elif kind == "average" and size >= 4:
            x = b(
                "AveragePool",
                x,
                kernel_shape=[3, 3],
                pads=[1] * 4,
                count_include_pad=int(rng.integers(2)),
            )
        elif kind == "norm":
            x = act(b.norm(x, c))
        elif kind == "odd":
            x, c = act(b.conv(x, c, o, 3, pads=[2, 0, 1, 1], bias=4.0)), o
            return _finish(b, x, c, None)
        elif kind == "dilated" and size >= 6:
            x, c = act(b.conv(x, c, o, pads=[2] * 4, dilations=[2, 2])), o
        elif kind == "same":
            x, c = act(b.conv(x, c, o, 2, auto_pad="SAME_UPPER")), o
        elif kind == "wide" and size <= 12:
            x, c = act(b.conv(x, c, o, 1, pads=[1] * 4)), o
            size += 2
        elif kind == "transposed" and size <= 8:
            k, pad = (2, 0) if rng.random() < 0.5 else (4, 1)
            w, bias = b.constant(b.weight(c, o, k, k)), b.constant(0.3 * rng.standard_normal(o))
            y = b("ConvTranspose", x, w, bias, strides=[2, 2], pads=[pad] * 4)
            x, c, size = act(y), o, 2 * size
        elif kind in MIDDLE:
            x = act(b.conv(x, c, 8, pads=[1] * 4))
            x, c, size = _middle(kind, b, x, size)
            x, c = act(b.conv(x, c, o, pads=[1] * 4)), o
    return _finish(b, x, c, size)


KINDS = [
    "conv",
    "skip",
    "project",
    "concat",
    "group",
    "depthwise",
    "pool",
    "norm",
    "odd",
    "dilated",
    "average",
    "same",
    "wide",
    "transposed",
]
MIDDLE = [
    "gate",
    "silu",
    "split",
    "shuffle",
    "resize",
    "to_space",
    "to_depth",
    "slice",
    "gather",
    "pad",
    "channels",
    "instance",
    "prelu",
    "affine",
    "maximum",
    "subtract",
    "nhwc",
    "tile",
    "position",
    "mask",
    "dense",
    "others",
    "unsqueeze",
    "expand",
    "softmax",
    "newer",
    "reduce",
    "power",
    "erf",
]
KINDS += MIDDLE


def _middle(kind: str, b: Builder, x: str, size: int) -> tuple[str, int, int]:
    """An operator between two layers, on 8 channels: (tensor, channels, size)."""
    rng = b.rng
    if kind == "gate":
        pooled = (
            b.reduce("ReduceMean", x, [2, 3]) if rng.random() < 0.5 else b("GlobalAveragePool", x)
        )
        gate = b("Sigmoid", b.conv(b("Relu", b.conv(pooled, 8, 4, 1)), 4, 8, 1))
        return b("Mul", x, gate) if rng.random() < 0.5 else b("Mul", gate, x), 8, size
    if kind == "silu":
        return b("Mul", x, b("Sigmoid", x)), 8, size
    if kind == "split":
        parts = b.split(x, [2, 6])
        return b("Concat", parts[1], b("Relu", parts[0]), axis=1), 8, size
    if kind == "shuffle":
        y = b.reshape(x, [0, 2, 4, size, size])
        y = b("Transpose", y, perm=[0, 2, 1, 3, 4])
        return b.reshape(y, [0, 8, size, size]), 8, size
    if kind == "resize" and size <= 8:
        scales = b.constant([1.0, 1.0, 2.0, 2.0])
        if b.opset < 9:
            return b("Upsample", x, scales=[1.0, 1.0, 2.0, 2.0]), 8, 2 * size
        if b.opset < 11:
            return b("Upsample" if b.opset == 9 else "Resize", x, scales), 8, 2 * size
        mode = str(rng.choice(["nearest", "linear", "cubic"]))
        roi = b.constant([]) if b.opset < 13 else ""
        return b("Resize", x, roi, scales, mode=mode), 8, 2 * size
    if kind == "to_space" and size <= 8:
        mode = {"mode": str(rng.choice(["DCR", "CRD"]))} if b.opset >= 11 else {}
        return b("DepthToSpace", x, blocksize=2, **mode), 2, 2 * size
    if kind == "to_depth" and size % 2 == 0:
        return b("SpaceToDepth", x, blocksize=2), 32, size // 2
    if kind == "slice":
        y = b.slice(x, 1, int(rng.integers(3)), 7)
        return y, 7 - b.last, size
    if kind == "gather":
        return b("Gather", x, b.constant([5, 1, 1, 0, 7], np.int64), axis=1), 5, size
    if kind == "pad":
        return (
            b.pad(x, [0, 0, 1, 0, 0, 0, 1, 2], str(rng.choice(["constant", "edge"]))),
            8,
            size + 2,
        )
    if kind == "channels":
        return b.pad(x, [0, 2, 0, 0, 0, 1, 0, 0], "constant"), 11, size
    if kind == "instance":
        values = b.constant(rng.uniform(0.5, 1.5, 8)), b.constant(rng.standard_normal(8))
        return b("InstanceNormalization", x, *values), 8, size
    if kind == "prelu":
        return b("PRelu", x, b.constant(rng.uniform(0.1, 0.4, (8, 1, 1)))), 8, size
    if kind == "affine":
        y = b("Mul", x, b.constant(rng.uniform(0.5, 1.5, (8, 1, 1))))
        return b("Sub", b.constant(rng.standard_normal((1, 8, 1, 1))), y), 8, size
    if kind == "maximum":
        op = str(rng.choice(["Max", "Min", "Sum"]))
        return b(op, x, b.conv(x, 8, 8, 1)), 8, size
    if kind == "subtract":
        return b("Sub", x, b("Div", b.conv(x, 8, 8, 1), b.constant(3.0))), 8, size
    if kind == "nhwc":
        y = b("Transpose", x, perm=[0, 2, 3, 1])
        y = b(
            "Relu",
            b(
                "Add",
                b("MatMul", y, b.constant(b.weight(8, 8))),
                b.constant(rng.standard_normal(8)),
            ),
        )
        return b("Transpose", y, perm=[0, 3, 1, 2]), 8, size
    if kind == "tile" and size <= 6:
        return b("Tile", x, b.constant([1, 1, 2, 2], np.int64)), 8, 2 * size
    if kind == "position":
        return b("Add", x, b.constant(rng.standard_normal((1, 8, 1, 1)) * 0.1)), 8, size
    if kind == "mask":
        return b("Mul", x, b("Sigmoid", b.conv(x, 8, 1, 1))), 8, size
    if kind == "dense":
        return b("LRN", x, size=3), 8, size
    if kind == "unsqueeze":
        y = b("Relu", b.axes("Unsqueeze", x, [2]))
        return b.axes("Squeeze", y, [2]), 8, size
    if kind == "expand" and b.opset >= 8:
        pooled = b("GlobalMaxPool", x) if rng.random() < 0.5 else b("GlobalLpPool", x)
        shape = b.constant([1, 8, size, size], np.int64)
        return b("Add", b("Expand", pooled, shape), x), 8, size
    if kind == "softmax" and b.opset >= 13:
        op = str(rng.choice(["Softmax", "LogSoftmax"]))
        return b(op, x, axis=int(rng.choice([2, -1]))), 8, size
    if kind == "newer":
        known = {"Celu": 12, "HardSwish": 14, "Mish": 18, "Gelu": 20, "ThresholdedRelu": 10}
        ops = ["Relu", *[op for op, since in known.items() if b.opset >= since]]
        return b(str(rng.choice(ops)), x), 8, size
    if kind == "reduce":
        op = str(rng.choice(["ReduceMax", "ReduceMin", "ReduceL2", "ReduceSum"]))
        if op == "ReduceSum" and b.opset >= 13:
            total = b("ReduceSum", b("Abs", x), b.constant([2, 3], np.int64))
            return b("Div", x, b("Add", total, b.constant(1.0))), 8, size
        axes = int(rng.choice([2, 3]))
        return b("Sub", x, b.reduce(op, x, [axes])), 8, size
    if kind == "power":
        return b("Pow", b("Abs", x), b.constant(1.5)), 8, size
    if kind == "erf" and b.opset >= 9:
        inner = b("Erf", b("Div", x, b.constant(2**0.5)))
        return b("Mul", b("Mul", x, b("Add", inner, b.constant(1.0))), b.constant(0.5)), 8, size
    if kind == "others":
        op = str(rng.choice(["Elu", "Selu", "HardSigmoid", "Softplus", "Softsign", "Abs", "Tanh"]))
        return b(op, x), 8, size
    return x, 8, size


def _finish(b: Builder, x: str, c: int, size: int | None) -> onnx.ModelProto:
    if size is None or size < 1 or size > 8 or b.rng.random() < 0.5:
        x = b("GlobalAveragePool", x)
        size = 1
    x = b("Flatten", x, axis=1)
    return b.model(b.gemm(x, c * size * size, 5))
