"""The source is random, or a layer is named."""

from pathlib import Path

import numpy as np
import pytest
from handmade import handmade

from lt_onnx.verification import statistics as module
from lt_onnx.verification.statistics import SIGNIFICANCE, source_statistics


def test_every_layer_is_tested_and_corrected_for(tmp_path: Path) -> None:
    tested = source_statistics(handmade().write(tmp_path / "t.onnx"))
    first, second = tested.layers

    assert tested.failures == []
    assert tested.document()["passed"] is True
    assert (first.weight, second.weight) == ("a", "b")
    assert (first.tested, second.tested) == (18, 12)  # a quarter of `a` is no mirror image
    assert first.before is None
    assert tested.tests == 5
    assert tested.threshold == SIGNIFICANCE / 5
    assert first.p == min(first.p_uniform, first.p_rows)


def test_a_large_layer_is_sampled_in_pairs_of_rows(tmp_path: Path) -> None:
    ticket = handmade()
    ticket.layer(0, shape=(2**26, 2**10), mirror_rows=0, mirror_columns=2**8)
    tested = source_statistics(ticket.write(tmp_path / "t.onnx"))

    assert tested.failures == []
    assert 2**17 <= tested.layers[0].tested <= 2**18


@pytest.mark.parametrize("fault", ["narrow", "rows alike", "layers alike"])
def test_numbers_that_are_not_random_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    ticket = handmade()
    ticket.layer(0, shape=(64, 64), mirror_rows=0, mirror_columns=0)
    ticket.layer(1, shape=(64, 64))
    drawn = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64))
    if fault == "narrow":
        drawn *= 0.9
    elif fault == "rows alike":
        drawn[:] = drawn[:, :1]
    else:
        drawn[1] = drawn[0]

    def draw(seed: int, layer: object, places: np.ndarray) -> np.ndarray:
        return (layer.sigma * drawn[layer.index].reshape(-1)[places]).astype(np.float32)

    monkeypatch.setattr(module, "weights_at", draw)
    tested = source_statistics(ticket.write(tmp_path / "t.onnx"))
    wrong = ["b"] if fault == "layers alike" else ["a", "b"]

    assert [failure.split("'")[1] for failure in tested.failures] == wrong
    assert "is not random: p = " in tested.failures[0]
    assert tested.document()["passed"] is False
