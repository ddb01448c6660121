"""The price of a layer is the one at which a weight less costs what it may."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lt_onnx.construct.biases import Biases
from lt_onnx.construct.layer_task import LayerTask
from lt_onnx.construct.masks import first_lambdas
from lt_onnx.construct.noise_budget import Share
from lt_onnx.construct.pricing import MIN_PRICE, Trial, find_price
from lt_onnx.construct.shared_problems import SharedProblems

Make = Callable[..., LayerTask]


class Fixed(Share):
    """What one weight less may cost, however errors fall."""

    def marginal(self, decay: float) -> float:
        return self.most


def price(task: LayerTask, marginal: float, *, apart: float = 0.0) -> Trial:
    lam = first_lambdas(task, Biases.of(task).least_lambdas())
    none = np.zeros(0)
    share = Fixed(none, none, 100.0, decay=0.2, most=marginal, apart=apart)
    return find_price(task, SharedProblems(task), lam=lam, share=share)


def scaled(task: LayerTask, factors: list[float]) -> LayerTask:
    """The task with other weights by output channel, and no biases."""
    linear, factor = task.linear, np.array(factors, np.float32)
    weight = linear.weight * factor[:, None, None, None]
    bias, column = np.zeros_like(linear.bias), factor[:, None, None]
    y = [(value - linear.bias[:, None, None]) * column for value in task.y]
    step = replace(task.step, linear=replace(linear, weight=weight, bias=bias))
    return replace(task, step=step, y=y)


@pytest.mark.parametrize("groups", [1, 3])
def test_a_weight_costs_what_it_may(make_task: Make, groups: int) -> None:
    task = make_task(groups=groups)
    wanted = [1e-5, 1e-4, 1e-3]
    found = [price(task, marginal) for marginal in wanted]

    for trial, marginal in zip(found, wanted, strict=True):
        assert trial.marginal == pytest.approx(marginal, rel=0.5)
    assert [t.error for t in found] == sorted(t.error for t in found)
    assert [t.kept for t in found] == sorted((t.kept for t in found), reverse=True)


@pytest.mark.parametrize("factor", [1e-3, 1.0, 1e3])
def test_a_price_is_found_in_few_trials_however_large_the_weights_are(
    make_task: Make, monkeypatch: pytest.MonkeyPatch, factor: float
) -> None:
    prices = []

    row_problems = LayerTask.row_problems

    def counted(task: LayerTask, *given: Any, **words: Any) -> Any:
        prices.append(task.price)
        return row_problems(task, *given, **words)

    monkeypatch.setattr(LayerTask, "row_problems", counted)
    found = price(scaled(make_task(), [factor] * 4), 1e-4)

    assert len(prices) <= 3
    assert prices[0] == pytest.approx(found.price, rel=1)


def test_what_a_weight_costs_is_what_the_error_grows_by_without_it(make_task: Make) -> None:
    """Between two prices errors grow by about the marginal error times the weights left out."""
    task = make_task()
    few, many = price(task, 4e-4), price(task, 1e-4)
    rows = np.count_nonzero(task.channel >= 0)
    problems = np.count_nonzero(task.linear.weight) / len(task.linear.bias) * rows
    left_out = (many.kept - few.kept) * problems

    assert left_out > 0
    grown = few.error - few.inherited - (many.error - many.inherited)
    between = (few.marginal * many.marginal) ** 0.5
    assert between / 3 < grown / left_out < between * 3


def test_channels_without_a_weight_say_nothing_of_the_others(make_task: Make) -> None:
    """Of a pruned layer half carries its power: a weight costs twice as much of that."""
    whole = price(scaled(make_task(), [0.01] * 4), 1e-4)
    pruned = price(scaled(make_task(), [0.01, 0, 0.01, 0]), 2e-4)
    assert pruned.price == pytest.approx(whole.price, rel=0.5)
    assert pruned.marginal == pytest.approx(2e-4, rel=0.5)


def test_copies_that_deviate_at_a_cost_are_made_better(make_task: Make) -> None:
    task = make_task()
    plain, costly = price(task, 1e-4), price(task, 1e-4, apart=2.0)

    assert costly.price < plain.price
    assert costly.apart < plain.apart


def test_below_what_base_sets_can_do_a_price_is_found_all_the_same(make_task: Make) -> None:
    found = price(make_task(), 1e-30)

    assert found.price >= MIN_PRICE
    assert found.error > 1e-9


def test_a_price_is_the_same_each_time(make_task: Make) -> None:
    assert price(make_task(), 1e-4) == price(make_task(), 1e-4)


def test_the_error_is_of_inputs_that_feedback_is_not_made_from(make_task: Make) -> None:
    """With the last batch kept fresh, H comes from the others alone."""
    task = make_task()
    fresh = make_task()
    object.__setattr__(fresh, "fresh", 1)
    shared, kept = SharedProblems(task), SharedProblems(fresh)

    seen, told = ([len(at) for at in positions] for positions in (kept._seen, kept._fresh))
    assert len(kept._samples) == sum(seen)
    assert (seen[-1], told[:-1]) == (0, [0] * len(told[:-1]))
    assert min(seen[0], told[-1]) > 0
    assert len(shared._samples) > len(kept._samples)
    assert np.isfinite(price(fresh, 1e-4).error)
