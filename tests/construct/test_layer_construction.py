"""One layer: its sums are those of its weights, constants included, and it can be repeated."""

from collections.abc import Callable, Generator
from typing import Any

import numpy as np
import pytest

from lt_onnx.construct import layer_task
from lt_onnx.construct.layer_construction import LayerSums, construct_rows, repeat_rows
from lt_onnx.construct.layer_task import LayerTask
from lt_onnx.construct.results import BuiltLayer, MaskedRows, SavedLayer
from lt_onnx.options import Options, Select
from lt_onnx.progress import Stopwatch
from lt_onnx.runtime import Program

Make = Callable[..., LayerTask]
OPSETS = {"": 17}


def gathered(pieces: Generator[MaskedRows, None, Any]) -> tuple[list[MaskedRows], BuiltLayer]:
    rows = []
    while True:
        try:
            rows.append(next(pieces))
        except StopIteration as end:
            return rows, end.value


@pytest.fixture(params=[1 << 10, 1 << 12, 1 << 23], ids=["rows", "groups", "whole"])
def small_blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_task, "BLOCK_WEIGHTS", request.param)


@pytest.mark.parametrize("select", [Select.NOISE, Select.SMALLEST, Select.EXACT])
@pytest.mark.usefixtures("small_blocks")
def test_sums_are_what_the_masked_layer_makes_of_the_inputs(
    make_task: Make, select: Select
) -> None:
    task = make_task(Options(select=select), groups=3)
    sums = LayerSums(task, OPSETS)
    pieces, layer = gathered(construct_rows(task, sums, watch=Stopwatch()))
    weight = np.concatenate([piece.weight for piece in pieces]).reshape(task.step.source.shape)
    feeds = [{"t": x, "w": weight} for x in task.x]
    program = Program(task.step.nodes[:1], feeds[0], constants={}, outputs=["s"], opsets=OPSETS)

    for made, feed in zip(sums.sums, feeds, strict=True):
        np.testing.assert_allclose(made, program(feed)[0], rtol=1e-4, atol=1e-4)
    assert layer.stats.kept == np.count_nonzero(weight)
    assert layer.tensors["scale"].shape == (27, 1, 1)
    data = task.channel >= 0
    outputs = [s[:, data] * layer.tensors["scale"][data] for s in sums.sums]
    wanted = [y[:, task.channel[data]] for y in task.y]
    noise = np.mean(np.square(np.concatenate(outputs) - np.concatenate(wanted)))
    assert noise < 0.2 * np.concatenate(wanted).var()


@pytest.mark.usefixtures("small_blocks")
def test_a_saved_layer_is_repeated(make_task: Make) -> None:
    task = make_task(groups=3)
    first, again = LayerSums(task, OPSETS), LayerSums(task, OPSETS)
    pieces, layer = gathered(construct_rows(task, first, watch=Stopwatch()))
    masks = {p.start: (p.weight.shape, np.packbits(p.weight != 0).tobytes()) for p in pieces}
    assert layer.scale is not None
    assert layer.offset is not None
    saved = SavedLayer(masks, layer.scale, layer.offset, layer.stats)
    repeated, same = gathered(repeat_rows(task, again, saved=saved, watch=Stopwatch()))

    assert [p.start for p in repeated] == [p.start for p in pieces]
    for one, other in zip(pieces, repeated, strict=True):
        np.testing.assert_array_equal(one.weight, other.weight)
    np.testing.assert_array_equal(first.sums[1], again.sums[1])
    np.testing.assert_array_equal(layer.tensors["scale"], same.tensors["scale"])
    assert same.stats == layer.stats
