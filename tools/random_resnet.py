"""Residual networks with random weights, for timing: a ResNet-18 of any width."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZES = {"0.27M": 10, "1.2M": 21, "6M": 47, "12M": 66}  # weights: width of the first stage


def random_resnet(path: Path, width: int, seed: int = 0) -> int:
    """Write the network for inputs [N, 3, 32, 32] to `path`; returns how many weights it has.

    Four stages of two blocks, of `width`, 2, 4 and 8 times as many channels; He-normal weights,
    halved where a branch ends.
    """
    rng = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def conv(x: str, name: str, shape: tuple[int, int, int], stride: int, gain: float = 1) -> str:
        out, into, kernel = shape
        deviation = gain * np.sqrt(2 / (into * kernel**2))
        w = rng.normal(0, deviation, (out, into, kernel, kernel)).astype(np.float32)
        b = rng.normal(0, 0.05, out).astype(np.float32)
        weights.extend(
            [numpy_helper.from_array(w, f"{name}.w"), numpy_helper.from_array(b, f"{name}.b")]
        )
        nodes.append(
            helper.make_node(
                "Conv",
                [x, f"{name}.w", f"{name}.b"],
                [name],
                name,
                strides=[stride] * 2,
                kernel_shape=[kernel] * 2,
                pads=[kernel // 2] * 4,
            )
        )
        return name

    def node(op: str, inputs: list[str], name: str) -> str:
        nodes.append(helper.make_node(op, inputs, [name], name))
        return name

    x = node("Relu", [conv("input", "stem", (width, 3, 3), 1)], "stem.relu")
    channels = width
    for stage in range(4):
        for block in range(2):
            name, out = f"stage{stage}.{block}", width << stage
            stride = 2 if stage and not block else 1
            branch = conv(x, f"{name}.a", (out, channels, 3), stride)
            branch = conv(
                node("Relu", [branch], f"{name}.a.relu"), f"{name}.b", (out, out, 3), 1, 0.5
            )
            skip = x if out == channels else conv(x, f"{name}.skip", (out, channels, 1), stride)
            x = node("Relu", [node("Add", [branch, skip], f"{name}.add")], f"{name}.relu")
            channels = out
    x = node("Flatten", [node("GlobalAveragePool", [x], "pool")], "flat")
    dense = rng.normal(0, np.sqrt(1 / channels), (10, channels)).astype(np.float32)
    weights.extend(
        [
            numpy_helper.from_array(dense, "head.w"),
            numpy_helper.from_array(np.zeros(10, np.float32), "head.b"),
        ]
    )
    nodes.append(helper.make_node("Gemm", [x, "head.w", "head.b"], ["scores"], "head", transB=1))
    graph = helper.make_graph(
        nodes,
        "random_resnet",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", 10])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.save(model, str(path))
    return sum(int(np.prod(w.dims)) for w in weights)
