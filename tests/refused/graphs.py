"""Graphs that cannot be converted; what is said names the node or tensor."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from refused.case import Refused, refused

W = numpy_helper.from_array(np.full((4, 3, 3, 3), 0.1, np.float32), "w")


def model(
    nodes: list[onnx.NodeProto],
    weights: list[onnx.TensorProto] | None = None,
    *,
    opset: int = 17,
    kind: int = TensorProto.FLOAT,
    out_kind: int = TensorProto.FLOAT,
    output: str = "y",
    shape: tuple[object, ...] = ("N", 3, 8, 8),
    domains: tuple[str, ...] = (),
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(output, out_kind, None)],
        [W] if weights is None else weights,
    )
    imports = [helper.make_opsetid("", opset), *[helper.make_opsetid(d, 1) for d in domains]]
    made = helper.make_model(graph, opset_imports=imports)
    made.ir_version = 8
    return made


def conv(
    out: str = "y", name: str = "the_conv", x: str = "x", w: str = "w", **keys: object
) -> onnx.NodeProto:
    return helper.make_node("Conv", [x, w], [out], name=name, **keys)


def array(name: str, value: np.ndarray) -> onnx.TensorProto:
    return numpy_helper.from_array(value, name)


def nan(name: str) -> onnx.TensorProto:
    return array(name, np.full((4, 3, 3, 3), np.nan, np.float32))


def loop() -> onnx.ModelProto:
    body = helper.make_graph(
        [conv("body_y", "inner", "body_x"), helper.make_node("Identity", ["c"], ["c_out"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("c", TensorProto.BOOL, []),
            helper.make_tensor_value_info("body_x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("c_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("body_y", TensorProto.FLOAT, None),
        ],
    )
    node = helper.make_node("Loop", ["n", "", "x"], ["y"], name="the_loop", body=body)
    return model([node], [W, array("n", np.array(2))])


GRAPHS: dict[str, Refused] = {
    "cycle": refused(
        lambda: model(
            [
                helper.make_node("Add", ["x", "b"], ["a"], name="first"),
                helper.make_node("Relu", ["a"], ["b"], name="second"),
                conv("y", x="b"),
            ]
        ),
        "first",
    ),
    "missing initializer": refused(lambda: model([conv(w="nowhere")]), "the_conv"),
    "missing input": refused(lambda: model([conv(x="nowhere")]), "the_conv"),
    "written twice": refused(
        lambda: model(
            [conv("a", "one"), conv("a", "two"), helper.make_node("Relu", ["a"], ["y"], name="end")]
        ),
        "two",
    ),
    "output nobody makes": refused(lambda: model([conv("a")]), "'y'"),
    "mixed types": refused(
        lambda: model(
            [helper.make_node("Add", ["x", "k"], ["a"], name="the_add"), conv(x="a")],
            [W, array("k", np.ones(8, np.int64))],
        ),
        "the_add",
    ),
    "weights of int8": refused(
        lambda: model([conv()], [array("w", np.ones((4, 3, 3, 3), np.int8))]), "the_conv"
    ),
    "quantised": refused(
        lambda: model(
            [helper.make_node("ConvInteger", ["x", "w"], ["y"], name="the_integers")],
            [array("w", np.ones((4, 3, 3, 3), np.int8))],
            kind=TensorProto.UINT8,
            out_kind=TensorProto.INT32,
        ),
        "the_integers",
    ),
    "quantise and back": refused(
        lambda: model(
            [
                helper.make_node("QuantizeLinear", ["x", "s"], ["q"], name="the_rounding"),
                helper.make_node("DequantizeLinear", ["q", "s"], ["d"]),
                conv(x="d"),
            ],
            [W, array("s", np.array(0.1, np.float32))],
        ),
        "the_rounding",
    ),
    "loop": refused(loop, "the_loop"),
    "operator set 5": refused(lambda: model([conv()], opset=5), "operator set 5"),
    "unknown domain": refused(
        lambda: model(
            [helper.make_node("Conv", ["x", "w"], ["y"], name="theirs", domain="com.they")]
        ),
        "theirs",
    ),
    "operator unknown in its domain": refused(
        lambda: model([helper.make_node("Konv", ["x", "w"], ["y"], name="the_konv")]), "the_konv"
    ),
    "custom operator": refused(
        lambda: model(
            [conv("a"), helper.make_node("Own", ["a"], ["y"], name="own_one", domain="com.they")],
            domains=("com.they",),
        ),
        "own_one",
    ),
    "zero-size weight": refused(
        lambda: model([conv()], [array("w", np.ones((0, 3, 3, 3), np.float32))]), "the_conv"
    ),
    "groups that do not fit": refused(lambda: model([conv(group=3)]), "the_conv"),
    "channels that do not fit": refused(lambda: model([conv()], shape=("N", 5, 8, 8)), "the_conv"),
    "kernel larger than the image": refused(
        lambda: model([conv()], shape=("N", 3, 2, 2)), "the_conv"
    ),
    "wrong number of pads": refused(lambda: model([conv(pads=[1, 1])]), "the_conv"),
    "NaN weights": refused(lambda: model([conv()], [nan("w")]), "'w'"),
    "bfloat16": refused(
        lambda: model(
            [conv()],
            [helper.make_tensor("w", TensorProto.BFLOAT16, (4, 3, 3, 3), [0.1] * 108)],
            kind=TensorProto.BFLOAT16,
            out_kind=TensorProto.BFLOAT16,
        ),
        "'w'",
    ),
    "training mode": refused(
        lambda: model(
            [
                helper.make_node(
                    "BatchNormalization",
                    ["x", "k", "k", "k", "v"],
                    ["y", "m", "s"],
                    name="the_norm",
                    training_mode=1,
                )
            ],
            [array("k", np.zeros(3, np.float32)), array("v", np.ones(3, np.float32))],
        ),
        "the_norm",
    ),
    "no layer at all": refused(
        lambda: model([helper.make_node("Relu", ["x"], ["y"], name="only")], []), "layer"
    ),
}
