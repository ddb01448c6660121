"""The graph as a table: readers, makers, and which nodes are layers."""

from collections.abc import Callable

import pytest
from handmade import Handmade, handmade
from onnx import helper

from lt_onnx.options import Weights
from lt_onnx.verification.graph_index import index_graph

FORMS = [(stored, half) for stored in Weights for half in (False, True)]


def node(ticket: Handmade, output: str) -> object:
    return next(node for node in ticket.model.graph.node if output in node.output)


def test_readers_and_makers_are_nodes_by_number() -> None:
    ticket = handmade()
    ticket.declare_dense("", "Relu", 0)
    index, failures = index_graph(ticket.model, ticket.manifest)

    assert failures == []
    assert index.maker == {"conv": 0, "scaled": 1, "relu": 2, "mean": 3, "gemm": 4, "y": 5}
    assert index.readers["b"] == [(4, 1)]
    assert (index.inputs, index.outputs) == ({"x"}, {"y"})
    assert index.dense == {2}


def test_only_one_reader_at_its_position_is_the_only_one() -> None:
    ticket = handmade()
    ticket.extend("p = Relu (y)  q = Add (p, p)  z = Add (q, p)")
    index, _ = index_graph(ticket.model, ticket.manifest)

    assert index.only_reader("a", 1) == 0
    assert index.only_reader("a", 0) is None
    assert index.only_reader("p", 0) is None
    assert index.only_reader("nowhere", 0) is None
    assert index.only_reader("z", 0) is None


@pytest.mark.parametrize(("stored", "half"), FORMS)
def test_a_layers_nodes_are_its_form_operator_and_scale(stored: Weights, half: bool) -> None:
    ticket = handmade(stored, half=half)
    index, failures = index_graph(ticket.model, ticket.manifest)
    others = {"relu", "mean"}

    assert failures == []
    assert index.layers == {number for name, number in index.maker.items() if name not in others}


def test_a_layer_stored_transposed_is_a_matmul_and_an_add() -> None:
    ticket = handmade()
    ticket.layer(1, transposed=True)
    gemm = node(ticket, "gemm")
    matmul = helper.make_node("MatMul", ["mean", "b"], ["p"])
    add = helper.make_node("Add", ["p", "b_bias"], ["gemm"])
    ticket.model.graph.node.remove(gemm)
    ticket.model.graph.node.insert(4, matmul)
    ticket.model.graph.node.insert(5, add)

    index, failures = index_graph(ticket.model, ticket.manifest)
    assert failures == []
    assert index.layers == {0, 1, 4, 5, 6}


def set_attribute(output: str, name: str, value: object) -> Callable[[Handmade], None]:
    def forge(ticket: Handmade) -> None:
        attributes = node(ticket, output).attribute
        for attribute in [attribute for attribute in attributes if attribute.name == name]:
            attributes.remove(attribute)
        attributes.append(helper.make_attribute(name, value))

    return forge


def rename(output: str, position: int, name: str) -> Callable[[Handmade], None]:
    """Let a node read something else."""

    def forge(ticket: Handmade) -> None:
        node(ticket, output).input[position] = name

    return forge


def swap_layers(ticket: Handmade) -> None:
    ticket.note(layers=ticket.manifest.layers[::-1])


FORGERIES: dict[str, tuple[Callable[[Handmade], None], str]] = {
    "a weight read twice": (lambda t: t.extend("z = MatMul (y, b)"), "not the weight of one layer"),
    "a weight that is an output": (
        lambda t: t.model.graph.output.append(helper.make_tensor_value_info("a", 1, None)),
        "not the weight of one layer",
    ),
    "another operator": (
        lambda t: setattr(node(t, "gemm"), "op_type", "MatMul"),
        "is not the Gemm of 3 inputs",
    ),
    "a foreign domain": (lambda t: setattr(node(t, "conv"), "domain", "own"), "is not the Conv"),
    "a bias that no record has": (lambda t: t.layer(1, bias=None, kept_bias=0), "of 2 inputs"),
    "a bias elsewhere": (rename("gemm", 2, "b_scale"), "not the bias of node 'gemm' (Gemm)"),
    "a scale elsewhere": (rename("y", 1, "b_bias"), "not the bias"),
    "no scale": (rename("scaled", 0, "x"), "'a_scale' is not read once, by a Mul"),
    "a scale that is added": (
        lambda t: setattr(node(t, "scaled"), "op_type", "Add"),
        "is not the Mul",
    ),
    "an attribute of Mul": (set_attribute("scaled", "alpha", 1.0), "is not the Mul"),
    "an attribute of Conv": (
        set_attribute("conv", "alpha", 1.0),
        "attributes that its layer has not",
    ),
    "a group that does not fit": (set_attribute("conv", "group", 3), "attributes"),
    "a kernel that does not fit": (set_attribute("conv", "kernel_shape", [1, 1]), "attributes"),
    "an untransposed Gemm": (set_attribute("gemm", "transB", 0), "attributes"),
    "layers in another order": (swap_layers, "stands before the layer"),
    "a layer declared dense": (lambda t: t.declare_dense("", "Conv", 0), "or declared dense"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_layer_is_told(name: str) -> None:
    forge, told = FORGERIES[name]
    ticket = handmade()
    forge(ticket)

    assert told in "; ".join(index_graph(ticket.model, ticket.manifest)[1])


MASKED: dict[str, Callable[[Handmade], None]] = {
    "no mask": rename("a", 1, "a/source"),
    "another cast": set_attribute("a/cast", "to", 7),
    "a mask of another layer": rename("a/cast", 0, "b/mask"),
}


@pytest.mark.parametrize("name", MASKED)
def test_a_weight_is_its_source_times_its_mask(name: str) -> None:
    ticket = handmade(Weights.MASKED)
    MASKED[name](ticket)

    failures = index_graph(ticket.model, ticket.manifest)[1]
    assert "tensor 'a' is not made of its source and mask" in failures


def test_a_source_is_read_once() -> None:
    ticket = handmade(Weights.MASKED)
    ticket.model.graph.node.append(helper.make_node("Relu", ["a/source"], ["z"]))

    failures = index_graph(ticket.model, ticket.manifest)[1]
    assert failures == ["tensor 'a' is not made of its source and mask"]
