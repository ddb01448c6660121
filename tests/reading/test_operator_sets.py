"""Nodes of an old operator set compute the same in the new one, and come back as they were."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from lt_onnx.reading.operator_sets import (
    SEEDED,
    changed_nodes,
    flattened_nodes,
    lowered,
    lowered_nodes,
    raised,
    raised_nodes,
)
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

    assert changed_nodes(model, 9) == ["node 'largest' (TopK)"]
    assert changed_nodes(model, 13) == []
    assert flattened_nodes(model, 12) == {"a"}
    assert flattened_nodes(model, 13) == frozenset()


def model_of(nodes: list[onnx.NodeProto], version: int) -> onnx.ModelProto:
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [2, 4, 6, 6]) for n in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)])
    model.ir_version = 8
    return model


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("attributes", [{"axis": 2}, {"axis": 0}, {}], ids=str)
def test_a_softmax_over_several_axes_is_flattened_and_comes_back(
    op: str, attributes: dict[str, int]
) -> None:
    nodes = [helper.make_node(op, ["x"], ["y"], "node", **attributes)]
    model = model_of(nodes, 11)
    made, more = raised_nodes(model, 11)
    again = model_of(made, SEEDED)
    before, after = (
        onnxruntime.InferenceSession(m.SerializeToString(), providers=["CPUExecutionProvider"]).run(
            None, {"x": X}
        )[0]
        for m in (model, again)
    )

    assert more == {}
    assert np.array_equal(before, after)
    assert list(lowered_nodes(again, 11)) == []
    assert [*again.graph.node] == nodes


def test_a_softmax_that_is_flattened_without_need_or_plain_in_spite_of_it_is_told() -> None:
    inner = helper.make_node("Softmax", ["x"], ["y"], "inner", axis=1)
    plain = model_of([inner], SEEDED)
    assert list(lowered_nodes(plain, 11)) == ["node 'inner' (Softmax)"]
    needless, _ = raised_nodes(model_of([inner], 11), 11)
    needless[0].attribute[0].i, needless[3].name = 3, "last"
    assert list(lowered_nodes(model_of(needless, SEEDED), 11)) == ["node 'last' (Softmax)"]
    changed, _ = raised_nodes(model_of([inner], 11), 11)
    changed[1].attribute[0].i = 0
    assert len(list(lowered_nodes(model_of(changed, SEEDED), 11))) == 1
