"""What rows share is found for the groups in hand alone, and covers every problem once."""

from collections.abc import Callable

import numpy as np
import pytest

from lt_onnx.construct import shared_problems
from lt_onnx.construct.layer_task import Block, LayerTask
from lt_onnx.construct.shared_problems import SharedProblems
from lt_onnx.options import Options, Select

Make = Callable[..., LayerTask]


def block(first: int, last: int) -> Block:
    return Block(slice(9 * first, 9 * last), range(first, last))


def test_groups_are_held_while_their_blocks_are(make_task: Make) -> None:
    shared = SharedProblems(make_task(groups=4))
    shared.prepare([block(0, 2), block(2, 3)])
    kept = shared.groups[range(2, 3)]
    shared.prepare([block(2, 3), block(3, 4)])

    assert list(shared.groups) == [range(2, 3), range(3, 4)]
    assert shared.groups[range(2, 3)] is kept


@pytest.mark.parametrize("most", [6, 13, 1152])  # problems with one H; a feature has 6
def test_parts_cover_the_problems_of_a_group(
    make_task: Make, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(shared_problems, "MAX_PROBLEMS", most)
    task = make_task(groups=2)
    shared = SharedProblems(task)
    shared.prepare([block(0, 2)])

    parts = shared.groups[range(2)].parts
    place, gain = task.features.problems(range(2), slice(None))
    covered = np.concatenate([np.arange(18)[part] for part, _ in parts])
    assert covered.tolist() == list(range(18))
    assert len(parts) == -(-3 // max(1, most // 6))
    for part, rows in parts:
        np.testing.assert_array_equal(rows.index, place[:, part])
        np.testing.assert_array_equal(rows.gain, gain[:, part])
        assert rows.upper is not None
        n = rows.index.shape[1]
        assert n <= max(most, 6)
        assert rows.upper.shape == (2, n, n)


def test_one_price_for_a_group_the_mean_power_of_what_weights_carry(make_task: Make) -> None:
    task = make_task(groups=2)
    shared = SharedProblems(task)
    shared.prepare([block(0, 2)])

    (_, rows), *_ = shared.groups[range(2)].parts
    for g, price in enumerate(shared.groups[range(2)].price):
        assert set(rows.price[g].tolist()) == {price}
        data = task.step.in_layout.channel // 3 == g
        power = np.concatenate(task.x)[:, data & (task.step.in_layout.channel >= 0)].var()
        assert price == pytest.approx(power, rel=0.25)  # pads
    dearer = shared.groups[range(2)].at(0.5)
    assert dearer.price.tolist() == (shared.groups[range(2)].price / 2).tolist()
    assert dearer.parts[0][1].price.tolist() == (rows.price / 2).tolist()


def test_moments_that_rounding_leaves_negative_are_drawn_from(
    make_task: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Features that are all alike, of a network that makes a constant."""
    monkeypatch.setattr(shared_problems, "MIN_FRESH_POSITIONS", 10**9)
    alike = np.ones((2, 18, 18)) - 1e-3 * np.eye(18)
    monkeypatch.setattr(shared_problems.moments, "covariance", lambda *_, **__: alike)
    shared = SharedProblems(make_task(groups=2))
    shared.prepare([block(0, 2)])

    drawn = shared.groups[range(2)].fresh
    assert np.corrcoef(drawn[0].T).min() > 0.9


@pytest.mark.parametrize("select", [Select.SMALLEST, Select.BEST])
def test_rules_without_calibration_share_base_sets_alone(make_task: Make, select: Select) -> None:
    shared = SharedProblems(make_task(Options(select=select)))
    shared.prepare([block(0, 1)])
    ((part, rows),) = shared.groups[range(1)].parts

    assert part == slice(0, 18)
    assert rows.upper is None
    assert shared.groups[range(1)].price == 0
