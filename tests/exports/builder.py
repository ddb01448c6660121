"""A builder of graphs as exporters write them: any inputs, any types of outputs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from graphs import Builder
from onnx import TensorProto, helper, numpy_helper

FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64
IMAGE = {"x": ("N", 3, 8, 8)}
Given = str | Sequence[int]


class Export(Builder):
    """Builder with what exporters like: whole numbers, nodes of several outputs, open shapes."""

    def __init__(self, opset: int = 13) -> None:
        super().__init__(3, opset)

    def whole(self, value: Any) -> str:
        """An int64 constant."""
        return self.constant(value, np.int64)

    def held(self, value: Any, dtype: Any = np.float32) -> str:
        """A Constant node."""
        return self("Constant", value=numpy_helper.from_array(np.asarray(value, dtype)))

    def several(self, op: str, *inputs: str, outputs: int, **attributes: Any) -> list[str]:
        """A node of several outputs."""
        self.count += 1
        names = [f"o{self.count}_{i}" for i in range(outputs)]
        node = helper.make_node(op, inputs, names, name=f"{op}_{self.count}", **attributes)
        self.nodes.append(node)
        return names

    def cr(self, x: str, i: int, o: int, k: int = 3, **keys: Any) -> str:
        """Conv and Relu."""
        return self("Relu", self.conv(x, i, o, k, pads=[k // 2] * 4, **keys))

    def stem(self) -> str:
        """Two convolutions, to 6 channels of half the size."""
        return self.cr(self.cr("x", 3, 6, strides=[2, 2]), 6, 6)

    def fc(self, x: str, i: int, o: int) -> str:
        """MatMul and Add."""
        product = self("MatMul", x, self.constant(self.weight(o, i).T.copy()))
        return self("Add", product, self.constant(self.rng.normal(size=o) * 0.1))

    def head(self, x: str, i: int) -> str:
        """Two fully connected layers."""
        return self.fc(self("Relu", self.fc(x, i, 8)), 8, 4)

    def pooled(self, x: str) -> str:
        """Mean over all positions."""
        return self("Flatten", self("GlobalAveragePool", x))

    def silu(self, x: str) -> str:
        """x times its Sigmoid."""
        return self("Mul", x, self("Sigmoid", x))

    def dims(self, x: str, *axes: int) -> list[str]:
        """Single sizes of a tensor, as vectors: Shape, Gather, Unsqueeze."""
        shape = self("Shape", x)
        taken = [self("Gather", shape, self.whole(axis), axis=0) for axis in axes]
        return [self.axes("Unsqueeze", size, [0]) for size in taken]

    def joined(self, *parts: Given, axis: int = 0) -> str:
        """A Concat of tensors and of constant whole numbers."""
        names = [part if isinstance(part, str) else self.whole(part) for part in parts]
        return self("Concat", *names, axis=axis)

    def part(self, x: str, start: int, stop: int, axis: int) -> str:
        """A Slice along one axis."""
        return self("Slice", x, *(self.whole([v]) for v in (start, stop, axis)))

    def made(
        self,
        outputs: str | Sequence[str],
        inputs: Mapping[str, Sequence[Any]] | None = None,
        *,
        types: Mapping[str, int] | None = None,
        domains: Sequence[str] = (),
        ir: int = 8,
    ) -> onnx.ModelProto:
        """The model; outputs have no shapes, ports the types `types` or float."""
        types = types or {}
        outputs = [outputs] if isinstance(outputs, str) else outputs
        ports = [(name, shape) for name, shape in (inputs or IMAGE).items()]
        info = helper.make_tensor_value_info
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [info(name, types.get(name, FLOAT), shape) for name, shape in ports],
            [info(name, types.get(name, FLOAT), None) for name in outputs],
            self.initializers,
        )
        imports = [helper.make_opsetid("", self.opset)]
        imports += [helper.make_opsetid(domain, 1) for domain in domains]
        return helper.make_model(graph, opset_imports=imports, ir_version=ir)
