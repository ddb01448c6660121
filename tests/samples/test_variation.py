"""The power of a variation: in one pass what NumPy says in two."""

import numpy as np
import pytest

from lt_onnx.samples.variation import MIN_AVERAGED, Variation


def power(*batches: np.ndarray, valid: list[np.ndarray] | None = None) -> float:
    sums = Variation()
    for i, batch in enumerate(batches):
        sums.add(batch, None if valid is None else valid[i])
    return sums.power


def about(values: np.ndarray, *axes: int) -> float:
    return float(np.square(values - values.mean(axes, keepdims=True)).sum())


@pytest.fixture
def values() -> np.ndarray:
    rng = np.random.default_rng(0)
    return (rng.standard_normal((20, 3, 4, 5)) + 1e6 * rng.standard_normal((3, 4, 5))).astype("f")


def test_each_place_has_a_mean_whatever_the_batches(values: np.ndarray) -> None:
    expected = about(values.astype(np.float64), 0)

    assert power(values) == pytest.approx(expected, rel=1e-9)
    assert power(*np.split(values, [1, 3, 11])) == pytest.approx(expected, rel=1e-9)


def test_of_few_inputs_each_channel_has_a_mean_and_of_few_values_all(values: np.ndarray) -> None:
    few = values[: MIN_AVERAGED - 1].astype(np.float64)

    assert power(few) == pytest.approx(about(few, 0, 2, 3))
    assert power(few[:, :, 0, 0]) == pytest.approx(about(few[:, :, 0, 0], 0, 1))
    assert power(np.arange(9.0)) == 60


def test_what_does_not_vary_has_none() -> None:
    same = np.tile(np.float32([0.1, 1e8, -3.3]), (23, 1))

    assert power(same) == power(*np.split(same, [5])) == 0


def test_entries_that_are_not_valid_are_left_out(values: np.ndarray) -> None:
    valid = np.random.default_rng(1).random(values.shape) < 0.9
    masked = np.ma.array(values.astype(np.float64), mask=~valid)
    expected = float(np.square(masked - masked.mean(0)).sum())
    broken = np.where(valid, values, np.nan)
    parts = [slice(0, 9), slice(9, 20)]

    found = power(*[broken[p] for p in parts], valid=[valid[p] for p in parts])
    assert found == pytest.approx(expected, rel=1e-9)


def test_batches_of_several_shapes_have_means_of_their_own() -> None:
    wide, narrow = np.arange(40.0).reshape(10, 4), np.arange(30.0).reshape(10, 3)

    assert power(wide, narrow) == pytest.approx(about(wide, 0) + about(narrow, 0))
