"""Interval arithmetic: enclosures, and rounding as the standard model has it."""

import numpy as np
import pytest

from lt_onnx.validation.bound.ranges import (
    UNIT_ROUNDOFF,
    Range,
    Slopes,
    UnboundedError,
    dot_error,
    parts,
)


def test_parts_above_and_below_zero_enclose_both_signs() -> None:
    low, high = np.array([-3.0, 1.0, -4.0]), np.array([2.0, 5.0, -1.0])
    middle_up, radius_up, middle_down, radius_down = parts(low, high)

    assert (middle_up - radius_up).tolist() == [0, 1, 0]
    assert (middle_up + radius_up).tolist() == [2, 5, 0]
    assert (middle_down - radius_down).tolist() == [0, 0, 1]
    assert (middle_down + radius_down).tolist() == [3, 0, 4]


def test_equal_numbers_have_no_error_until_they_are_rounded() -> None:
    x = Range.exact(np.array([-2.0]), np.array([1.0]))
    once = x.rounded()

    assert x.error.tolist() == [0]
    assert x.largest.tolist() == [2]
    assert once.low < x.low
    assert once.high > x.high
    assert 2 * UNIT_ROUNDOFF <= once.error <= 100 * UNIT_ROUNDOFF
    assert x.rounded(function=True).error > once.error


def test_neurons_are_in_the_middle_of_what_they_read() -> None:
    low, high = np.array([-1.0]), np.array([3.0])
    slopes = Slopes(np.array([0.5]), np.array([2.0]), np.array([1.0]), low, high)
    x = Range(low, high, low, slopes)

    assert x.middle.tolist() == [0.5 + 2 * 1.5 - 0.5]  # x⁺ in [0, 3], x⁻ in [0, 1]
    assert Range(low, high, low).middle.tolist() == [1]


def test_a_dot_products_rounding_grows_with_its_terms() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 1000)).astype(np.float32)
    exact = float(a.astype(np.float64) @ b.astype(np.float64))
    off = abs(float(np.add.reduce(a * b)) - exact)

    assert off <= dot_error(1000) * float(np.abs(a * b).sum(dtype=np.float64))
    assert dot_error(10) < dot_error(1000) < 1e-3
    with pytest.raises(UnboundedError, match="no useful rounding bound"):
        dot_error(1 << 24)
