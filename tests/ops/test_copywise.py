"""Operators that run unchanged on all copies: each copy stays itself, and refusals say why."""

from typing import Any

import numpy as np
import pytest
from copies import check, layout, refusal, words_of

from lt_onnx.ops.table import ACTIVATIONS, ELEMENTWISE, POOLING, REDUCING
from lt_onnx.target import Array, Node

TWO = "0a 1a 0b 1b c c"
IMAGE = {"x": ((2, 2, 4, 4), layout(TWO))}
SHAPES = {"x": (2, 2, 4, 4)}
LAYOUTS = {"x": layout(TWO)}


def node(op: str, *inputs: str, **attributes: Any) -> Node:
    return Node(op, "n", ("x", *inputs), ("y",), attributes)


# what onnxruntime runs in the operator set of the test, and needs no second input
PLAIN = sorted(ELEMENTWISE - {"Swish", "Mish", "Gelu", "Cast", "Clip", "Dropout"})


@pytest.mark.parametrize("op", PLAIN)
def test_elementwise_operators_keep_every_copy_and_constant(op: str) -> None:
    assert words_of(*check(node(op), IMAGE)) == TWO


def test_clip_takes_constant_limits() -> None:
    limits = {"low": np.float32(0.7), "high": np.float32(1.5)}

    assert words_of(*check(node("Clip", "low", "high"), IMAGE, limits)) == TWO


def test_clip_between_computed_limits_is_refused() -> None:
    assert "not a constant scalar" in refusal(node("Clip", "low"), SHAPES, LAYOUTS)


def test_activations_are_elementwise() -> None:
    assert ACTIVATIONS < ELEMENTWISE


@pytest.mark.parametrize("op", POOLING)
def test_pooling_keeps_every_copy(op: str) -> None:
    keys = {} if op.startswith("Global") else {"kernel_shape": [2, 2], "strides": [2, 2]}

    assert words_of(*check(node(op, **keys), IMAGE)) == TWO


@pytest.mark.parametrize(("counted", "words"), [(1, "0a 1a 0b 1b . ."), (0, TWO)])
def test_averaging_padding_in_loses_constants(counted: int, words: str) -> None:
    keys = {"kernel_shape": [3, 3], "pads": [1] * 4, "count_include_pad": counted}

    assert words_of(*check(node("AveragePool", **keys), IMAGE)) == words


def test_pooling_of_another_axis_is_refused() -> None:
    given = {"x": layout(TWO, axis=3)}

    assert "axis 1" in refusal(node("MaxPool", kernel_shape=[2, 2]), SHAPES, given)


def test_pooling_whose_indices_are_read_is_refused() -> None:
    both = Node("MaxPool", "n", ("x",), ("y", "i"), {"kernel_shape": [2, 2]})

    assert "indices" in refusal(both, SHAPES, LAYOUTS)


@pytest.mark.parametrize("op", REDUCING)
@pytest.mark.parametrize(("axes", "kept", "axis"), [([2, 3], 1, 1), ([-1], 0, 1)])
def test_reductions_of_other_axes(op: str, axes: list[int], kept: int, axis: int) -> None:
    constants = {"axes": np.array(axes, np.int64)} if op == "ReduceSum" else {}
    keys = {"keepdims": kept} | ({} if constants else {"axes": axes})
    (made,) = check(node(op, *constants, **keys), IMAGE, constants)

    assert words_of(made) == TWO
    assert made.axis == axis


def test_a_reduction_before_the_channels_moves_them() -> None:
    (made,) = check(
        node("ReduceMax", axes=[1], keepdims=0), {"x": ((2, 3, 2), layout(TWO, axis=2))}
    )

    assert made.axis == 1


@pytest.mark.parametrize(
    ("axes", "why"), [([1], "channels or the batch"), ([0], "the batch"), (None, "all axes")]
)
def test_other_reductions_are_refused(axes: list[int] | None, why: str) -> None:
    keys = {} if axes is None else {"axes": axes}

    assert why in refusal(node("ReduceMean", **keys), SHAPES, LAYOUTS)


@pytest.mark.parametrize("op", ["Softmax", "LogSoftmax", "Hardmax"])
def test_softmax_along_another_axis_loses_constants(op: str) -> None:
    assert words_of(*check(node(op, axis=-1), IMAGE)) == "0a 1a 0b 1b . ."


@pytest.mark.parametrize(
    ("axis", "opset", "why"), [(1, 17, "mixes the channels"), (-1, 11, "flattens its input")]
)
def test_softmax_of_channels_is_refused(axis: int, opset: int, why: str) -> None:
    assert why in refusal(node("Softmax", axis=axis), SHAPES, LAYOUTS, opset=opset)


def test_slopes_are_repeated_for_the_copies() -> None:
    slopes = {"s": np.array([[[0.1]], [[0.3]]], np.float32)}

    assert words_of(*check(node("PRelu", "s"), IMAGE, slopes)) == TWO


@pytest.mark.parametrize(
    ("slopes", "why"),
    [
        (None, "not constant"),
        (np.ones((3, 1, 1), np.float32), "another axis than the channels"),
        (np.ones((1, 1, 2, 1, 1), np.float32), "another axis than the channels"),
    ],
)
def test_other_slopes_are_refused(slopes: Array | None, why: str) -> None:
    constants = {} if slopes is None else {"s": slopes}

    assert why in refusal(node("PRelu", "s"), SHAPES, LAYOUTS, constants)


def test_instance_normalization_repeats_its_parameters() -> None:
    constants = {name: np.array([0.5, 2.0], np.float32) for name in ("scale", "shift")}
    (made,) = check(node("InstanceNormalization", "scale", "shift"), IMAGE, constants)

    assert words_of(made) == "0a 1a 0b 1b . ."


def test_instance_normalization_by_computed_numbers_is_refused() -> None:
    why = refusal(node("InstanceNormalization", "scale", "shift"), SHAPES, LAYOUTS)

    assert "constants per channel" in why


@pytest.mark.parametrize(
    ("inputs", "constants", "opset"),
    [
        (("", "scales"), {"scales": np.array([1, 1, 2, 2], np.float32)}, 17),
        (("scales",), {"scales": np.array([1, 1, 2, 2], np.float32)}, 10),
        (("", "", "sizes"), {"sizes": np.array([2, 2, 8, 6], np.int64)}, 17),
    ],
)
def test_resizing_of_other_axes(
    inputs: tuple[str, ...], constants: dict[str, Array], opset: int
) -> None:
    assert words_of(*check(node("Resize", *inputs), IMAGE, constants, opset=opset)) == TWO


@pytest.mark.parametrize(
    ("inputs", "constants"),
    [
        (("", "scales"), {"scales": np.array([1, 2, 1, 1], np.float32)}),
        (("", "", "sizes"), {"sizes": np.array([2, 4, 4, 4], np.int64)}),
        (("", "scales"), {}),
    ],
)
def test_resizing_of_channels_is_refused(
    inputs: tuple[str, ...], constants: dict[str, Array]
) -> None:
    assert "resizes the channels" in refusal(node("Resize", *inputs), SHAPES, LAYOUTS, constants)


def test_resizing_that_crops_is_refused() -> None:
    keys = {"coordinate_transformation_mode": "tf_crop_and_resize"}

    assert "crops" in refusal(node("Resize", **keys), SHAPES, LAYOUTS)


@pytest.mark.parametrize(
    ("op", "goal"), [("Tile", [1, 1, 2, 3]), ("Expand", [2, 2, 4, 4]), ("Expand", [4, 4])]
)
def test_repetition_along_other_axes(op: str, goal: list[int]) -> None:
    given = {"x": ((2, 2, 4, 4) if op == "Tile" else (2, 2, 1, 4), layout(TWO))}

    assert words_of(*check(node(op, "goal"), given, {"goal": np.array(goal)})) == TWO


@pytest.mark.parametrize(
    ("op", "goal", "out"),
    [("Tile", [1, 2, 1, 1], (2, 4, 4, 4)), ("Expand", [2, 4, 4, 4], (2, 4, 4, 4))],
)
def test_repetition_of_channels_is_refused(op: str, goal: list[int], out: tuple[int, ...]) -> None:
    shapes = {**SHAPES, "y": out}

    assert "repeats the channels" in refusal(
        node(op, "goal"), shapes, LAYOUTS, {"goal": np.array(goal)}
    )


def test_a_second_input_with_a_layout_is_refused() -> None:
    both = {"x": layout(TWO), "i": layout(TWO)}

    assert "depends on the network's input" in refusal(node("Relu", "i"), SHAPES, both)
