"""Masks come back from their bytes; subsets take what their goals do; the rest is refused."""

from itertools import combinations
from math import comb

import numpy as np
import pytest

from lt_onnx.packing.subsets import Grouping, Mask, Masks
from lt_onnx.target import Floats

RNG = np.random.default_rng(0)


def drawn(rows: int, size: int) -> Floats:
    """Numbers as a source draws them, [rows, size]."""
    return (RNG.integers(-(2**23), 2**23, (rows, size)) * 2.0**-23).astype(np.float32)


def written(grouping: Grouping | None, numbers: Floats, kept: Mask, step: int) -> bytes:
    """The masks of a layer, some rows at a time, and its biases."""
    masks = Masks()
    layer = masks.layer(grouping, len(kept))
    for start in range(0, len(kept), step):
        layer.coded(start, numbers[start : start + step], kept[start : start + step])
    layer.biases(len(kept), kept[:, 0])
    return masks.content()


def read(content: bytes, grouping: Grouping | None, numbers: Floats, step: int) -> Mask:
    """They come back, with the biases as a last column."""
    masks = Masks(content)
    layer = masks.layer(grouping, len(numbers))
    starts = range(0, len(numbers), step)
    rows = [layer.coded(start, numbers[start : start + step], None) for start in starts]
    biases = layer.biases(len(numbers), None)
    assert masks.is_over
    return np.column_stack([np.concatenate(rows), biases])


@pytest.mark.parametrize(
    ("grouping", "density"),
    [
        (Grouping(28, 28 * 2, 28 * 2 + 24, 9, kernel_width=3), 0.05),
        (Grouping(2, 8, 8, 1), 0.5),
        (Grouping(32, 64, 66, 3, twins=True), 0.9),
        (Grouping(5, 15, 30, 4, images=15, groups=4), 0.2),
        (Grouping(16, 160, 164, 1, groups=24), 0.002),
        (Grouping(5, 15, 20, 4), 0.0),
        (Grouping(32, 32, 32, 1), 1.0),
        (None, 0.1),
    ],
)
def test_masks_come_back(grouping: Grouping | None, density: float) -> None:
    size = 100 if grouping is None else grouping.width * grouping.places
    numbers = drawn(24, size)
    kept = RNG.random(numbers.shape) < density
    if grouping is not None and grouping.images:
        columns = kept.reshape(24, grouping.width, -1)
        columns[:, grouping.slots :] = columns[:, : grouping.slots]
    content = written(grouping, numbers, kept, 7)
    assert np.array_equal(read(content, grouping, numbers, 7), np.column_stack([kept, kept[:, 0]]))


def test_images_and_what_is_empty_take_nothing() -> None:
    grouping = Grouping(5, 50, 100, 9, images=50)
    numbers = drawn(24, 900)
    kept = RNG.random((24, 100, 9)) < 0.1
    kept[:, 50:] = kept[:, :50]
    alone = written(Grouping(5, 50, 50, 9), numbers[:, :450], kept[:, :50].reshape(24, -1), 24)
    nothing = written(grouping, numbers, np.zeros((24, 900), bool), 24)

    assert len(written(grouping, numbers, kept.reshape(24, -1), 24)) < len(alone) + 60
    assert len(nothing) < 24


def test_chosen_subsets_take_what_their_goals_do() -> None:
    """Half of what sizes and ranks take: goals of a kernel are alike, and of one distribution."""
    members, price, grouping = 20, 3e-4, Grouping(20, 20 * 8, 20 * 8, 9, kernel_width=3)
    numbers = drawn(16, grouping.width * 9)
    x = grouping.sets(numbers).astype(np.float64)
    subsets = [s for size in range(3) for s in combinations(range(members), size)]
    member_of = np.zeros((len(subsets), members), bool)
    for row, subset in enumerate(subsets):
        member_of[row, list(subset)] = True
    goals = RNG.laplace(0, 0.05, (16, 8, 1)) + RNG.laplace(0, 0.02, (16, 8, 9))
    sums = x @ member_of.T
    cost = np.square(goals.reshape(16, 72, 1) - sums) + price * member_of.sum(1)
    chosen = member_of[cost.argmin(2)]
    kept = grouping.whole(chosen, np.zeros((16, 0), bool))
    sizes = chosen.sum(2)
    counts = np.bincount(sizes.reshape(-1)) / sizes.size
    plain = np.log2([comb(members, int(k)) / counts[k] for k in sizes.reshape(-1)]).sum() / 8

    assert len(written(grouping, numbers, kept, 16)) < 0.7 * plain


def test_what_no_encoder_writes_is_refused() -> None:
    grouping = Grouping(28, 28 * 6, 28 * 6 + 24, 9)
    numbers = drawn(40, grouping.width * 9)
    content = written(grouping, numbers, RNG.random(numbers.shape) < 0.05, 40)
    with pytest.raises(ValueError, match="truncated"):
        read(content[: len(content) // 2], grouping, numbers, 40)
    for _ in range(20):
        masks, told = Masks(RNG.bytes(200)), ""
        try:
            masks.layer(grouping, 40).coded(0, numbers, None)
        except ValueError as error:
            told = str(error)
        assert told or not masks.is_over


def test_few_bytes_buy_few_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    grouping = Grouping(32, 64, 64, 9)
    numbers = drawn(8, 64 * 9)
    content = written(grouping, numbers, RNG.random(numbers.shape) < 0.05, 8)
    monkeypatch.setattr("lt_onnx.packing.subsets.MAX_SUBSETS_PER_BYTE", 1)
    with pytest.raises(ValueError, match="no encoder writes"):
        read(content, grouping, numbers, 8)
