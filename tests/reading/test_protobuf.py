"""Parts of a file as plain values."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from lt_onnx.errors import InputError
from lt_onnx.reading import protobuf
from lt_onnx.reading.protobuf import (
    all_tensors,
    array_of,
    canonical_domain,
    operator_sets,
    plain_node,
    replace_items,
    too_many_parts,
)

PATH = Path("n.onnx")


def test_parts_are_counted_in_files_of_some_size(monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = [helper.make_node("Relu", ["a"], ["b"]) for _ in range(100)]
    content = onnx.ModelProto(graph=onnx.GraphProto(node=nodes)).SerializeToString()
    parts = 1 + 100 * 4  # the graph; each node, its input, output and operator
    monkeypatch.setattr(protobuf, "MAX_PARTS", parts - 1)
    assert not too_many_parts(content)
    monkeypatch.setattr(protobuf, "MAX_UNCHECKED_BYTES", 100)
    assert too_many_parts(content)
    monkeypatch.setattr(protobuf, "MAX_PARTS", parts)
    assert not too_many_parts(content)


WRONG = {
    "a negative size": {"dims": [-1]},
    "too few bytes": {"dims": [3], "data_type": TensorProto.FLOAT, "raw_data": bytes(8)},
    "too many numbers": {"dims": [1], "data_type": TensorProto.FLOAT, "float_data": [1, 2]},
    "an unknown type": {"dims": [1], "data_type": 99, "raw_data": bytes(4)},
}


@pytest.mark.parametrize("case", WRONG)
def test_a_tensor_that_contradicts_itself_is_refused(case: str) -> None:
    with pytest.raises(InputError, match=r"^n.onnx: tensor 'w' \["):
        array_of(PATH, TensorProto(name="w", **WRONG[case]))


def test_attributes_are_plain_values() -> None:
    proto = helper.make_node(
        "Any", ["a", ""], ["b"], domain="ai.onnx", i=3, s="word", ints=[1, 2], f=0.5
    )
    proto.attribute.append(helper.make_attribute("t", helper.make_tensor("t", 1, [2], [1, 2])))
    node = plain_node(PATH, proto, 7)

    assert (node.name, node.domain, node.inputs) == ("Any_7", "", ("a", ""))
    tensor = node.attributes["t"]
    assert {k: v for k, v in node.attributes.items() if k != "t"} == {
        "i": 3,
        "s": "word",
        "ints": [1, 2],
        "f": 0.5,
    }
    assert np.array_equal(tensor, np.array([1, 2], np.float32))


def test_an_attribute_that_is_no_text_is_refused_by_name() -> None:
    proto = helper.make_node("Any", ["a"], ["b"], name="n", what=b"\xff")

    with pytest.raises(InputError, match=r"node 'n' \(Any\): its attribute 'what' cannot be read"):
        plain_node(PATH, proto, 0)


def test_the_standard_domain_has_two_names() -> None:
    ids = [
        helper.make_opsetid(domain, version) for domain, version in (("ai.onnx", 17), ("own", 2))
    ]

    assert operator_sets(onnx.ModelProto(opset_import=ids)) == {"": 17, "own": 2}
    assert [canonical_domain(d) for d in ("", "ai.onnx", "ai.onnx.ml")] == ["", "", "ai.onnx.ml"]


def test_tensors_are_found_in_initializers_and_attributes() -> None:
    one, two = (helper.make_tensor(name, 1, [1], [1]) for name in "ab")
    node = helper.make_node("Constant", [], ["c"], value=two)
    model = onnx.ModelProto(graph=onnx.GraphProto(initializer=[one], node=[node]))

    assert [tensor.name for tensor in all_tensors(model)] == ["a", "b"]


def test_a_field_is_filled_with_its_own_items() -> None:
    graph = onnx.GraphProto(node=[onnx.NodeProto(name=name) for name in "abc"])
    replace_items(graph.node, (node for node in graph.node if node.name != "b"))

    assert [node.name for node in graph.node] == ["a", "c"]
