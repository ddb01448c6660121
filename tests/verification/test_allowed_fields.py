"""Fields, attributes and names that no ticket has are told; a genuine ticket has none."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from handmade import Handmade, handmade
from onnx import TensorProto, helper, numpy_helper

from lt_onnx.options import Weights
from lt_onnx.verification import allowed_fields
from lt_onnx.verification.allowed_fields import check_fields, is_readable


@pytest.mark.parametrize("stored", Weights)
def test_a_genuine_ticket_passes(stored: Weights) -> None:
    assert check_fields(handmade(stored, half=True).model) == []


def attribute(name: str, value: object) -> Callable[[Handmade], None]:
    """Give the Relu an attribute."""

    def forge(ticket: Handmade) -> None:
        ticket.model.graph.node[2].attribute.append(helper.make_attribute(name, value))

    return forge


def two_values(ticket: Handmade) -> None:
    attribute("k", 1)(ticket)
    ticket.model.graph.node[2].attribute[0].f = 0.5


def unknown_field(ticket: Handmade) -> None:
    ticket.model.graph.MergeFromString(b"\xfa\x7f\x01k")  # field 2047


def nowhere(ticket: Handmade) -> None:
    ticket.model.graph.initializer[0].ClearField("raw_data")


def both_places(ticket: Handmade) -> None:
    ticket.model.graph.initializer[0].external_data.add(key="location", value="data")


def twice(ticket: Handmade) -> None:
    ticket.model.graph.initializer.append(ticket.model.graph.initializer[0])


def shadow(ticket: Handmade) -> None:
    ticket.model.graph.input.append(helper.make_tensor_value_info("a", 1, [4, 2, 3, 3]))


def nameless(ticket: Handmade) -> None:
    ticket.model.graph.initializer.append(numpy_helper.from_array(np.float32(1), ""))


FORGERIES: dict[str, tuple[Callable[[Handmade], None], str]] = {
    "a function": (lambda t: t.model.functions.add(name="f"), "the model has 'functions'"),
    "training": (lambda t: t.model.training_info.add(), "the model has 'training_info'"),
    "quantisation": (
        lambda t: t.model.graph.quantization_annotation.add(tensor_name="a"),
        "the graph 'ticket' has 'quantization_annotation'",
    ),
    "an inner type": (
        lambda t: t.model.graph.value_info.append(helper.make_tensor_value_info("relu", 1, [1])),
        "has 'value_info'",
    ),
    "a comment": (
        lambda t: setattr(t.model.graph, "doc_string", "k"),
        "the graph has a 'doc_string' of its own",
    ),
    "numbers in a second field": (
        lambda t: t.model.graph.initializer[0].float_data.append(1.0),
        "has 'float_data', which no ticket has",
    ),
    "numbers nowhere": (nowhere, "has not one place where its numbers are"),
    "numbers in two places": (both_places, "has not one place where its numbers are"),
    "a field that ONNX does not know": (unknown_field, "the graph 'ticket' has fields that ONNX"),
    "an attribute of nothing": (
        lambda t: t.model.graph.node[2].attribute.append(onnx.AttributeProto(name="k", type=2)),
        "node 'relu' (Relu): its attribute 'k' says that it is nothing",
    ),
    "a graph in an attribute": (attribute("k", onnx.GraphProto(name="g")), "has 'g'"),
    "a tensor in an attribute": (
        attribute("k", numpy_helper.from_array(np.ones(3))),
        "node 'relu' (Relu): it hides a tensor in its attribute 'k'",
    ),
    "two values in an attribute": (two_values, "'k' holds more than its type says"),
    "an attribute twice": (
        lambda t: [attribute("k", 1)(t) for _ in range(2)],
        "an attribute stands there twice",
    ),
    "a long attribute": (attribute("k", [1] * 1025), "'k' is too long to be one"),
    "a long text": (attribute("k", "k" * 1025), "'k' is too long to be one"),
    "long texts": (attribute("k", ["k" * 500] * 3), "'k' is too long to be one"),
    "a tensor twice": (twice, "is defined 2 times"),
    "an input beside an initializer": (shadow, "tensor 'a' is defined 2 times"),
    "a node's output twice": (
        lambda t: t.model.graph.node.append(helper.make_node("Relu", ["x"], ["relu"])),
        "tensor 'relu' is defined 2 times",
    ),
    "a tensor without name": (nameless, "a tensor has no name"),
    "an output twice": (
        lambda t: t.model.graph.output.append(t.model.graph.output[0]),
        "graph output 'y' is defined 2 times",
    ),
    "an operator set by both its names": (
        lambda t: t.model.opset_import.add(domain="ai.onnx", version=7),
        "operator set '' is defined 2 times",
    ),
    "metadata twice": (
        lambda t: [t.model.metadata_props.add(key="k", value="v") for _ in range(2)],
        "metadata entry 'k' is defined 2 times",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_no_ticket_has_is_told(name: str) -> None:
    forge, told = FORGERIES[name]
    ticket = handmade()
    forge(ticket)

    assert told in "; ".join(check_fields(ticket.model))


def test_numbers_beside_the_ticket_are_in_one_place() -> None:
    ticket = handmade()
    tensor = ticket.model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    both_places(ticket)

    assert check_fields(ticket.model) == []


def test_strings_are_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    model = handmade().model
    assert is_readable(model)
    content = model.SerializeToString().replace(b"ticket", b"tick\xff\xfe")
    damaged = onnx.ModelProto()
    damaged.ParseFromString(content)

    assert not is_readable(damaged)


def test_messages_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    model = handmade().model
    monkeypatch.setattr(allowed_fields, "MAX_MESSAGES", 10)

    assert not is_readable(model)
