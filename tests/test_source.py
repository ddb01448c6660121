"""The random source: known answers, random access, independence from the constructor's code."""

import numpy as np
import pytest

from lt_onnx.manifest import LayerRecord
from lt_onnx.options import Init
from lt_onnx.source.layer import SourceLayer, draw_at, draw_bias, draw_rows
from lt_onnx.source.philox import philox
from lt_onnx.verification.generator import pieces, uniform, weights, weights_at


def test_philox_known_answers() -> None:
    """Vectors of the Random123 distribution for Philox4x32-10."""
    ones = np.uint64(0xFFFFFFFF)
    words = [np.uint64(v) for v in (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)]
    key = [np.uint64(v) for v in (0xA4093822, 0x299F31D0)]

    assert [int(v) for v in philox(*[np.uint64(0)] * 6)] == [
        0x6627E8D5,
        0xE169C58D,
        0xBC57AC4C,
        0x9B00DBD8,
    ]
    assert [int(v) for v in philox(*[ones] * 6)] == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    assert [int(v) for v in philox(*words, *key)] == [
        0xD16CFE09,
        0x94FDCCEB,
        0x5001E420,
        0x24126EA1,
    ]


def test_any_rows_can_be_drawn_alone() -> None:
    layer = SourceLayer("w", 3, (13, 5, 3, 3))
    whole = draw_rows(2**40 + 7, layer, start=0, stop=13)

    np.testing.assert_array_equal(draw_rows(2**40 + 7, layer, start=4, stop=9), whole[4:9])
    rows, columns = np.array([2, 11]), np.array([0, 17, 44])
    np.testing.assert_array_equal(
        draw_at(2**40 + 7, layer, rows=rows, columns=columns),
        whole.reshape(13, -1)[np.ix_(rows, columns)],
    )


def test_every_position_alone_is_that_of_the_whole_layer() -> None:
    layer = SourceLayer("w", 3, (9, 7, 2), mirror_rows=3, mirror_columns=2)
    whole = draw_rows(11, layer, start=0, stop=9).reshape(9, 14)

    for row, column in np.ndindex(9, 14):
        alone = draw_at(11, layer, rows=np.array([row]), columns=np.array([column]))
        assert alone.tolist() == [[whole[row, column]]]


def test_seeds_of_all_sizes_follow_one_another() -> None:
    layer = SourceLayer("w", 0, (2, 3), bias=True)
    rows, columns = np.arange(2), np.arange(3)
    drawn = []
    for seed in (0, 1, 2**32, 2**63, 2**64 - 1):
        whole = draw_rows(seed, layer, start=0, stop=2)
        np.testing.assert_array_equal(draw_at(seed, layer, rows=rows, columns=columns), whole)
        drawn.append((*whole.reshape(-1), *draw_bias(seed, layer)))

    assert len(set(drawn)) == 5


def test_mirror_images_are_negatives() -> None:
    layer = SourceLayer("w", 1, (9, 7, 2), mirror_rows=4, mirror_columns=3, bias=True)
    whole, bias = draw_rows(5, layer, start=0, stop=9), draw_bias(5, layer)

    np.testing.assert_array_equal(whole[4:8], -whole[:4])
    np.testing.assert_array_equal(whole[:, 3:6], -whole[:, :3])
    np.testing.assert_array_equal(bias[4:8], -bias[:4])
    np.testing.assert_array_equal(draw_rows(5, layer, start=3, stop=6), whole[3:6])


@pytest.mark.parametrize(("rows", "columns"), [(0, 0), (4, 0), (0, 3), (4, 3)])
def test_the_verifiers_own_generator_agrees(rows: int, columns: int) -> None:
    layer = SourceLayer("w", 2, (10, 6, 3), mirror_rows=rows, mirror_columns=columns)
    sigma = layer.sigma(Init.KAIMING)
    record = LayerRecord(
        "w",
        2,
        [10, 6, 3],
        float(sigma),
        0,
        False,
        rows,
        columns,
        None,
        0,
        "s",
        "folded",
        False,
        None,
    )
    drawn = sigma * draw_rows(99, layer, start=0, stop=10).reshape(-1)

    values = [weights(99, record, piece) for piece in pieces(record)]
    assert [*pieces(record)][-1][1] == 10
    np.testing.assert_array_equal(np.concatenate(values), drawn)
    np.testing.assert_array_equal(weights_at(99, record, np.arange(180)), drawn)


def test_weights_are_uniform_and_layers_are_independent() -> None:
    a, b = (uniform(0, layer, 0, start=0, stop=200_000).astype(np.float64) for layer in (0, 1))
    grid = np.sort(a)
    deviation = np.abs((grid + 1) / 2 - np.arange(1, len(a) + 1) / len(a)).max()

    assert deviation < 1.63 / np.sqrt(len(a))  # Kolmogorov-Smirnov, 1 %
    assert abs(np.corrcoef(a, b)[0, 1]) < 0.01
    assert abs(np.corrcoef(a[1:], a[:-1])[0, 1]) < 0.01
