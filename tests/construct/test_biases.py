"""Biases are subset sums over constants, and constants are handed on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from lt_onnx.construct.biases import REACH, Biases
from lt_onnx.construct.constants import SIZES
from lt_onnx.construct.layer_task import LayerTask, RowChoice
from lt_onnx.construct.shared_problems import SharedProblems
from lt_onnx.errors import LostConstantsError
from lt_onnx.options import Options, Select
from lt_onnx.source.layer import draw_rows
from lt_onnx.target import Floats

Make = Callable[..., LayerTask]
VALUES = [1, 2, 0.5, 4, -1, 1.5, 3, 1.25, -2, 0.75, 5, 1.75]  # of the constants


def without_biases(task: LayerTask, biases: Biases) -> RowChoice:
    """Rows that listen to nothing yet, with the λ that their biases ask for."""
    lam = np.maximum(biases.least_lambdas()[:, 0], 0.5)
    scale = np.where(task.channel >= 0, lam / task.features.unit, 0)
    weight = np.zeros((len(lam), task.step.source.row_size), np.float32)
    weight.setflags(write=False)
    return RowChoice(weight, lam, scale, np.zeros(len(lam)), ())


def reached(task: LayerTask) -> Floats:
    """Mean of every row's sums over the calibration inputs, before its bias."""
    return np.linspace(-0.5, 0.5, len(task.channel), dtype=np.float32)


def with_biases(task: LayerTask, biases: Biases | None = None) -> RowChoice:
    biases, shared = biases or Biases.of(task), SharedProblems(task)
    (block,) = task.blocks()
    shared.prepare([block])
    shapes = [(len(y), len(task.channel), *y.shape[2:]) for y in task.y]
    raw = [np.broadcast_to(reached(task)[:, None, None], shape) for shape in shapes]
    return biases.added(without_biases(task, biases), block, raw=raw, shared=shared)


def drawn(task: LayerTask) -> Floats:
    rows = draw_rows(task.options.seed, task.step.source, start=0, stop=len(task.channel))
    return rows.reshape(len(rows), -1)


def test_a_reserve_is_what_stands_at_taps_that_see_no_padding(make_task: Make) -> None:
    """Pads are 1 above and below, 0 and 1 left and right: of the 3 × 2 taps the second alone."""
    biases = Biases.of(make_task(groups=2))

    assert biases.reserve.count.tolist() == [12, 12]
    assert biases.reserve.column.tolist() == [[(15 + c) * 6 + 2 for c in range(12)]] * 2
    assert biases.reserve.value.tolist() == [VALUES] * 2
    assert biases.reserve.level.tolist() == biases.reserve.value.tolist()


def test_lambda_lets_a_row_reach_its_bias_by_a_share_of_its_constants(make_task: Make) -> None:
    task = make_task(groups=2)
    biases = Biases.of(task)
    unit = drawn(task)

    for row, least in enumerate(biases.least_lambdas()):
        if task.channel[row] < 0:
            assert least.tolist() == [0, 0]
            continue
        bias, reserve, g = task.linear.bias[task.channel[row]], biases.reserve, row // 9
        for own, sign in zip(least, (1, -1), strict=True):
            pull = unit[row, reserve.column[g]] * reserve.level[g] * np.sign(bias) * sign
            assert own * REACH * pull.clip(0).sum() == pytest.approx(abs(bias), rel=1e-6)


def test_a_bias_that_no_constant_pulls_at_asks_for_no_lambda(make_task: Make) -> None:
    task = make_task()
    biases = Biases.of(task)
    few = replace(
        biases.reserve,
        count=np.ones_like(biases.reserve.count),
        **{key: getattr(biases.reserve, key)[:, :1] for key in ("column", "value", "level")},
    )
    least = replace(biases, reserve=few).least_lambdas()

    data = (task.channel >= 0) & (task.linear.bias[task.channel] != 0)
    assert np.isfinite(least).all()
    assert ((least[data] > 0).sum(1) == 1).all()  # with the one sign or with the other


@pytest.mark.parametrize("select", [Select.NOISE, Select.SMALLEST, Select.BEST])
def test_biases_are_drawn_weights_that_come_to_what_is_missing(
    make_task: Make, select: Select
) -> None:
    task = make_task(Options(select=select, tolerance=0.05), groups=2)
    rows = with_biases(task)
    data = task.channel >= 0
    goal = task.linear.bias.astype(np.float64)
    if select is Select.NOISE:
        goal = np.concatenate(task.y).mean((0, 2, 3), dtype=np.float64)

    kept = rows.weight != 0
    np.testing.assert_array_equal(rows.weight[kept], drawn(task)[kept])
    before = reached(task) if select is Select.NOISE else 0
    error = ((rows.offset + before) * rows.scale)[data] - goal[task.channel[data]]
    assert np.abs(error / rows.lam[data]).max() < 0.05
    columns = np.arange(15, 27) * 6 + 2
    np.testing.assert_allclose(rows.offset, rows.weight[:, columns] @ VALUES, rtol=1e-6)
    assert sum(tally.problems for tally in rows.tallies) == 16


def test_exact_biases_are_the_targets(make_task: Make) -> None:
    task = make_task(Options(select=Select.EXACT), groups=2)
    rows = with_biases(task)
    data = task.channel >= 0

    expected = task.linear.bias[task.channel[data]]
    np.testing.assert_allclose((rows.offset * rows.scale)[data], expected, rtol=1e-5)


def test_constant_rows_hand_one_constant_on_in_sizes_in_turn_over_groups(make_task: Make) -> None:
    task = make_task(groups=2)
    rows = with_biases(task)

    for row, wanted in zip((8, 17), SIZES, strict=False):
        assert (rows.weight[row] != 0).sum() == 1
        size = rows.offset[row] * rows.scale[row]
        assert abs(size) == pytest.approx(wanted, rel=0.5)  # φ is listed by powers of two


def test_where_nothing_asks_for_constants_rows_stay_as_they_are(make_task: Make) -> None:
    task = make_task(builds_constants=False)
    linear = replace(task.linear, bias=np.zeros_like(task.linear.bias))
    task = replace(task, step=replace(task.step, linear=linear))
    none = np.zeros(0, np.int64), np.zeros(0, np.float32)
    rows = with_biases(replace(task, constants=none))

    assert not rows.weight.any()
    assert not rows.offset.any()


@pytest.mark.parametrize("builds", [True, False])
def test_where_no_constant_is_left_they_are_lost(make_task: Make, builds: bool) -> None:
    task = make_task(builds_constants=builds)
    none = np.zeros(0, np.int64), np.zeros(0, np.float32)

    with pytest.raises(LostConstantsError, match="layer 'conv': no constant reaches it") as lost:
        with_biases(replace(task, constants=none))
    assert lost.value.tensor == "x"


def test_biases_are_as_near_as_outputs_vary_little(make_task: Make) -> None:
    task = make_task(groups=2)
    biases, data = Biases.of(task), task.channel >= 0

    def missing(biases: Biases) -> float:
        rows = with_biases(task, biases)
        found = (rows.offset + reached(task)) * rows.scale - biases.wanted[task.channel]
        return float(np.square(found[data]).sum())

    loose, near = (missing(biases.within(error)) for error in (0.3, 1e-4))
    quiet = replace(biases, task=replace(task, y=[v * np.float32(1e-2) for v in task.y]))
    assert near < loose / 10
    assert missing(quiet.within(0.3)) < loose / 10
