"""Where a ticket spends its weights: m of a block, μ of a layer, and who gets a weight."""

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from lt_onnx import convert
from lt_onnx.blueprint import Blueprint, Expand
from lt_onnx.options import Options
from lt_onnx.planning.allocation import MIN_NEURONS
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target


def _classifier(folder: Path) -> Path:
    """One convolution, and a classifier behind a Flatten that reads 64 places a channel."""
    b = graphs.Builder()
    hidden = b("Relu", b.conv("x", 3, 4, pads=[1, 1, 1, 1]))
    return graphs.save(b.model(b.gemm(b("Flatten", hidden), 4 * 64, 10)), folder)


def _last_block(blueprint: Blueprint) -> Expand:
    return [step for step in blueprint.steps if isinstance(step, Expand)][-1]


def test_a_block_before_a_flatten_has_the_neurons_that_the_layer_behind_it_pays_for(
    tmp_path: Path,
) -> None:
    target = read_target(_classifier(tmp_path))
    gemm = target.linears[-1].name

    chosen = _last_block(plan(target, Options(mode="2l")))
    given = _last_block(plan(target, Options(mode="2l", base_sizes=((gemm, 27),))))

    assert chosen.channels == given.channels == 4
    assert chosen.neurons > MIN_NEURONS
    assert given.neurons == 27


@pytest.mark.parametrize("mode", ["l+1", "2l"])
def test_weak_inputs_get_fewer_weights_than_strong_ones(tmp_path: Path, mode: str) -> None:
    """A channel that carries a hundredth of the others' power is worth less than a weight."""
    b = graphs.Builder()
    target = graphs.save(b.model(b.conv(b("Relu", b.conv("x", 3, 16)), 16, 16, bias=0)), tmp_path)
    x = np.random.default_rng(0).standard_normal((32, 3, 8, 8)).astype(np.float32)
    x[:, 2] /= 10
    np.savez(tmp_path / "x.npz", x=x)

    convert(
        target,
        tmp_path / "t.onnx",
        mode=mode,
        price=5e-3,
        samples=tmp_path / "x.npz",
        calibration=tmp_path / "x.npz",
    )

    kept = _kept_by_channel(tmp_path / "t.onnx", 3)
    assert kept[2] < 0.6 * min(kept[:2])


def _kept_by_channel(ticket: Path, channels: int) -> list[int]:
    """Weights of the first constructed layer, by the channel that its block's neurons hear."""
    model = onnx.load(ticket)
    values = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    convolutions = [node for node in model.graph.node if node.op_type == "Conv"]
    first, second = (values[node.input[1]] for node in convolutions[:2])
    order = next(values[n.input[1]] for n in model.graph.node if n.op_type == "Gather")
    weight = np.abs(first.reshape(len(first), -1))
    heard = np.where(weight.any(1), weight.argmax(1), -1)
    by_place = np.count_nonzero(second, axis=(0, 2, 3))
    return [int(by_place[heard[order] == c].sum()) for c in range(channels)]
