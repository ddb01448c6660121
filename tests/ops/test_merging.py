"""Operators of several tensors: copies meet their likes in one order, and refusals say why."""

from typing import Any

import numpy as np
import pytest
from copies import check, draft_of, layout, refusal, words_of

from lt_onnx.layout import Layout
from lt_onnx.manifest import DenseReason
from lt_onnx.ops.table import MERGING, rule_for
from lt_onnx.target import Array, Node

SHAPE = (2, 2, 3, 3)
ONE, TWO = "0a 1a", "0a 1a 0b 1b c c"
SHAPES = {"x": SHAPE, "z": SHAPE, "y": SHAPE}


def node(op: str, *inputs: str, **attributes: Any) -> Node:
    return Node(op, "n", inputs or ("x", "z"), ("y",), attributes)


def inputs(x: str | None, z: str | None) -> dict[str, tuple[tuple[int, ...], Layout | None]]:
    return {
        name: (SHAPE, None if words is None else layout(words))
        for name, words in (("x", x), ("z", z))
    }


@pytest.mark.parametrize("op", sorted(MERGING - {"Pow"}))
@pytest.mark.parametrize(
    ("x", "z", "made"),
    [
        (TWO, TWO, TWO),
        (TWO, "1a 0a 1b 0b c c", TWO),  # the second is brought into the order of the first
        (TWO, "0a 1a 0b 1b c", "0a 1a 0b 1b c"),  # constants that both carry
        (TWO, ONE, ONE),  # as many copies as the fewest have
        (TWO, None, ONE),
        ("0a 1a 0b 1b", "1a 1b", "0a 1a 0b 1b"),  # a channel of zeros is filled in
    ],
)
def test_copies_meet_in_one_order(op: str, x: str, z: str | None, made: str) -> None:
    if op == "Div" and z == "1a 1b":
        pytest.skip("zero divides nothing")

    assert words_of(*check(node(op), inputs(x, z))) == made


@pytest.mark.parametrize("z", [ONE, None])
def test_a_single_copy_serves_as_every_copy_that_is_wanted(z: str | None) -> None:
    assert words_of(*check(node("Add"), inputs(TWO, z), many=True)) == "0a 1a 0b 1b"


def test_channels_that_only_the_other_input_has_are_put_in_front() -> None:
    given = {"x": (SHAPE, layout("1a 1b c")), "z": (SHAPE, layout("0a 0b c", size=2))}
    made = check(node("Add"), given)

    assert words_of(*made) == "0a 0b 1a 1b c"


def test_one_channel_serves_all_and_no_constant_survives() -> None:
    given = {"x": (SHAPE, layout(TWO)), "z": ((2, 1, 3, 3), None)}

    assert words_of(*check(node("Mul"), given)) == "0a 1a 0b 1b . ."


@pytest.mark.parametrize(
    ("shape", "made"),
    [
        ((), TWO),
        ((2, 1, 1), TWO),  # one number a channel
        ((1, 2, 1, 1), TWO),
        ((3,), "0a 1a 0b 1b . ."),  # varies over positions
        ((2, 3, 3), "0a 1a 0b 1b . ."),
    ],
)
@pytest.mark.parametrize("op", ["Add", "Sub", "Mul", "Div"])
def test_constants_are_repeated_for_the_copies(op: str, shape: tuple[int, ...], made: str) -> None:
    value = np.random.default_rng(1).uniform(1, 2, shape).astype(np.float32)

    assert words_of(*check(node(op, "x", "k"), {"x": inputs(TWO, None)["x"]}, {"k": value})) == made


def test_a_repeated_constant_is_declared_dense() -> None:
    draft = draft_of(SHAPES, {"k": np.ones((2, 1, 1), np.float32)}, layouts={"x": layout(TWO)})
    rule_for(node("Add"))(node("Add", "x", "k"), [layout(TWO), None], draft)
    (place,) = draft.emitted.dense.values()

    assert (place.name, place.op, place.parameters) == ("n", "Add", 2)
    assert place.reason is DenseReason.REPEATED


@pytest.mark.parametrize(
    ("op", "names", "constants", "why"),
    [
        ("Max", ("x", "k"), {"k": np.ones((2, 1, 1), np.float32)}, "more than one element"),
        ("Sum", ("x", "z", "k"), {"k": np.ones((2, 1, 1), np.float32)}, "more than one element"),
        ("Add", ("x", "k"), {"k": np.ones((5, 1, 1), np.float32)}, "does not broadcast"),
        ("Div", ("k", "x"), {"k": np.ones((2, 1, 1), np.float32)}, "does not broadcast"),
    ],
)
def test_other_constants_are_refused(
    op: str, names: tuple[str, ...], constants: dict[str, Array], why: str
) -> None:
    layouts = {"x": layout(TWO), "z": layout(TWO)}

    assert why in refusal(node(op, *names), SHAPES, layouts, constants)


@pytest.mark.parametrize(
    ("shapes", "axis", "why"),
    [
        ({"z": (2, 3, 3)}, 1, "differ in rank"),
        ({}, 2, "on different axes"),
        ({"z": (2, None, 3, 3)}, None, "channels are unknown"),
        ({"y": (1, *SHAPE)}, 1, "rank"),
    ],
)
def test_inputs_that_do_not_meet_are_refused(
    shapes: dict[str, tuple[int | None, ...]], axis: int | None, why: str
) -> None:
    layouts = {"x": layout(TWO), "z": None if axis is None else layout(TWO, axis)}
    constants = {"k": np.ones((2, 1, 1), np.float32)} if "y" in shapes else {}
    names = ("x", "k") if constants else ("x", "z")

    assert why in refusal(node("Add", *names), SHAPES | shapes, layouts, constants)


def test_single_copies_under_one_channel_with_copies_are_refused() -> None:
    shapes = SHAPES | {"z": (2, 1, 3, 3)}

    assert "over single copies" in refusal(node("Mul"), shapes, {"z": layout("0a 0b")})


@pytest.mark.parametrize(
    ("x", "z", "many", "made"),
    [
        (TWO, TWO, False, "0a 1a 0b 1b c c 2a 3a 2b 3b c c"),
        (TWO, None, False, "0a 1a c c 2a 3a"),
        (TWO, ONE, True, "0a 1a 0b 1b c c 2a 3a 2b 3b"),
        ("1a 1b c", TWO, False, "1a 1b c 2a 3a 2b 3b c c"),
    ],
)
def test_concatenated_channels_stand_beside_each_other(
    x: str, z: str | None, many: bool, made: str
) -> None:
    assert words_of(*check(node("Concat", axis=1), inputs(x, z), many=many)) == made


def test_constants_of_a_concatenation_are_numbered_on() -> None:
    (made,) = check(node("Concat", axis=1), inputs(TWO, TWO))

    assert made.copy[made.channel == -1].tolist() == [0, 1, 2, 3]


def test_a_concatenation_along_another_axis_keeps_the_common_copies() -> None:
    assert words_of(*check(node("Concat", axis=2), inputs(TWO, "1a 0a c"))) == "0a 1a c"


@pytest.mark.parametrize(
    ("names", "shapes", "axis", "constants", "why"),
    [
        (("x", "k"), {}, 1, {"k": np.ones(SHAPE, np.float32)}, "a part of it is constant"),
        (("x", "z"), {}, 2, {}, "on different axes"),
        (("x", "w"), {"w": (2, None, 3, 3)}, 1, {}, "of 'w' is unknown"),
    ],
)
def test_other_concatenations_are_refused(
    names: tuple[str, ...],
    shapes: dict[str, tuple[int | None, ...]],
    axis: int,
    constants: dict[str, Array],
    why: str,
) -> None:
    layouts = {"x": layout(TWO), "z": layout(TWO, axis)}

    assert why in refusal(node("Concat", *names, axis=1), SHAPES | shapes, layouts, constants)
