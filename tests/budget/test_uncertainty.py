"""How well few inputs tell an error: as drawing other inputs again and again shows."""

import numpy as np
import pytest

from lt_onnx.budget.uncertainty import MAX_DB, few_weights, uncertainty
from lt_onnx.target import Doubles


def drawn(rng: np.random.Generator, count: int, *, spread: float) -> tuple[Doubles, Doubles]:
    """An output [count, 5] and its error; `spread`: by how much some inputs have more of both."""
    size = rng.lognormal(0, spread, (count, 1))
    clean, error = rng.standard_normal((2, count, 5))
    return clean * size, 0.1 * error * np.sqrt(size)


# where a few inputs have most of it, those that were not drawn are missed: it is told too small
@pytest.mark.parametrize(("spread", "least"), [(0.0, 0.95), (0.5, 0.85), (1.0, 0.55)])
def test_it_is_the_spread_over_other_inputs(spread: float, least: float) -> None:
    rng = np.random.default_rng(0)
    figures, said = [], []
    for _ in range(600):
        clean, error = drawn(rng, 100, spread=spread)
        varying = np.square(clean - clean.mean(0)).sum()
        figures.append(10 * np.log10(np.square(error).sum() / varying))
        said.append(uncertainty(clean, [error], telling=100))

    assert least <= np.mean(said) / np.std(figures) <= 1.05
    assert max(said) <= MAX_DB


def test_an_output_that_few_inputs_vary_is_known_less() -> None:
    rng = np.random.default_rng(1)
    (usual, error), (rare, wrong) = (drawn(rng, 100, spread=spread) for spread in (0.0, 2.0))

    known = uncertainty(usual, [error], telling=100)
    assert uncertainty(rare, [wrong], telling=100) > 2 * known
    assert uncertainty(usual[:4], [error[:4]], telling=4) > known
    assert uncertainty(usual, [error], telling=25) == pytest.approx(2 * known)


def test_where_there_is_nothing_to_tell_it_of_none_is_added() -> None:
    one = np.ones((1, 3))
    assert uncertainty(one, [one], telling=1) == 0
    assert uncertainty(np.eye(3), [], telling=3) == 0
    alike = np.tile(np.arange(5.0), (4, 1))  # channels differ, inputs do not
    assert uncertainty(alike, [np.eye(4, 5)], telling=4) == 0


def test_what_few_weights_make_spreads_as_the_squares_of_as_many_errors() -> None:
    rng, count = np.random.default_rng(0), 200
    power = np.square(rng.standard_normal((4000, count))).mean(1)

    assert few_weights(count) == pytest.approx(float((10 * np.log10(power)).std()), rel=0.05)
