"""A layer of subset sums alone: as wrong as it is asked to be, and less with more copies."""

from itertools import pairwise

import numpy as np
import pytest

from lt_onnx.budget.disturbance import Disturbance, Guess
from lt_onnx.target import Floats, Linear


@pytest.fixture(scope="module")
def disturbance() -> Disturbance:
    """A convolution of eight channels, of which some are alike, on 96 inputs."""
    return disturbed(np.random.default_rng(0).standard_normal((24, 8, 3, 3)).astype(np.float32))


def disturbed(weight: Floats) -> Disturbance:
    """One of such inputs with some `weight` [24, 8, 3, 3]."""
    rng = np.random.default_rng(1)
    layer = Linear("one", "Conv", "x", "y", weight, np.zeros(24, np.float32))
    mixed = rng.standard_normal((8, 8)).astype(np.float32)
    x = [np.einsum("ij,njhw->nihw", mixed, rng.standard_normal((32, 8, 10, 10))) for _ in range(3)]
    y = [np.zeros((32, 24, 8, 8), np.float32) for _ in x]
    return Disturbance(layer, [v.astype(np.float32) for v in x], y, 0, tried=1)


@pytest.mark.parametrize("error", [3e-2, 1e-2, 1e-3])
def test_it_is_about_as_wrong_as_it_is_asked_to_be(disturbance: Disturbance, error: float) -> None:
    drawn = disturbance.draw(error, Guess(0.1, 1e-2))
    assert drawn is not None
    change, power = drawn

    assert power == pytest.approx(error, rel=0.6)
    told = disturbance.seen @ change.swapaxes(1, 2)
    clean = disturbance.seen @ disturbance.goals.swapaxes(1, 2)
    assert np.square(told).sum() / np.square(clean).sum() == pytest.approx(power, rel=1e-3)


def test_rows_that_are_not_sought_are_as_wrong(
    disturbance: Disturbance, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of 24 rows every third by power: the others are off as one of these, by what they make."""
    monkeypatch.setattr("lt_onnx.budget.disturbance.MAX_BUILT", disturbance.linear.weight.size // 3)
    drawn = disturbance.draw(1e-3, Guess(0.1, 1e-2))
    assert drawn is not None
    change, power = drawn

    assert power == pytest.approx(1e-3, rel=0.6)
    told, clean = (disturbance.seen @ x.swapaxes(1, 2) for x in (change, disturbance.goals))
    powers = np.square(clean).sum((0, 1))
    order = np.argsort(-powers)
    shares = (np.square(told).sum((0, 1)) / powers)[order].reshape(8, 3)
    assert shares == pytest.approx(np.repeat(shares[:, :1], 3, 1), rel=1e-3)
    assert np.ptp(shares[:, 0]) > 1e-4
    signs = change[0, order, 0] / change[0, np.repeat(order[::3], 3), 0]
    assert {-1, 1} == set(np.sign(signs))


def test_rows_that_make_nothing_stand_for_no_others(monkeypatch: pytest.MonkeyPatch) -> None:
    weight = np.random.default_rng(0).standard_normal((24, 8, 3, 3)).astype(np.float32)
    weight[::3] = 0
    weight[1::6] *= 1e-20
    monkeypatch.setattr("lt_onnx.budget.disturbance.MAX_BUILT", weight.size // 3)
    drawn = disturbed(weight).draw(1e-3, Guess(0.1, 1e-2))
    assert drawn is not None
    change, power = drawn

    assert power == pytest.approx(1e-3, rel=0.6)
    strong = np.square(change[0, np.arange(24) % 6 == 5]).sum()
    assert np.square(change).sum() < 4 * strong


def test_draws_differ_by_the_signs_of_rows(disturbance: Disturbance) -> None:
    drawn = disturbance.draw(1e-3, Guess(0.1, 1e-2))
    assert drawn is not None
    goals = disturbance.linear.weight
    changes = [layer.weight - goals for layer in disturbance.likely(drawn[0])]

    signs = [(change / changes[0]).reshape(24, -1) for change in changes]
    assert all(np.abs(np.abs(sign) - 1).max() < 0.01 for sign in signs)
    assert all(np.ptp(sign, axis=1).max() < 0.01 for sign in signs)
    assert any((sign < 0).any() for sign in signs)


def test_more_copies_are_less_wrong_and_noisy_ones_more(disturbance: Disturbance) -> None:
    least = [disturbance.least(m, 1e-6)[0] for m in (6, 11, 20)]
    assert all(fewer > 2 * more for fewer, more in pairwise(least))
    quiet, noisy = (disturbance.least(11, power) for power in (1e-6, 0.1))
    assert noisy[0] > quiet[0]
    assert noisy[1] < quiet[1]  # it picks up less of what is loud


def test_a_layer_of_zeros_has_no_error() -> None:
    zeros = Linear("none", "Conv", "x", "y", np.zeros((2, 1, 1, 1), np.float32), np.zeros(2))
    x, y = [np.ones((4, 1, 2, 2), np.float32)] * 2, [np.zeros((4, 2, 2, 2), np.float32)] * 2
    assert Disturbance(zeros, x, y, 0, tried=1).draw(1e-3, Guess(0.1, 1e-2)) is None


def test_no_row_alone_is_all_of_a_small_layers_error() -> None:
    """Where a base set pulls the wrong way, the row is mended as construction would mend it."""
    worst = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        weight = rng.standard_normal((32, 8)).astype(np.float32)
        layer = Linear("one", "Gemm", "x", "y", weight, np.zeros(32, np.float32))
        x = [rng.standard_normal((64, 8)).astype(np.float32) for _ in range(3)]
        made = Disturbance(layer, x, [np.zeros((64, 32), np.float32)] * 3, seed, tried=1)
        drawn = made.draw(1e-4, Guess(0.1, 1e-2))
        assert drawn is not None
        rows = made._powers(drawn[0])
        worst.append(float(rows.max() / rows.sum()))

    assert max(worst) < 0.5
