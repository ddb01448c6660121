"""Masks behind a block come back from sizes and ranks; what no encoder writes is refused."""

import io
from math import comb

import numpy as np
import pytest

from lt_onnx.packing.subsets import CHOICES, Grouping


@pytest.mark.parametrize(
    ("grouping", "density"),
    [
        (Grouping(28, 28 * 6, 28 * 6 + 24, 9), 0.05),
        (Grouping(2, 8, 8, 1), 0.5),
        (Grouping(32, 64, 66, 3), 0.9),
        (Grouping(5, 15, 20, 4), 0.0),
        (Grouping(32, 32, 32, 1), 1.0),
    ],
)
def test_masks_come_back(grouping: Grouping, density: float) -> None:
    rng = np.random.default_rng(0)
    kept = rng.random((40, grouping.width * grouping.places)) < density
    stream = io.BytesIO(grouping.encoded(kept))

    assert np.array_equal(grouping.decoded(40, stream.read), kept)
    assert stream.read() == b""


def test_ranks_take_no_more_than_they_must() -> None:
    grouping = Grouping(28, 28 * 100, 28 * 100, 9)
    rng = np.random.default_rng(1)
    kept = rng.random((10, grouping.width * grouping.places)) < 0.05
    sizes = kept.reshape(10, 100, 28, 9).sum(2)
    bits = np.log2(CHOICES[28, sizes]).sum()

    assert len(grouping.encoded(kept)) <= sizes.size + 1.01 * bits / 8
    assert CHOICES[28, 3] == comb(28, 3)


def test_what_no_encoder_writes_is_refused() -> None:
    grouping = Grouping(4, 8, 8, 1)
    for content in (b"\x05\x00\x00", b"\x01", b"\x02\x02\xff\xff"):
        with pytest.raises(ValueError, match="subset"):
            grouping.decoded(1, io.BytesIO(content).read)
