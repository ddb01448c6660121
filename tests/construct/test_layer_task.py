"""Blocks and chunks hold every row once, whole groups or parts of one."""

from collections.abc import Callable

import numpy as np
import pytest

from lt_onnx.construct import layer_task
from lt_onnx.construct.layer_task import LayerTask, RowChoice

Make = Callable[..., LayerTask]
SIZES = [1, 600, 2_000, 5_000, 1 << 23]  # weights; a row has 162, a group 9 rows


@pytest.mark.parametrize("weights", SIZES)
@pytest.mark.parametrize("groups", [1, 4])
def test_blocks_partition_the_rows(
    make_task: Make, monkeypatch: pytest.MonkeyPatch, weights: int, groups: int
) -> None:
    monkeypatch.setattr(layer_task, "BLOCK_WEIGHTS", weights)
    task = make_task(groups=groups)
    blocks = list(task.blocks())

    rows = [row for block in blocks for row in range(block.rows.start, block.rows.stop)]
    assert rows == list(range(9 * groups))
    for block in blocks:
        assert len(block) * task.step.source.row_size <= weights or len(block) == 1
        own = task.data_rows(block.groups, slice(0, 9 * groups))
        assert own.tolist() == [r for g in block.groups for r in range(9 * g, 9 * g + 8)]
        assert len(block.groups) == 1 or len(block) == 9 * len(block.groups)


@pytest.mark.parametrize("weights", SIZES)
def test_chunks_partition_the_blocks(
    make_task: Make, monkeypatch: pytest.MonkeyPatch, weights: int
) -> None:
    monkeypatch.setattr(layer_task, "BLOCK_WEIGHTS", 600)
    task = make_task(groups=4)
    chunks = list(task.chunks(weights))

    assert [block for chunk in chunks for block in chunk] == list(task.blocks())
    for chunk in chunks:
        held = (chunk[-1].rows.stop - chunk[0].rows.start) * task.step.source.row_size
        assert held <= weights or len(chunk) == 1


def test_rows_of_data_are_those_with_a_channel(make_task: Make) -> None:
    task = make_task(groups=2)

    assert task.data_rows(range(1, 2), slice(12, 18)).tolist() == [12, 13, 14, 15, 16]
    assert task.data_rows(range(2), slice(6, 11)).tolist() == [6, 7, 9, 10]
    assert task.data_rows(range(1), slice(12, 18)).tolist() == []


def test_a_part_of_a_choice_starts_without_tallies() -> None:
    numbers = np.arange(4.0)
    choice = RowChoice(np.zeros((4, 2), np.float32), numbers, 2 * numbers, 3 * numbers, ["t"])
    part = choice.part(slice(1, 3))

    assert (part.lam.tolist(), part.scale.tolist(), part.offset.tolist()) == (
        [1, 2],
        [2, 4],
        [3, 6],
    )
    assert part.weight.shape == (2, 2)
    assert part.tallies == ()
