"""The comparison of copies fails where it should."""

from dataclasses import replace

import numpy as np
import pytest
from copies import check, layout, words_of

from lt_onnx.layout import Layout
from lt_onnx.ops.copywise import elementwise
from lt_onnx.target import Node

RELU = Node("Relu", "r", ("x",), ("y",))
GIVEN = {"x": ((2, 3, 4), layout("0a 1a 2a 0b 1b 2b c c"))}


def changed(**fields: object) -> object:
    """The rule of Relu, with a layout that has other `fields`."""

    def rule(node: Node, layouts: list[Layout], to: object) -> Layout:
        return replace(elementwise(node, layouts, to), **fields)  # type: ignore[arg-type]

    return rule


def test_words_say_what_a_layout_is() -> None:
    made = layout("1a 0b . c c")

    assert made.channel.tolist() == [1, 0, -2, -1, -1]
    assert made.copy.tolist() == [0, 1, 0, 0, 1]
    assert words_of(made) == "1a 0b . c c"


def test_the_right_rule_passes() -> None:
    assert words_of(*check(RELU, GIVEN)) == "0a 1a 2a 0b 1b 2b c c"


@pytest.mark.parametrize(
    "fields",
    [
        {"channel": layout("1a 0a 2a 0b 1b 2b c c").channel},  # two channels swapped
        {"copy": layout("0b 1a 2a 0a 1b 2b c c").copy},  # two copies swapped
        {"channel": np.array([0, 1, 2, 0, 1, -1, -1, -1], np.int32)},  # data taken for a constant
        {"size": 4},
        {"axis": 2},
    ],
)
def test_a_layout_that_says_something_else_fails(fields: dict[str, object]) -> None:
    with pytest.raises(AssertionError):
        check(RELU, GIVEN, rule=changed(**fields))  # type: ignore[arg-type]


def test_a_flipped_sign_fails() -> None:
    def negated(node: Node, layouts: list[Layout], to: object) -> Layout:
        to.emit(Node("Neg", "n", ("x/copies",), ("y",)))  # type: ignore[attr-defined]
        return layouts[0]

    with pytest.raises(AssertionError):
        check(RELU, GIVEN, rule=negated)  # type: ignore[arg-type]
