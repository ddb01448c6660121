"""Nodes taken over: on copies, in chains, or on single copies, with nothing left of a refusal."""

from dataclasses import fields

import numpy as np
import pytest
from copies import draft_of, layout, words_of

from lt_onnx.planning.draft import Draft
from lt_onnx.planning.nodes import take_over
from lt_onnx.target import Array, Node

SHAPE = (2, 4, 3, 3)
WORDS = "0a 1a 2a 3a 0b 1b 2b 3b c"


def draft(shapes: dict[str, tuple[int, ...]] | None = None, **constants: Array) -> Draft:
    held = {"x": layout(WORDS), "z": layout("3a 2a 1a 0a 3b 2b 1b 0b c")}
    return draft_of({"x": SHAPE, "z": SHAPE, **(shapes or {})}, constants, layouts=held)


def operators(made: Draft) -> list[str]:
    return [step.nodes[0].op for step in made.emitted.steps]


def test_a_node_with_a_rule_keeps_its_copies() -> None:
    made = draft({"y": SHAPE})
    take_over(made, Node("Relu", "n", ("x",), ("y",)))

    assert operators(made) == ["Relu"]
    assert words_of(made.layout("y") or layout(".")) == WORDS
    assert list(made.emitted.copy_wise) == ["n"]


@pytest.mark.parametrize(
    ("node", "emits"),
    [
        # its scales are repeated before its shifts turn out to be computed
        (Node("InstanceNormalization", "n", ("x", "scale", "shift"), ("y",)), "1"),
        # its second input is put into order before its third turns out to be of unknown size
        (Node("Concat", "n", ("x", "one", "w"), ("y",), {"axis": 1}), "order1"),
    ],
)
def test_nothing_is_left_of_a_rule_that_emits_and_then_refuses(node: Node, emits: str) -> None:
    made, dense = with_three_inputs(), with_three_inputs()
    take_over(made, node)
    (place,) = made.emitted.dense.values()
    dense.run_dense(node, place.reason)

    assert keys(made) == keys(dense)
    assert f"n/{emits}" not in str(keys(made))


def with_three_inputs() -> Draft:
    made = draft({"one": SHAPE, "y": SHAPE}, scale=np.ones(4, np.float32))
    made.target.shapes["w"] = (2, None, 3, 3)  # type: ignore[index]
    made.put("one", "one/copies", layout("3a 2a 1a 0a c"))
    return made


def keys(made: Draft) -> dict[str, list[object]]:
    """All that was emitted, tensors by their names."""
    parts = {part.name: list(getattr(made.emitted, part.name)) for part in fields(made.emitted)}
    return {**parts, "dense": list(made.emitted.dense.values())}


def test_an_operator_without_rule_runs_dense_and_says_so() -> None:
    made = draft({"y": SHAPE})
    take_over(made, Node("LRN", "n", ("x",), ("y",), {"size": 3}))

    assert operators(made) == ["Gather", "LRN"]
    assert made.emitted.dense["n"].reason == "the op table has no rule for it"


def test_a_node_that_no_copies_reach_runs_as_it_is() -> None:
    made = draft_of({"p": SHAPE}, layouts={"p": None})
    take_over(made, Node("LRN", "n", ("p",), ("y",), {"size": 3}))

    assert operators(made) == ["LRN"]
    assert not made.emitted.dense


@pytest.mark.parametrize("op", ["Einsum", "MatMul"])
def test_what_multiplies_is_named_where_no_copies_reach_it(op: str) -> None:
    made = draft_of({"p": SHAPE}, layouts={"p": None})
    take_over(made, Node(op, "n", ("p", "p"), ("y",)))

    assert list(made.emitted.dense) == ["n"]


SHUFFLE = (
    Node("Reshape", "a", ("x", "split"), ("p",)),
    Node("Transpose", "b", ("p",), ("q",), {"perm": [0, 2, 1, 3, 4]}),
    Node("Reshape", "c", ("q", "join"), ("y",)),
)
GOALS = {"split": np.array([0, 2, 2, 3, 3]), "join": np.array([0, 4, 3, 3])}


def test_a_chain_that_comes_out_even_is_one_reshape() -> None:
    made = draft({"y": SHAPE}, **GOALS)
    for node in SHUFFLE:
        take_over(made, node)

    assert operators(made) == ["Reshape"]
    assert words_of(made.layout("y") or layout(".")) == "0a 2a 1a 3a 0b 2b 1b 3b c"
    assert list(made.emitted.copy_wise) == ["a", "b", "c"]
    assert list(made.emitted.inside_chains) == ["p", "q"]


def test_a_tensor_inside_a_chain_that_is_read_is_made_dense() -> None:
    made = draft({"y": SHAPE}, **GOALS)
    for node in SHUFFLE:
        take_over(made, node)
    take_over(made, Node("Relu", "n", ("q",), ("r",)))

    assert operators(made) == ["Reshape", "Gather", "Reshape", "Transpose", "Relu"]
    assert made.emitted.dense["a"].reason == "it splits the channels"


def test_a_chain_that_ends_otherwise_is_dense() -> None:
    made = draft({"q": (2, 2, 2, 3, 3), "r": (2, 2, 2, 3, 3)}, **GOALS)
    for node in (*SHUFFLE[:2], Node("Relu", "n", ("q",), ("r",))):
        take_over(made, node)

    assert operators(made) == ["Gather", "Reshape", "Transpose", "Relu"]
    assert set(made.emitted.dense) == {"a", "b"}
