"""What layers must put out, found by walking back from the network's end."""

import numpy as np
import pytest
from copies import draft_of

from lt_onnx.planning.requirements import CARRIED, RESERVE, Requirement, required
from lt_onnx.target import Linear, Node


def linear(input: str, output: str, bias: float = 1.0) -> Linear:
    weight = np.ones((2, 2, 1, 1), np.float32)
    return Linear(output, "Conv", input, output, weight, np.full(2, bias, np.float32))


def node(op: str, *inputs: str, to: str) -> Node:
    return Node(op, to, inputs, tuple(to.split()))


def needs(
    *steps: Node | Linear, many: bool = True, dense: str = "", plain: str = "", lost: str = ""
) -> dict[str, Requirement]:
    """Requirements where all nodes but `dense` kept copies, and all tensors but `plain` had any.

    No constants survived to those that are `lost`.
    """
    target = draft_of({}, steps=steps).target
    kept = {step.name for step in steps} - set(dense.split())
    opening = [] if many else [step.name for step in steps]
    names = {name for step in steps for name in (*step.inputs, *step.outputs)}
    carrying = {name: name not in lost.split() for name in names - set(plain.split())}
    return required(target, opening=opening, copy_wise=kept, carrying=carrying)


def test_requirements_join_to_what_fulfils_both() -> None:
    one, other = Requirement(True, False, 3, 0), Requirement(False, True, 1, 5)

    assert one | other == Requirement(True, True, 3, 5)
    assert (one | other).rows == 5


def test_the_last_layer_reads_a_single_copy() -> None:
    found = needs(linear("x", "a"), node("Relu", "a", to="r"), linear("r", "y"))

    assert found["r"] == found["a"] == Requirement(True, False, CARRIED)
    assert not found.get("y", Requirement()).read


def test_a_layer_that_others_follow_wants_copies_and_a_reserve() -> None:
    found = needs(linear("x", "a"), linear("a", "b"), linear("b", "y"))

    assert found["b"] == Requirement(True, False, CARRIED)
    assert found["a"] == Requirement(True, True, RESERVE)


def test_without_copies_two_constants_are_carried_everywhere() -> None:
    found = needs(linear("x", "a"), linear("a", "b"), linear("b", "y"), many=False)

    assert found["a"] == found["b"] == Requirement(True, False, CARRIED)


@pytest.mark.parametrize(("bias", "constants"), [(0.0, 0), (0.5, CARRIED)])
def test_constants_are_wanted_for_biases_alone(bias: float, constants: int) -> None:
    assert needs(linear("x", "a"), linear("a", "y", bias))["a"].constants == constants


def test_constants_are_handed_on_past_a_layer_without_bias() -> None:
    found = needs(linear("x", "a"), linear("a", "b", 0.0), linear("b", "y"))

    assert found["a"].constants == RESERVE


def test_a_dense_node_ends_the_walk() -> None:
    found = needs(linear("x", "a"), node("LRN", "a", to="n"), linear("n", "y"), dense="n")

    assert not found.get("a", Requirement()).read


def test_a_skip_carries_the_constants_and_the_layer_beside_it_has_zeros() -> None:
    found = needs(
        linear("x", "a"),
        node("Relu", "a", to="s"),
        linear("s", "b"),
        node("Add", "b", "s", to="t"),
        linear("t", "y"),
    )

    assert found["b"] == Requirement(True, False, 0, zeros=CARRIED)
    assert found["s"] == Requirement(True, True, RESERVE)


def test_of_two_layers_the_first_carries() -> None:
    found = needs(
        linear("x", "a"), linear("x", "b"), node("Add", "a", "b", to="t"), linear("t", "y")
    )

    assert (found["a"].constants, found["b"].constants) == (CARRIED, 0)
    assert found["b"].zeros == CARRIED


def test_beside_a_concatenated_carrier_nothing_is_needed() -> None:
    found = needs(
        linear("x", "a"), linear("x", "b"), node("Concat", "a", "b", to="t"), linear("t", "y")
    )

    assert (found["b"].constants, found["b"].zeros) == (0, 0)


def test_of_a_product_every_input_carries() -> None:
    found = needs(
        linear("x", "a"), linear("x", "b"), node("Mul", "a", "b", to="t"), linear("t", "y")
    )

    assert found["a"].constants == found["b"].constants == CARRIED


def test_inputs_that_never_had_copies_need_nothing() -> None:
    found = needs(linear("x", "a"), node("Mul", "a", "p", to="t"), linear("t", "y"), plain="p")

    assert "p" not in found or not found["p"].read


def test_several_outputs_need_what_any_of_them_needs() -> None:
    found = needs(
        linear("x", "a"),
        Node("Split", "split", ("a",), ("p", "q")),
        linear("p", "b"),
        linear("q", "z"),
        linear("b", "y"),
    )

    assert found["q"] == Requirement(True, False, CARRIED)
    assert found["a"] == found["p"] == Requirement(True, True, RESERVE)


def test_an_input_that_constants_do_not_survive_to_is_not_asked_for_them() -> None:
    """A padded average is no constant at the border: the other part of the Concat brings them."""
    steps = [
        linear("x", "a"),
        linear("x", "b"),
        node("AveragePool", "a", to="p"),
        node("Concat", "p", "b", to="c"),
        linear("c", "d"),
        linear("d", "y"),
    ]
    kept, found = needs(*steps), needs(*steps, lost="p")

    assert (kept["a"].constants, kept["b"].constants) == (RESERVE, 0)
    assert (found["a"].constants, found["b"].constants) == (0, RESERVE)
    everywhere = needs(*steps, lost="p b c")
    assert (everywhere["a"].rows, everywhere["b"].rows) == (0, 0)
