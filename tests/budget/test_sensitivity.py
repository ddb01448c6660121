"""What an error in a layer does to the outputs, against networks where it is known."""

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest

from lt_onnx.budget.sensitivity import COPIES, sensitivity
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.choose import Calibration
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.samples.samples import Samples
from lt_onnx.target import Doubles


def felt(model: onnx.ModelProto, folder: Path) -> list[Doubles]:
    """S of every layer, in order, on noise about zero: as it varies, so it varies at each place."""
    target = read_target(graphs.save(model, folder))
    shares = {layer.name: 1e-3 for layer in target.linears}
    drawn = random_samples(target.inputs, 150, 0)
    noise = np.flatnonzero(np.arange(150) % 3 < 2)  # the others are pictures
    values = {name: value[noise] for name, value in drawn.arrays.items()}
    inputs = Calibration(Samples(values, None, "noise"))
    found = sensitivity(target, inputs, shares, copied={}, bent=(), work=1, seed=0)
    assert found.floors == {}
    return [found.layers[layer.name] for layer in target.linears]


def test_the_last_layers_error_is_the_outputs(tmp_path: Path) -> None:
    b = graphs.Builder()
    hidden = b("Relu", b.conv("x", 3, 8, pads=[1, 1, 1, 1]))
    _, last = felt(b.model(b.conv(hidden, 8, 4)), tmp_path)

    assert last == pytest.approx([1], rel=0.15)


def test_an_output_does_not_feel_what_it_does_not_read(tmp_path: Path) -> None:
    b = graphs.Builder()
    hidden = b("Relu", b.conv("x", 3, 8))
    stem, first, second = felt(b.model([b.conv(hidden, 8, 4), b.conv(hidden, 8, 4)]), tmp_path)

    assert first == pytest.approx([1, 0], abs=0.15)
    assert second == pytest.approx([0, 1], abs=0.15)
    assert (stem > 0.05).all()


def test_a_constant_that_is_added_is_no_signal(tmp_path: Path) -> None:
    """A hundred added to every output changes nothing of what an error is worth."""
    found = []
    for added in (0.0, 100.0):
        b = graphs.Builder()
        hidden = b("Relu", b.conv("x", 3, 8))
        offset = b.constant(np.full((1, 4, 1, 1), added))
        folder = tmp_path / str(added)
        folder.mkdir()
        found.append(felt(b.model(b("Add", b.conv(hidden, 8, 4), offset)), folder)[0])

    assert found[0] == pytest.approx(found[1], rel=0.05)


def test_batches_that_a_model_fixes_stay_whole(tmp_path: Path) -> None:
    """However few inputs errors could be felt on."""
    b = graphs.Builder()
    target = read_target(graphs.save(b.model(b.conv("x", 3, 4), (40, 3, 6, 6)), tmp_path))
    shares = {layer.name: 1e-3 for layer in target.linears}
    for count in (40, 200):
        inputs = Calibration(random_samples(target.inputs, count, 0))
        found = sensitivity(target, inputs, shares, copied={}, bent=(), work=10**12, seed=0)
        assert [felt.shape for felt in found.layers.values()] == [(1,)]


def test_more_copies_make_a_layer_less_wrong(tmp_path: Path) -> None:
    b = graphs.Builder()
    hidden = b("Relu", b.conv("x", 3, 8))
    target = read_target(graphs.save(b.model(b.conv(hidden, 8, 4)), tmp_path))
    shares = {layer.name: 1e-3 for layer in target.linears}
    last = target.linears[-1].name
    inputs = Calibration(random_samples(target.inputs, 60, 0))
    found = sensitivity(target, inputs, shares, copied={last: True}, bent=(), work=1, seed=0)

    floors = found.floors[last]
    assert list(found.floors) == [last]
    assert len(floors) == len(COPIES)
    assert floors[0] > max(10 * floors[-1], 1e-6)
