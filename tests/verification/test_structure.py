"""Everything in the graph is accounted for, and counted as the manifest has it."""

from collections.abc import Callable

import numpy as np
import pytest
from handmade import Handmade, handmade
from onnx import helper

from lt_onnx.manifest import BlockRecord, DenseReason
from lt_onnx.verification.graph_index import index_graph
from lt_onnx.verification.structure import check_structure

EYE = np.eye(3, dtype=np.float32)


def check(ticket: Handmade) -> str:
    return "; ".join(structure_of(ticket)[1])


def test_a_genuine_graph_is_counted() -> None:
    ticket = handmade()
    ticket.put("a_scale", np.float32([1, 0, 2, 3]).reshape(4, 1, 1))
    counts, failures = structure_of(ticket)

    assert failures == []
    assert counts == {"scales": 3 + 3, "parameters": 0, "scalars": 0}


def test_a_dense_place_and_its_parameters_are_counted() -> None:
    ticket = handmade()
    ticket.extend("z = MatMul (y, w)", w=EYE)
    ticket.declare_dense("", "MatMul", 9)
    ticket.note(parameters=("w",))
    counts, failures = structure_of(ticket)

    assert failures == []
    assert counts["parameters"] == 9


def structure_of(ticket: Handmade) -> tuple[dict[str, int], list[str]]:
    """What is counted and told of a ticket, the layers' own nodes too."""
    index, misplaced = index_graph(ticket.model, ticket.manifest)
    counts, failures = check_structure(ticket.model, ticket.manifest, ticket.tensors, index)
    return counts, [*misplaced, *failures]


def with_dense(count: int, times: int = 1) -> Callable[[Handmade], None]:
    def forge(ticket: Handmade) -> None:
        ticket.extend("z = MatMul (y, w)", w=EYE)
        ticket.note(parameters=("w",))
        for _ in range(times):
            ticket.declare_dense("", "MatMul", count)

    return forge


def with_order(text: str) -> Callable[[Handmade], None]:
    """Say of the second layer that it is a block's."""

    def forge(ticket: Handmade) -> None:
        ticket.extend(text, o=np.array([0, 1, 2]))
        block = BlockRecord(1, 3, (1,), 1, ((0, 1),), 1.0, constants=None, order="o")
        ticket.layer(1, shape=(3, 4), block=block)

    return forge


def reverse_nodes(ticket: Handmade) -> None:
    nodes = list(ticket.model.graph.node)[::-1]
    del ticket.model.graph.node[:]
    ticket.model.graph.node.extend(nodes)


def other_output(ticket: Handmade) -> None:
    ticket.model.graph.output[0].name = "nowhere"


FORGERIES: dict[str, tuple[Callable[[Handmade], None], str]] = {
    "a scale too many": (lambda t: t.put("b_scale", np.ones(4, np.float32)), "per channel"),
    "a scale of doubles": (lambda t: t.put("b_scale", np.ones(3)), "per channel"),
    "an infinite scale": (lambda t: t.put("b_scale", np.float32([1, np.inf, 1])), "not finite"),
    "one scale of two layers": (lambda t: t.layer(1, scale="a_scale"), "belongs to two layers"),
    "a layer drawn elsewhere": (lambda t: t.layer(1, index=2), "is number 1, but drawn from 2"),
    "a layer named as parameter": (lambda t: t.note(parameters=("a",)), "parameter too"),
    "an unnamed parameter": (
        lambda t: t.extend("z = Mul (y, k)", k=np.float32(2)),
        "'k' (float32, 1 values) is neither source, scale, index nor a named parameter",
    ),
    "a parameter of bytes": (
        lambda t: (t.extend("z = Mul (y, k)", k=np.uint8(2)), t.note(parameters=("k",))),
        "'k' (uint8, 1 values) is neither",
    ),
    "a parameter that is NaN": (
        lambda t: (t.extend("z = Mul (y, k)", k=np.float32(np.nan)), t.note(parameters=("k",))),
        "parameter that is not finite",
    ),
    "a parameter nowhere": (lambda t: t.note(parameters=("k",)), "'k' of the manifest is not in"),
    "a tensor that nothing reads": (lambda t: t.put("k", np.arange(3)), "'k' is read by no node"),
    "an order that is no index": (with_order("z = Add (y, o)"), "'o' is not the order"),
    "an order that is none of a Gather": (
        with_order("z = GatherElements <axis = 1> (y, o)"),
        "'o' is not the order",
    ),
    "an order that two read": (
        with_order("g = Gather <axis = 1> (y, o) z = Gather <axis = 1> (g, o)"),
        "'o' is not the order",
    ),
    "a dense layer": (lambda t: t.extend("z = MatMul (y, w)", w=EYE), "neither a layer nor"),
    "a dense place with more": (with_dense(8), "has 9 parameters, declared are 8"),
    "truth values that are not counted": (
        lambda t: (
            t.extend("w = Where (k, y, y)  z = Relu (w)", k=np.array([True, False, True])),
            t.declare_dense("", "Where", 0),
        ),
        "has 3 parameters, declared are 0",
    ),
    "a table of integers that is not counted": (
        lambda t: (
            t.extend(
                "i = ArgMax (y)  g = Gather (k, i)  z = Cast <to = 1> (g)", k=np.array([7, 9])
            ),
            t.declare_dense("", "Gather", 0),
        ),
        "has 2 parameters, declared are 0",
    ),
    "an infinite slope": (
        lambda t: (
            t.extend("z = PRelu (y, k)", k=np.float32([1, np.inf, 1])),
            t.declare_dense("", "PRelu", 3),
            t.note(parameters=("k",)),
        ),
        "parameter that is not finite",
    ),
    "a mask of NaN": (
        lambda t: (
            t.extend("z = Add (y, k)", k=np.float32([0, np.nan, 0])),
            t.declare_dense("", "Add", 3),
            t.note(parameters=("k",)),
        ),
        "parameter that is not finite",
    ),
    "a dense place twice": (with_dense(9, times=2), "declared dense 2 times and stands there 1"),
    "a dense place nowhere": (lambda t: t.declare_dense("n", "Conv", 0), "stands there 0 times"),
    "a foreign operator": (lambda t: t.extend("z = own.Gelu (y)"), "is of domain 'own'"),
    "an unknown operator": (lambda t: t.extend("z = Blur (y)"), "no operator that ONNX knows"),
    "nodes in another order": (reverse_nodes, "which nothing before it makes"),
    "an output of nothing": (other_output, "'nowhere' is made by no node"),
    "an old IR": (lambda t: setattr(t.model, "ir_version", 3), "IR 3"),
    "no operator set": (lambda t: t.model.ClearField("opset_import"), "no operator set"),
    "what is wrong with a layer": (
        lambda t: t.model.graph.node[1].attribute.append(helper.make_attribute("k", 1)),
        "is not the Mul",
    ),
    "what is wrong with constants": (
        lambda t: t.extend("z = Relu (b_scale)"),
        "belongs to a layer",
    ),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_what_is_not_accounted_for_is_told(name: str) -> None:
    forge, told = FORGERIES[name]
    ticket = handmade()
    forge(ticket)

    assert told in check(ticket)


@pytest.mark.parametrize(("claimed", "fits"), [(2, False), (3, True), (9, True), (10, False)])
def test_repeated_parameters_are_counted_once_or_each(claimed: int, fits: bool) -> None:
    """The target's own numbers, repeated for the copies; zeros stand for constants."""
    ticket = handmade()
    repeated = np.float32([[1, 2, 3], [1, 2, 0], [1, 2, 3]])
    ticket.extend("z = MatMul (y, w)", w=repeated)
    ticket.note(parameters=("w",))
    ticket.declare_dense("", "MatMul", claimed, DenseReason.REPEATED.value)

    assert (check(ticket) == "") == fits


def test_integers_that_a_dense_place_computes_with_are_its_parameters() -> None:
    ticket = handmade()
    ticket.extend("i = Cast <to = 7> (y)  j = Add (i, k)  z = Cast <to = 1> (j)", k=np.arange(3))
    ticket.declare_dense("", "Add", 3)

    assert check(ticket) == ""
    ticket.note(dense=())
    assert "brings the integers of shapes into data" in check(ticket)


def test_a_mask_may_be_infinite() -> None:
    ticket = handmade()
    ticket.extend("z = Add (y, k)", k=np.float32([0, -np.inf, 0]))
    ticket.declare_dense("", "Add", 3)
    ticket.note(parameters=("k",))
    _, failures = structure_of(ticket)

    assert failures == []
