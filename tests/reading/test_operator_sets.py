"""Nodes of an old operator set compute the same in the new one, and come back as they were."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lt_onnx.reading.operator_sets import SEEDED, changed_nodes, lowered, raised
from lt_onnx.target import Array

X = np.random.default_rng(0).standard_normal((2, 4, 6, 6)).astype(np.float32)
SCALES = np.array([1, 1, 2, 2], np.float32)

CASES: list[tuple[int, str, dict[str, Any], dict[str, Array]]] = [
    (11, "ReduceMean", {"axes": [2, 3], "keepdims": 0}, {}),
    (17, "ReduceMax", {"keepdims": 1, "axes": [1]}, {}),
    (12, "ReduceSum", {"axes": [-1]}, {}),
    (17, "ReduceMean", {}, {}),
    (9, "Unsqueeze", {"axes": [0, 4]}, {}),
    (10, "Clip", {"min": -0.5, "max": 0.25}, {}),
    (9, "Clip", {"max": 0.1}, {}),
    (10, "Pad", {"mode": "edge", "pads": [0, 0, 1, 1, 0, 0, 0, 2]}, {}),
    (9, "Pad", {"pads": [0, 0, 1, 1, 0, 0, 0, 2], "value": 1.5, "mode": "constant"}, {}),
    (9, "Slice", {"axes": [1, 3], "starts": [1, 0], "ends": [3, 4]}, {}),
    (11, "Split", {"axis": 1, "split": [2, 2]}, {}),
    (17, "Split", {"axis": 1}, {}),
    (11, "Dropout", {"ratio": 0.3}, {}),
    (9, "Upsample", {"mode": "nearest"}, {"s": SCALES}),
    (10, "Resize", {"mode": "linear"}, {"s": SCALES}),
    (13, "Softmax", {"axis": 1}, {}),
    (11, "Relu", {}, {}),
]


def computed(node: onnx.NodeProto, version: int, tensors: dict[str, Array]) -> list[Array]:
    graph = helper.make_graph(
        [node],
        "one",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(X.shape))],
        [onnx.ValueInfoProto(name=name) for name in node.output],
        [numpy_helper.from_array(value, name) for name, value in tensors.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    model.ir_version = 8
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return list(session.run(None, {"x": X}))


@pytest.mark.parametrize(("version", "op", "attributes", "inputs"), CASES, ids=str)
def test_a_node_is_raised_and_lowered(
    version: int, op: str, attributes: dict[str, Any], inputs: dict[str, Array]
) -> None:
    outputs = ["y", "z"] if op == "Split" else ["y"]
    node = helper.make_node(op, ["x", *inputs], outputs, "node", **attributes)
    del node.attribute[:]  # in the order in which they are given
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    new, more = raised(node, version)
    tensors = {name: numpy_helper.from_array(value, name) for name, value in more.items()}
    back = lowered(new, version, tensors)

    assert back is not None
    assert back[0] == node
    assert back[1].keys() == more.keys()
    before = computed(node, version, inputs)
    after = computed(new, SEEDED, {**inputs, **more})
    assert all(np.array_equal(a, b) for a, b in zip(before, after, strict=True))


def test_what_another_tensor_or_attribute_stands_in_is_not_lowered() -> None:
    node = helper.make_node("ReduceMean", ["x"], ["y"], "node", axes=[2, 3])
    new, more = raised(node, 11)
    (name,) = more
    other = {name: numpy_helper.from_array(np.array([2, 3], np.int32), name)}
    assert lowered(new, 11, other) is None
    new.input[1] = "x"
    assert lowered(new, 11, {}) is None
    resize = helper.make_node("Resize", ["x", "", "s"], ["y"], "node", mode="nearest")
    assert lowered(resize, 9, {}) is None


def test_what_has_no_form_in_the_new_set_is_named() -> None:
    nodes = [
        helper.make_node("Softmax", ["x"], ["a"], "inner", axis=1),
        helper.make_node("Softmax", ["x"], ["b"], "last", axis=-1),
        helper.make_node("Softmax", ["x"], ["c"], "known", axis=3),
        helper.make_node("TopK", ["x"], ["d", "e"], "largest", k=2),
        helper.make_node("Transpose", ["x"], ["f"], "turn", perm=[0, 2, 3, 1]),
        helper.make_node("Softmax", ["f"], ["g"], "behind", axis=3),
    ]
    outputs = [helper.make_tensor_value_info("c", TensorProto.FLOAT, [2, 4, 6, 6])]
    model = helper.make_model(helper.make_graph(nodes, "g", [], outputs))

    assert changed_nodes(model, 9) == ["node 'inner' (Softmax)", "node 'largest' (TopK)"]
    assert changed_nodes(model, 13) == []
