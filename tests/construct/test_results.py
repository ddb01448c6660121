"""What is counted, and what comes out in a source of another σ."""

from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest

from lt_onnx.construct.layer_task import LayerTask
from lt_onnx.construct.results import (
    EDGES,
    BuiltLayer,
    LayerStats,
    MaskedRows,
    SavedLayer,
    Tally,
    sqnr,
)
from lt_onnx.layout import Layout

STATS = LayerStats("conv", "one-for-one", "Conv", 1, 1, 1, 1)
Z = np.array([0.5, 0.0, -0.2, 0.3], np.float32)
MASKS = np.array([0b101, 0b1111, 0b1, 0], np.uint32)
RESIDUALS = np.array([0.002, 7, -0.5, 0.3], np.float32)


def test_a_tally_counts_the_problems_that_ask_for_something() -> None:
    tally = Tally.of(Z, MASKS, RESIDUALS, tolerance=0.01)

    assert (tally.problems, tally.misses, tally.elements, tally.kept) == (3, 2, 3, 0)
    assert tally.error == pytest.approx(0.802)
    assert tally.sizes.tolist() == [1, 1, 1, *[0] * 30]
    assert tally.errors.sum() == 3
    assert tally.errors[np.searchsorted(EDGES, 0.002) - 1] == 1


def test_errors_beyond_the_histogram_count_at_its_ends() -> None:
    residuals = np.array([0, 1e-9, 99], np.float32)
    errors = Tally.of(np.ones(3), np.ones(3, np.uint32), residuals, tolerance=0.01).errors

    assert (errors[0], errors[-1]) == (2, 1)


def test_the_sum_of_tallies_is_the_tally_of_all() -> None:
    parts = [
        Tally.of(Z[i:j], MASKS[i:j], RESIDUALS[i:j], tolerance=0.01) for i, j in ((0, 2), (2, 4))
    ]
    whole = Tally.of(Z, MASKS, RESIDUALS, tolerance=0.01) + Tally(kept=5)
    added = sum(parts, Tally(kept=5))

    for name in (field.name for field in fields(Tally)):
        np.testing.assert_allclose(getattr(added, name), getattr(whole, name), rtol=1e-6)
    assert parts[0].sizes.sum() == 1  # not written to


def copies(channels: int, count: int) -> Layout:
    channel = np.tile(np.arange(channels), count).astype(np.int32)
    copy = np.repeat(np.arange(count), channels).astype(np.int32)
    return Layout(1, channels, channel, copy, np.zeros_like(channel))


def test_the_first_copies_are_compared_with_the_target() -> None:
    y = [np.random.default_rng(0).normal(size=(n, 3, 4)).astype(np.float32) for n in (2, 5)]
    out = [np.concatenate([0.9 * v, 7 * v], 1) for v in y]

    assert sqnr(y, out, copies(3, 2)) == pytest.approx(20, abs=1e-3)
    flipped = [v * np.array([1, -1, 1, 1, 1, 1])[:, None] for v in out]
    assert sqnr(y, flipped, copies(3, 2)) < 0.5 * 20
    swapped = [v[:, [1, 0, 2]] for v in y]
    assert sqnr(y, swapped, copies(3, 1)) < 3
    assert sqnr(y, y, copies(3, 1)) > 1000


def test_another_sigma_goes_into_weights_and_back_out_of_scales(
    make_task: Callable[..., LayerTask],
) -> None:
    step, sigma = make_task().step, np.float32(0.3)
    rows = MaskedRows(step, 2, np.array([[0.5, 0.0]], np.float32))
    scale = np.array([2.0, 3.0])
    tensors = {"scale": scale.astype(np.float32), "order": np.arange(2)}
    layer = BuiltLayer(step, np.ones(2, np.float32), tensors, STATS, scale)

    np.testing.assert_array_equal(rows.scaled(sigma).weight, rows.weight * sigma)
    scaled = layer.scaled(sigma)
    np.testing.assert_allclose(scaled.tensors["scale"] * sigma, [2, 3], rtol=1e-6)
    np.testing.assert_array_equal(scaled.tensors["order"], [0, 1])
    np.testing.assert_array_equal(scaled.bias, [sigma, sigma])
    np.testing.assert_array_equal(layer.tensors["scale"], [2, 3])


def test_a_saved_mask_is_found_by_its_first_row() -> None:
    mask = np.random.default_rng(0).random((5, 7)) < 0.3
    pieces = {4: (mask.shape, np.packbits(mask).tobytes())}
    saved = SavedLayer(pieces, np.ones(9), np.zeros(9), STATS)

    np.testing.assert_array_equal(saved.kept(4), mask)
