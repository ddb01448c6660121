"""Constructed layers: which construction, on which channels, with which constants."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from copies import draft_of, layout, words_of

from lt_onnx.blueprint import Build
from lt_onnx.layout import CONSTANT
from lt_onnx.ops.activation_fit import LocalModel, Use
from lt_onnx.options import Mode, Options
from lt_onnx.planning.draft import Draft
from lt_onnx.planning.layers import build
from lt_onnx.planning.requirements import Requirement
from lt_onnx.target import Linear

SHAPE = (2, 4, 5, 5)
TWO = "0a 1a 2a 3a 0b 1b 2b 3b c c"


def conv(group: int = 1, bias: float = 1.0, **attributes: Any) -> Linear:
    weight = np.ones((6, 4 // group, 3, 3), np.float32)
    biases = np.full(6, bias, np.float32)
    return Linear("l", "Conv", "x", "y", weight, biases, group, attributes)


def draft(words: str | None = TWO, axis: int = 1, **fields: Any) -> Draft:
    held = {"x": None if words is None else layout(words, axis)}
    made = draft_of({"x": SHAPE, "y": (2, 6, 3, 3)}, layouts=held)
    made.request = replace(made.request, **fields)
    return made


def built(made: Draft, linear: Linear) -> Build:
    build(made, linear)
    step = made.emitted.steps[-1]
    assert isinstance(step, Build)
    return step


def test_a_layer_that_finds_copies_is_one_for_one() -> None:
    step = built(draft(), conv())

    assert step.one_for_one
    assert (step.input, step.base_size, step.coefficients) == ("x/copies", 2, {0: 1.0})
    assert step.source.shape == (6, 10, 3, 3)


@pytest.mark.parametrize(
    ("words", "axis", "fields"),
    [
        ("0a 1a 2a 3a c", 1, {}),  # a single copy
        (TWO, 3, {}),  # on another axis
        ("0a 1a 2a 3a 0b 1b 2b 3b", 1, {}),  # no constants for the bias
        (TWO, 1, {"constants_lost": frozenset("x")}),
        (TWO, 1, {"options": Options(mode=Mode.TWO_L)}),
        (None, 1, {}),
    ],
)
def test_other_layers_open_a_block(words: str | None, axis: int, fields: dict[str, Any]) -> None:
    step = built(draft(words, axis, **fields), conv())

    assert not step.one_for_one
    assert step.expand == "x/univariate"
    assert step.base_size == 20


def test_copies_without_constants_will_do_where_there_is_no_bias() -> None:
    assert built(draft("0a 1a 2a 3a 0b 1b 2b 3b"), conv(bias=0)).one_for_one


@pytest.mark.parametrize(
    ("required", "words", "name"),
    [
        (Requirement(), "0a 1a 2a 3a 4a 5a", "y"),
        (Requirement(True, False, 2), "0a 1a 2a 3a 4a 5a c c", "y"),
        (Requirement(True, False, 0, zeros=1), "0a 1a 2a 3a 4a 5a c", "y"),
    ],
)
def test_a_layer_puts_out_what_is_required(required: Requirement, words: str, name: str) -> None:
    made = draft(requirements={"y": required})
    step = built(made, conv())

    assert words_of(step.out_layout) == words
    assert step.output == name
    assert step.builds_constants is (required.constants > 0)
    assert (made.layout("y") is None) is (not required.rows)


def test_copies_are_as_many_as_the_options_say() -> None:
    made = draft(requirements={"y": Requirement(True, True, 1)}, options=Options(base_size=3))

    assert built(made, conv()).out_layout.copies == 3


def test_copies_of_a_graph_output_have_a_name_of_their_own() -> None:
    made = draft(requirements={"y": Requirement(True, True, 1)})
    made.outputs = frozenset("y")

    assert built(made, conv()).output == "y/copies"


def test_groups_find_their_copies_and_constants_side_by_side() -> None:
    made = draft()
    step = built(made, conv(group=2))

    assert words_of(step.in_layout) == "0a 0b 1a 1b c c 2a 2b 3a 3b c c"
    assert [s.nodes[0].op for s in made.emitted.steps] == ["Gather", "Conv"]
    assert step.source.shape == (6, 6, 3, 3)
    assert step.nodes[0].attributes["group"] == 2


def test_a_channel_of_zeros_fills_its_place_in_a_group() -> None:
    step = built(draft("0a 1a 2a 0b 1b 2b c"), replace(conv(group=2), input="x"))

    assert step.in_layout.width % 2 == 0


@pytest.mark.parametrize(
    ("pads", "operators"),
    [
        ([1, 1, 1, 1], ["Conv"]),  # the middle tap never sees padding
        ([2, 2, 2, 2], ["Gather", "Pad", "Gather", "Pad", "Concat", "Conv"]),
    ],
)
def test_constants_are_padded_by_their_edges_where_every_tap_sees_padding(
    pads: list[int], operators: list[str]
) -> None:
    made = draft()
    step = built(made, conv(pads=pads))

    assert [s.nodes[0].op for s in made.emitted.steps] == operators
    assert step.pads == (tuple(pads) if operators == ["Conv"] else (0, 0, 0, 0))
    assert step.nodes[0].attributes["pads"] == list(step.pads or ())
    modes = [n.attributes.get("mode") for s in made.emitted.steps for n in s.nodes if n.op == "Pad"]
    assert modes == ([] if operators == ["Conv"] else ["constant", "edge"])
    assert (step.in_layout.channel[-2:] == CONSTANT).all()


def test_automatic_padding_is_left_to_the_runtime() -> None:
    step = built(draft(), conv(auto_pad="SAME_UPPER"))

    assert step.pads is None
    assert step.nodes[0].attributes["auto_pad"] == "SAME_UPPER"
    assert "pads" not in step.nodes[0].attributes


@pytest.mark.parametrize(
    ("nonnegative", "coefficients"), [(False, {1: 2 / 3, -1: -2 / 3}), (True, {1: 1.0})]
)
def test_features_add_up_to_the_channel(nonnegative: bool, coefficients: dict[int, float]) -> None:
    model = LocalModel(Use.SPLIT, 1.0, 0.5, 0.0, np.inf, 0.0)  # of a leaky Relu
    held = frozenset("x" if nonnegative else "")
    step = built(draft(None, model=model, nonnegative=held), conv())

    assert step.coefficients == pytest.approx(coefficients)


@pytest.mark.parametrize(
    ("op", "shape", "opset", "node"),
    [
        ("Gemm", (2, 4), 17, "Gemm"),
        ("Gemm", (2, 4), 9, "MatMul"),
        ("MatMul", (2, 3, 4), 17, "MatMul"),
    ],
)
def test_layers_without_kernel(op: str, shape: tuple[int, ...], opset: int, node: str) -> None:
    weight, bias = np.ones((6, 4), np.float32), np.zeros(6, np.float32)
    made = draft_of({"x": shape}, layouts={"x": None}, opset=opset)
    step = built(made, Linear("l", op, "x", "y", weight, bias))

    assert [n.op for n in step.nodes] == [node, "Mul"]
    assert step.source.transposed is (node == "MatMul")
    assert step.out_layout.axis == len(shape) - 1
