"""Which tensors are known to be never negative."""

from typing import Any

import numpy as np
import pytest
from copies import draft_of

from lt_onnx.ops.signs import nonnegative_tensors
from lt_onnx.target import Array, Node

RELU = Node("Relu", "r", ("x",), ("p",))  # p is never negative, x may be


def known(
    op: str, *inputs: str, constants: dict[str, Array] | None = None, **attributes: Any
) -> bool:
    """Whether the output of a node is known to be never negative, behind a Relu."""
    node = Node(op, "n", inputs, ("y",), attributes)
    return "y" in nonnegative_tensors(draft_of({}, constants, steps=[RELU, node]).target)


@pytest.mark.parametrize("op", ["Relu", "Sigmoid", "Softmax", "Exp", "Abs"])
def test_some_functions_are_never_negative(op: str) -> None:
    assert known(op, "x")


@pytest.mark.parametrize("op", ["Tanh", "Neg", "Sub", "Log", "LRN", "Conv"])
def test_others_may_be(op: str) -> None:
    assert not known(op, "p")


@pytest.mark.parametrize("op", ["MaxPool", "Transpose", "LeakyRelu", "Reshape", "Gather", "PRelu"])
def test_some_hand_their_input_s_sign_on(op: str) -> None:
    assert known(op, "p")
    assert not known(op, "x")


def test_a_sum_of_what_is_never_negative_is_not() -> None:
    assert known("Add", "p", "p")
    assert not known("Add", "p", "x")


@pytest.mark.parametrize(("value", "sign"), [([0.0, 2.0], True), ([1.0, -1.0], False)])
def test_constants_count_as_inputs(value: list[float], sign: bool) -> None:
    assert known("Mul", "p", "k", constants={"k": np.array(value)}) is sign


@pytest.mark.parametrize("op", ["Reshape", "Slice", "PRelu"])
def test_what_says_how_is_no_data(op: str) -> None:
    assert known(op, "p", "k", constants={"k": np.array([-1])})


@pytest.mark.parametrize(("low", "sign"), [(0.0, True), (0.5, True), (-1.0, False)])
def test_a_clip_s_lower_limit_decides(low: float, sign: bool) -> None:
    assert known("Clip", "x", "low", constants={"low": np.float32(low)}) is sign
    assert known("Clip", "x", min=low) is sign
    assert known("Clip", "p", "low", constants={"low": np.float32(low)})


def test_a_clip_without_limit_is_as_its_input() -> None:
    assert not known("Clip", "x")
    assert not known("Clip", "x", "computed")


@pytest.mark.parametrize(("fill", "sign"), [(0.0, True), (1.0, True), (-0.5, False)])
def test_what_a_pad_fills_in_decides(fill: float, sign: bool) -> None:
    pads = {"pads": np.array([0, 1, 0, 1])}

    assert known("Pad", "p", "pads", "v", constants={**pads, "v": np.float32(fill)}) is sign
    assert known("Pad", "p", pads=[0, 1, 0, 1], value=fill) is sign
    assert not known("Pad", "p", "pads", "computed", constants=pads)
    assert known("Pad", "p", "pads", constants=pads, mode="edge")
