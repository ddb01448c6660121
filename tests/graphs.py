"""One-line builders of small graphs."""

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
