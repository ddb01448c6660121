"""A draft's answers to the rules, and what it emits."""

import numpy as np
import pytest
from copies import draft_of, layout, physical, words_of

from lt_onnx.manifest import DenseReason
from lt_onnx.planning.draft import Draft
from lt_onnx.runtime import evaluate
from lt_onnx.target import Array, Node

SHAPES = {"x": (2, 2, 3, 3), "y": (2, 2, 3, 3)}


def with_copies(words: str = "0a 1a 0b 1b c", opset: int = 17, **constants: Array) -> Draft:
    return draft_of(SHAPES, constants, layouts={"x": layout(words)}, opset=opset)


def run(draft: Draft, output: str, **feeds: Array) -> Array:
    constants = {**draft.target.constants, **draft.emitted.constants}
    nodes = [step.nodes[0] for step in draft.emitted.steps]
    opsets = draft.target.opsets
    return evaluate(nodes, feeds, constants=constants, outputs=[output], opsets=opsets)[0]


def test_a_name_is_given_once() -> None:
    draft = draft_of({}, {"taken": np.ones(1)})

    assert [draft.unused("a") for _ in range(3)] == ["a", "a_2", "a_3"]
    assert draft.unused("taken") == "taken_2"


def test_names_outlast_what_they_were_given_for() -> None:
    draft = draft_of({})
    snapshot = draft.emitted.snapshot()
    draft.add_constant("index", np.zeros(1))
    draft.emitted.restore(snapshot)

    assert not draft.emitted.constants
    assert draft.add_constant("index", np.zeros(1)) == "index_2"


def test_a_tensor_is_where_it_was_put() -> None:
    draft = with_copies()
    draft.put("y", "elsewhere", None)

    assert (draft.place("x"), draft.place("y"), draft.place("z")) == ("x/copies", "elsewhere", "z")
    assert draft.layout("y") is None
    assert words_of(draft.layout("x") or layout(".")) == "0a 1a 0b 1b c"


@pytest.mark.parametrize("opset", [9, 17])
def test_gathered_channels_and_channels_of_zeros(opset: int) -> None:
    draft = with_copies(opset=opset)
    x = np.random.default_rng(0).normal(size=(2, 5, 3, 3)).astype(np.float32)
    name = draft.gather("x/copies", np.array([3, -1, 0]), 1, "picked")
    picked = run(draft, name, **{"x/copies": x})

    np.testing.assert_array_equal(picked[:, [0, 2]], x[:, [3, 0]])
    assert not picked[:, 1].any()


def test_a_collapsed_tensor_is_copy_0_and_is_made_once() -> None:
    draft = with_copies("1b 0b c 1a 0a")
    copies = [np.random.default_rng(q).normal(size=SHAPES["x"]).astype(np.float32) for q in (0, 1)]
    name = draft.collapsed("x")
    held = physical(draft.layout("x"), copies, np.random.default_rng(2))

    assert draft.collapsed("x") == name
    assert [step.nodes[0].op for step in draft.emitted.steps] == ["Gather"]
    np.testing.assert_array_equal(run(draft, name, **{"x/copies": held}), copies[0])


def test_constants_and_plain_tensors_are_collapsed_already() -> None:
    draft = draft_of(SHAPES, {"k": np.ones(2)}, layouts={"x": None})

    assert (draft.collapsed("x"), draft.collapsed("k")) == ("x", "k")
    assert not draft.emitted.steps


def test_a_dense_node_runs_on_single_copies_and_is_named() -> None:
    draft = with_copies(k=np.ones((2, 1, 1), np.float32))
    draft.run_dense(Node("Add", "n", ("x", "k"), ("y",)), "it has no copies")
    (place,) = draft.emitted.dense.values()

    assert draft.emitted.steps[-1].nodes[0].inputs == ("x/collapsed", "k")
    assert (place.name, place.reason, place.parameters) == ("n", "it has no copies", 2)
    assert draft.place("y") == "y"
    assert list(draft.emitted.constants) == ["x/collapsed/gather/index", "k"]


def test_a_node_without_reason_or_parameters_is_not_dense() -> None:
    draft = with_copies()
    draft.run_dense(Node("Relu", "n", ("x",), ("y",)), None)

    assert not draft.emitted.dense


@pytest.mark.parametrize(
    ("node", "constants", "parameters"),
    [
        (Node("Mul", "n", ("p", "k"), ("y",)), {"k": np.ones(2, np.float32)}, 2),
        (Node("Mul", "n", ("p", "k"), ("y",)), {"k": np.float32(2)}, None),  # a scalar
        (Node("Concat", "n", ("p", "k"), ("y",)), {"k": np.ones(1, np.float32)}, 1),
        (Node("Mul", "n", ("p", "k"), ("y",)), {"k": np.ones(3, np.int64)}, 3),
        (Node("Reshape", "n", ("p", "k"), ("y",)), {"k": np.ones(3, np.int64)}, None),
        (Node("Resize", "n", ("p", "", "k"), ("y",)), {"k": np.ones(4, np.float32)}, None),
        (Node("Where", "n", ("k", "p", "p"), ("y",)), {"k": np.ones(4, bool)}, 4),
        (Node("Gather", "n", ("k", "p"), ("y",)), {"k": np.arange(5)}, 5),
        (Node("Gather", "n", ("p", "k"), ("y",)), {"k": np.arange(5)}, None),
        (
            Node("OneHot", "n", ("p", "k", "v"), ("y",)),
            {"k": np.ones(1, int), "v": np.arange(2)},
            2,
        ),
        (Node("Own", "n", ("p", "k"), ("y",), {}, "com.they"), {"k": np.arange(5)}, 5),
    ],
)
def test_numbers_that_an_operator_computes_with_are_declared(
    node: Node, constants: dict[str, Array], parameters: int | None
) -> None:
    draft = draft_of({}, constants)
    draft.emit(node)

    declared = [place.parameters for place in draft.emitted.dense.values()]
    assert declared == ([] if parameters is None else [parameters])


def test_arithmetic_with_shapes_is_not_declared() -> None:
    draft = draft_of({}, {"k": np.ones(3, np.int64)})
    draft.emit(Node("Shape", "s", ("p",), ("shape",)))
    draft.emit(Node("Mul", "n", ("shape", "k"), ("y",)))

    assert not draft.emitted.dense
    assert set(draft.emitted.from_shapes) == {"shape", "y"}


def test_repeated_parameters_are_declared_once_with_their_reason() -> None:
    draft = with_copies(k=np.ones(2, np.float32))
    node = Node("PRelu", "n", ("x", "k"), ("y",))

    assert draft.parameter(node, "n/slope", np.ones(5, np.float32)) == "n/slope"
    assert draft.parameter(node, "n/slope", np.ones(5, np.float32)) == "n/slope_2"
    (place,) = draft.emitted.dense.values()
    assert (place.reason, place.parameters) == (DenseReason.REPEATED, 2)
