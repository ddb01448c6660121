"""The local model of an activation (Assumption 2.3), for functions whose model is known."""

import math

import numpy as np
import pytest

from lt_onnx.ops.activation_fit import TOLERANCE, Function, LocalModel, Use, fit
from lt_onnx.target import Floats


def fitted(function: Function) -> LocalModel:
    model = fit(function)
    assert model is not None
    return model


def clip(x: Floats) -> Floats:
    return np.clip(x, 0, 6)


def sigmoid(x: Floats) -> Floats:
    return (1 / (1 + np.exp(-x.astype(np.float64)))).astype(np.float32)


@pytest.mark.parametrize(
    ("function", "positive", "negative"),
    [
        (lambda x: np.maximum(x, 0), 1.0, 0.0),
        (lambda x: np.where(x > 0, x, np.float32(0.1) * x), 1.0, 0.1),
        (lambda x: x, 1.0, 1.0),
    ],
)
def test_piecewise_linear_functions_are_exact_everywhere(
    function: Function, positive: float, negative: float
) -> None:
    model = fitted(function)

    assert (model.use, model.reach, model.error) == (Use.SPLIT, math.inf, 0.0)
    assert (model.positive, model.negative) == pytest.approx((positive, negative))
    assert model.slope == 1.0


def test_a_clipped_function_is_exact_up_to_its_limit() -> None:
    model = fitted(clip)

    assert (model.use, model.reach) == (Use.SPLIT, 4.0)  # the largest power of 2 below 6


def test_an_odd_function_is_linear_near_zero() -> None:
    model = fitted(lambda x: np.tanh(x.astype(np.float64)).astype(np.float32))

    assert model.use is Use.ODD
    assert model.slope == pytest.approx(1, abs=TOLERANCE)
    assert model.error < TOLERANCE


def test_a_function_with_an_offset_needs_mirror_images() -> None:
    model = fitted(sigmoid)

    assert model.use is Use.MIRROR
    assert (model.offset, model.slope) == pytest.approx((0.5, 0.5), abs=1e-4)
    assert model.error < 1e-4


@pytest.mark.parametrize("function", [np.abs, np.zeros_like, np.square])
def test_an_even_function_hands_nothing_on(function: Function) -> None:
    assert fit(function) is None
