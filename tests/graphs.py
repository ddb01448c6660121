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

    def norm(self, x: str, c: int) -> str:
        values = (
            self.rng.uniform(0.5, 1.5, c), self.rng.standard_normal(c) * 0.3,
            self.rng.standard_normal(c) * 0.3, self.rng.uniform(0.5, 2, c),
        )  # fmt: skip
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

    for _ in range(int(rng.integers(2, 5))):
        kind = rng.choice(
            ["conv", "skip", "project", "concat", "group", "depthwise", "pool", "norm", "odd",
             "dilated", "average", "same", "wide"]
        )  # fmt: skip
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
            x, size = b("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), size // 2
        elif kind == "average" and size >= 4:
            x = b("AveragePool", x, kernel_shape=[3, 3], pads=[1] * 4,
                  count_include_pad=int(rng.integers(2)))  # fmt: skip
        elif kind == "norm":
            x = act(b.norm(x, c))
        elif kind == "odd":
            x, c = act(b.conv(x, c, o, 3, pads=[2, 0, 1, 1], bias=4.0)), o
            return _finish(b, x, c, None)
        elif kind == "dilated" and size >= 6:
            x, c = act(b.conv(x, c, o, pads=[2] * 4, dilations=[2, 2])), o
        elif kind == "same":
            x, c = act(b.conv(x, c, o, 2, auto_pad="SAME_UPPER")), o
        elif kind == "wide":
            x, c = act(b.conv(x, c, o, 1, pads=[1] * 4)), o
            size += 2
    return _finish(b, x, c, size)


def _finish(b: Builder, x: str, c: int, size: int | None) -> onnx.ModelProto:
    if size is None or b.rng.random() < 0.5:
        x = b("GlobalAveragePool", x)
        size = 1
    x = b("Flatten", x, axis=1)
    return b.model(b.gemm(x, c * size * size, 5))
