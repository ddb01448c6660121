"""Chosen rows: weights of the source that come to the target's, and scales that fit its outputs."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from lt_onnx.construct.layer_task import BLOCK_WEIGHTS, LayerTask, RowChoice
from lt_onnx.construct.masks import HEADROOM, MAX_RESCALING, choose, first_lambdas, rescaled
from lt_onnx.construct.row_solver import WIDER
from lt_onnx.construct.shared_problems import SharedProblems
from lt_onnx.options import Options, Select, Sigma
from lt_onnx.progress import Stopwatch
from lt_onnx.source.layer import draw_rows
from lt_onnx.target import Doubles

Make = Callable[..., LayerTask]


def chosen(task: LayerTask, lam: Doubles) -> RowChoice:
    blocks = list(task.blocks())
    shared = SharedProblems(task)
    shared.prepare(blocks)
    return choose(task, blocks, shared=shared, lam=lam, watch=Stopwatch())


def effective(task: LayerTask, rows: RowChoice) -> Doubles:
    """What the rows that hold a channel make of the features, [R', V, K]."""
    made = []
    for row in np.flatnonzero(task.channel >= 0):
        g = row // task.group_rows
        (place,), (gain,) = task.features.problems(range(g, g + 1), slice(None))
        weight = np.where(place >= 0, rows.weight[row][place] * gain, 0)
        made.append(weight.sum(1).reshape(-1, task.features.taps) * rows.lam[row])
    return np.array(made)


def wanted(task: LayerTask) -> Doubles:
    weight = task.linear.weight[task.channel[task.channel >= 0]]
    return weight.reshape(len(weight), 3, -1).astype(np.float64)


def no_floor(task: LayerTask) -> Doubles:
    return np.zeros((len(task.channel), 2))


def test_lambda_is_near_the_largest_weight_but_what_the_bias_needs(make_task: Make) -> None:
    task = make_task(groups=2)
    data = task.channel >= 0
    least = no_floor(task)
    least[3] = 9.0, 8.0
    lam = first_lambdas(task, least)

    largest = HEADROOM * np.abs(wanted(task)).max((1, 2))
    assert lam[3].tolist() == [9, -8]
    for sign, found in zip((1, -1), lam.T, strict=True):
        np.testing.assert_allclose(np.delete(found[data], 3), sign * np.delete(largest, 3))
        assert set(found[~data]) == {sign}


def test_one_sigma_per_layer_is_one_lambda(make_task: Make) -> None:
    task = make_task(Options(sigma=Sigma.LAYER, select=Select.BEST))

    assert set(first_lambdas(task, no_floor(task))[:, 0]) == {np.abs(wanted(task)).max()}


@pytest.mark.parametrize("select", [Select.NOISE, Select.SMALLEST, Select.BEST])
def test_kept_weights_are_the_sources_and_come_to_the_targets(
    make_task: Make, select: Select
) -> None:
    task = make_task(Options(select=select, tolerance=0.05), groups=2)
    lam = first_lambdas(task, no_floor(task))
    rows = chosen(task, lam)
    data = np.flatnonzero(task.channel >= 0)
    drawn = draw_rows(task.options.seed, task.step.source, start=0, stop=len(lam))

    kept = rows.weight != 0
    np.testing.assert_array_equal(rows.weight[kept], drawn.reshape(kept.shape)[kept])
    assert not kept[task.channel < 0].any()
    error = np.abs((effective(task, rows) - wanted(task)) / rows.lam[data, None, None])
    (tally,) = [sum(rows.tallies[1:], rows.tallies[0])]
    assert tally.problems == error.size
    assert tally.elements == kept.sum()
    if select is not Select.NOISE:  # whose targets move along the row
        assert tally.misses == (error > 0.05).sum()
        assert tally.error == pytest.approx(error.sum(), rel=1e-5)
    assert error.mean() < 0.15
    np.testing.assert_allclose(rows.scale[data], rows.lam[data] / task.features.unit)
    assert not rows.scale[task.channel < 0].any()
    assert not rows.offset.any()


def test_lambda_is_changed_by_the_listed_factors_alone_and_its_argument_stays(
    make_task: Make,
) -> None:
    task = make_task(groups=4)
    lam = first_lambdas(task, no_floor(task)) * [1, 1.5]
    before = lam.copy()
    rows = chosen(task, lam)

    np.testing.assert_array_equal(lam, before)
    factor = rows.lam / np.abs(np.where(rows.lam[:, None] > 0, lam, lam[:, ::-1])[:, 0])
    allowed = np.isclose(factor[:, None], [1, *WIDER])
    assert allowed.any(1).all()
    assert (factor > 1.1).any()


def test_a_row_whose_base_set_pulls_the_wrong_way_takes_a_negative_scale(
    make_task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of every feature's few copies some are all positive, and some weights are not."""
    task = make_task(groups=4)
    lam = first_lambdas(task, no_floor(task))
    rows, data = chosen(task, lam), task.channel >= 0
    flipped = np.flatnonzero(data & (rows.lam < 0))
    assert len(flipped)
    error = np.square(effective(task, rows) - wanted(task)).sum((1, 2))

    monkeypatch.setattr("lt_onnx.construct.row_solver.WIDER", ())
    plain = np.square(effective(task, chosen(task, lam)) - wanted(task)).sum((1, 2))
    own = np.cumsum(data)[flipped] - 1
    assert (error[own] < plain[own]).all()


def test_exact_rows_are_the_target(make_task: Make) -> None:
    task = make_task(Options(select=Select.EXACT), groups=2)
    rows = chosen(task, first_lambdas(task, no_floor(task)))

    np.testing.assert_allclose(effective(task, rows), wanted(task), rtol=1e-6)
    assert ((rows.weight != 0).sum(1)[task.channel >= 0] == 18).all()
    assert not rows.tallies


@pytest.mark.parametrize("select", [Select.NOISE, Select.SMALLEST, Select.EXACT])
def test_a_group_without_inputs_is_built_of_nothing(make_task: Make, select: Select) -> None:
    """A padded channel is zero everywhere and has no copies."""
    task = make_task(Options(select=select), groups=2)
    layout = task.step.in_layout
    second = layout.channel >= 3
    channel = np.where(second, -2, layout.channel).astype(np.int32)
    step = replace(task.step, in_layout=replace(layout, channel=channel))
    task = replace(task, step=step, features=task.features.of(step, {}))
    rows = chosen(task, first_lambdas(task, no_floor(task)))

    assert rows.weight[:8].any(1).all()
    assert not rows.weight[9:].any()
    assert (rows.lam[9:] == 1).all()


def fit(task: LayerTask, factors: Sequence[float]) -> RowChoice:
    """Rescaled rows that come to y over `factors`."""
    (block,) = task.blocks()
    data = task.channel >= 0
    raw = [np.zeros((len(y), len(data), *y.shape[2:]), np.float32) for y in task.y]
    scale = np.where(data, 2.0, 0.0)
    for made, y in zip(raw, task.y, strict=True):
        made[:, data] = y[:, task.channel[data]] / (2 * np.array(factors)[:, None, None])
    rows = RowChoice(np.zeros((len(data), 1), np.float32), scale + 1, scale, scale * 0, ())
    return rescaled(task, rows, block=block, raw=raw)


def test_rows_are_rescaled_to_the_targets_outputs_within_limits(make_task: Make) -> None:
    task = make_task()
    rows = fit(task, [1, 0.9, 1.2, 1.5, 0.7, 1, 7, 0.1])
    factors = np.array([1, 0.9, 1.2, 1.5, 0.7, 1, MAX_RESCALING, 1 / MAX_RESCALING, 1])

    np.testing.assert_allclose(rows.scale, factors * ([2] * 8 + [0]), rtol=1e-4)
    np.testing.assert_allclose(rows.lam, factors * ([3] * 8 + [1]), rtol=1e-4)


@pytest.mark.parametrize("options", [Options(sigma=Sigma.LAYER), Options(select=Select.BEST)])
def test_other_rules_do_not_rescale(make_task: Make, options: Options) -> None:
    rows = fit(make_task(options), [1.2] * 8)

    assert rows.scale.tolist() == [2] * 8 + [0]


def test_a_block_holds_a_small_layer_whole(make_task: Make) -> None:
    task = make_task(groups=4)

    assert task.step.source.size < BLOCK_WEIGHTS
    assert len(list(task.blocks())) == 1
