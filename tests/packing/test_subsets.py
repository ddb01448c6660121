"""Masks come back from their bytes; subsets take what their goals do; the rest is refused."""

from dataclasses import replace
from itertools import combinations
from math import comb

import numpy as np
import pytest

from lt_onnx.packing.copies import Copies, find_lag, find_stride
from lt_onnx.packing.grouping import Grouping, Mask
from lt_onnx.packing.subsets import Masks
from lt_onnx.subset_sum import Rows, Rule, solve_rows
from lt_onnx.subset_sum.grid import on_grid
from lt_onnx.target import Doubles, Floats

RNG = np.random.default_rng(0)


def drawn(rows: int, size: int) -> Floats:
    """Numbers as a source draws them, [rows, size]."""
    return (RNG.integers(-(2**23), 2**23, (rows, size)) * 2.0**-23).astype(np.float32)


def shape_of(grouping: Grouping | None, numbers: Floats) -> tuple[int, ...]:
    """Of the layer: kernels of three taps a row."""
    if grouping is None:
        return numbers.shape
    kernel = [grouping.places // grouping.kernel_width, grouping.kernel_width]
    return len(numbers), grouping.width, *kernel


def written(
    grouping: Grouping | None, numbers: Floats, kept: Mask, step: int, copies: Copies | None = None
) -> bytes:
    """The masks of a layer, some rows at a time, and its biases."""
    masks, shape = Masks(), shape_of(grouping, numbers)
    layer = masks.layer(None if grouping and grouping.apart else grouping, shape, copies)
    for start in range(0, len(kept), step):
        layer.coded(start, numbers[start : start + step], kept[start : start + step])
    layer.biases(len(kept), kept[:, 0])
    return masks.content()


def read(content: bytes, grouping: Grouping | None, numbers: Floats, step: int) -> Mask:
    """They come back, with the biases as a last column."""
    masks, shape = Masks(content), shape_of(grouping, numbers)
    layer = masks.layer(None if grouping and grouping.apart else grouping, shape)
    starts = range(0, len(numbers), step)
    rows = [layer.coded(start, numbers[start : start + step], None) for start in starts]
    biases = layer.biases(len(numbers), None)
    assert masks.is_over
    return np.column_stack([np.concatenate(rows), biases])


def chosen(grouping: Grouping, numbers: Floats, goals: Doubles) -> tuple[Mask, float]:
    """The noise-aware rule's masks for goals [R, problems], and bytes of their sizes and ranks."""
    x, count, price = grouping.sets(numbers).astype(np.float64), grouping.members, 3e-4
    subsets = [s for size in range(3) for s in combinations(range(count), size)]
    member_of = np.zeros((len(subsets), count), bool)
    for row, subset in enumerate(subsets):
        member_of[row, list(subset)] = True
    cost = np.square(goals[:, :, None] - x @ member_of.T) + price * member_of.sum(1)
    masks = member_of[cost.argmin(2)]
    others = np.zeros((len(goals), (grouping.width * grouping.places - masks[0].size)), bool)
    sizes = masks.sum(2).reshape(-1)
    counts = np.bincount(sizes) / sizes.size
    plain = np.log2([comb(count, int(k)) / counts[k] for k in sizes]).sum() / 8
    return grouping.whole(masks, others), float(plain)


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
        (Grouping.apart_of((24, 29, 3, 3), 4, 7), 0.2),
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
    copies = Copies(4, 7, 5) if grouping and grouping.apart else None
    content = written(grouping, numbers, kept, 7, copies)
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
    """Less than sizes and ranks take: goals of a kernel are alike, and of one distribution."""
    grouping = Grouping(20, 20 * 8, 20 * 8, 9, kernel_width=3)
    numbers = drawn(16, grouping.width * 9)
    goals = RNG.laplace(0, 0.05, (16, 8, 1)) + RNG.laplace(0, 0.02, (16, 8, 9))
    kept, plain = chosen(grouping, numbers, goals.reshape(16, 72))

    assert len(written(grouping, numbers, kept, 16)) < 0.7 * plain


def test_subsets_of_targets_on_a_grid_take_less_and_come_back() -> None:
    """Steps are found in the masks alone; prices differ from position to position."""
    grouping = Grouping(24, 24 * 4, 24 * 4, 9, kernel_width=3)
    numbers, count = drawn(64, grouping.width * 9), 4 * 9
    z = RNG.laplace(0, 0.1, (64, count)).astype(np.float32)
    index = np.arange(grouping.width * 9, dtype=np.int32).reshape(1, -1)
    index = grouping.sets(index)
    rows = Rows.plain(index, np.ones(index.shape, np.float32))
    weight = np.exp(RNG.normal(0, 1, (1, count))).astype(np.float32)
    rows = replace(rows, weight=weight, price=np.full((1, count), 2e-5, np.float32))
    sizes = []
    for price_bits in (0.0, 1.0):
        asked = on_grid(rows, price_bits) if price_bits else rows
        masks, residuals = solve_rows(numbers, z, rows=asked, rule=Rule.NOISE, tolerance=0.01)
        bits = (masks[:, :, None] >> np.arange(24, dtype=np.uint32)) & 1
        kept = grouping.whole(bits != 0, np.zeros((64, 0), bool))
        sums = grouping.sets(np.where(kept, numbers, 0)).sum(2, dtype=np.float64)
        assert np.abs(residuals - (z - sums)).max() < 1e-5
        coder = Masks(price_bits=price_bits)
        coder.layer(grouping, (64, grouping.width, 3, 3)).coded(0, numbers, kept)
        content, reader = coder.content(), Masks(coder.content(), price_bits=price_bits)
        layer = reader.layer(grouping, (64, grouping.width, 3, 3))
        assert np.array_equal(layer.coded(0, numbers, None), kept)
        error = (weight * np.square(residuals)).mean()
        sizes.append(8 * len(content) / z.size + 0.5 * np.log2(error))
    assert sizes[1] < sizes[0] - 0.4  # bits of a target, at equal error


def test_copies_are_found_and_take_little() -> None:
    """Rows are copies of the four that went before; members of a base set stand apart."""
    grouping = Grouping.apart_of((35, 90, 3, 3), 8, 11)
    numbers = drawn(35, 90 * 9)
    goals = np.concatenate([np.tile(RNG.laplace(0, 0.1, (4, 99)), (8, 1)), np.zeros((3, 99))])
    kept, plain = chosen(grouping, numbers, goals)
    shape, rows = (35, 90, 3, 3), [(0, numbers[:9], kept[:9]), (9, numbers[9:], kept[9:])]
    lag = find_lag(rows, grouping, count=35, copies=8)
    content = written(grouping, numbers, kept, 16, Copies(8, 11, lag))

    assert (find_stride(kept, shape, 8), lag) == (11, 4)
    assert Masks().trial(shape, Copies(8, 11, 4), numbers, kept) < 0.7 * Masks().trial(
        shape, Copies(), numbers, kept
    )
    assert np.array_equal(read(content, grouping, numbers, 16)[:, :-1], kept)
    assert len(content) < 0.6 * plain < 0.6 * len(written(None, numbers, kept, 16))


@pytest.mark.parametrize("copies", [Copies(8, 12, 0), Copies(1, 1, 0), Copies(2, 0, 0)])
def test_copies_that_a_layer_cannot_have_are_refused(copies: Copies) -> None:
    masks = Masks()
    with pytest.raises(ValueError, match="cannot have"):
        masks.layer(None, (35, 90, 3, 3), copies)
    content = masks.content()
    with pytest.raises(ValueError, match="cannot have"):
        Masks(content).layer(None, (35, 90, 3, 3))


def test_what_no_encoder_writes_is_refused() -> None:
    grouping = Grouping(28, 28 * 6, 28 * 6 + 24, 9)
    numbers = drawn(40, grouping.width * 9)
    content = written(grouping, numbers, RNG.random(numbers.shape) < 0.05, 40)
    with pytest.raises(ValueError, match="truncated"):
        read(content[: len(content) // 2], grouping, numbers, 40)
    for _ in range(20):
        masks, told = Masks(RNG.bytes(200)), ""
        try:
            masks.layer(grouping, (40, grouping.width, 3, 3)).coded(0, numbers, None)
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


def test_a_long_run_of_empty_subsets_is_told_like_any_other() -> None:
    grouping = Grouping(2, 120_000, 120_000, 1)
    numbers = drawn(2, 120_000)
    kept = np.zeros((2, 120_000), bool)
    kept[0, ::2] = kept[1, 0] = True
    content = written(grouping, numbers, kept, 1)

    assert np.array_equal(read(content, grouping, numbers, 1)[:, :-1], kept)


def test_rows_of_more_problems_than_layers_have_are_refused() -> None:
    masks = Masks()
    with pytest.raises(ValueError, match="cannot have"):
        masks.layer(None, (2, 1 << 24), Copies(2, 1 << 22))
