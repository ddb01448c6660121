"""The proof's own Philox: the published vectors, and the source's numbers bit for bit."""

import numpy as np
import pytest
from handmade import SEED, SOURCES, handmade

from lt_onnx.options import Init
from lt_onnx.source.layer import SourceLayer, draw_bias, draw_rows
from lt_onnx.source.philox import fill
from lt_onnx.verification.generator import biases, deviation, pieces, uniform, weights, weights_at


def test_the_first_words_are_those_of_random123() -> None:
    words = np.array([0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8], np.uint32)
    expected = (words.view(np.int32) >> 8) * np.float32(2.0**-23)

    np.testing.assert_array_equal(uniform(0, 0, 0, start=0, stop=4), expected)


@pytest.mark.parametrize(("start", "stop"), [(0, 1), (3, 9), (4, 8), (2**34 + 1, 2**34 + 6)])
def test_any_positions_are_the_sources(start: int, stop: int) -> None:
    expected = np.empty(stop - start, np.float32)
    fill(expected, start, SEED, 5, 1)

    np.testing.assert_array_equal(uniform(SEED, 5, 1, start=start, stop=stop), expected)


@pytest.mark.parametrize("number", [0, 1])
def test_weights_are_the_sources_mirror_images_too(number: int) -> None:
    source, layer = SOURCES[number], handmade().manifest.layers[number]
    sigma = source.sigma(Init.KAIMING)
    expected = (sigma * draw_rows(SEED, source, start=0, stop=source.shape[0])).reshape(-1)
    places = np.random.default_rng(0).permutation(expected.size)

    drawn = np.concatenate([weights(SEED, layer, rows) for rows in pieces(layer)])
    np.testing.assert_array_equal(drawn, expected)
    np.testing.assert_array_equal(weights_at(SEED, layer, places), expected[places])


def test_biases_are_the_sources() -> None:
    source = SourceLayer("w", 3, (6, 2), bias=True, mirror_rows=2)
    ticket = handmade()
    ticket.layer(1, index=3, shape=(6, 2), mirror_rows=2)
    sigma = np.float32(ticket.manifest.layers[1].sigma)

    np.testing.assert_array_equal(
        biases(SEED, ticket.manifest.layers[1]), sigma * draw_bias(SEED, source)
    )


def test_pieces_cover_every_row_once_and_keep_mirror_images_apart() -> None:
    ticket = handmade()
    ticket.layer(0, shape=(11, 2**16), mirror_rows=4, mirror_columns=0)
    ranges = list(pieces(ticket.manifest.layers[0]))

    assert [row for start, stop in ranges for row in range(start, stop)] == list(range(11))
    assert {4, 8} <= {start for start, _ in ranges}
    assert max(stop - start for start, stop in ranges) == 2


@pytest.mark.parametrize(
    ("init", "variance"),
    [("unit", 1 / 3), ("kaiming", 2 / 18), ("xavier", 2 / (18 + 36)), ("lecun", 1 / 18)],
)
def test_sigma_is_the_schemes_deviation_times_root_three(init: str, variance: float) -> None:
    assert deviation(init, (4, 2, 3, 3)) == np.float32(np.sqrt(3 * variance))
