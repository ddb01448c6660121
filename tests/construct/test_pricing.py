"""The price of a layer is the one by which its error is what it may be."""

from collections.abc import Callable

import numpy as np
import pytest

from lt_onnx.construct.biases import Biases
from lt_onnx.construct.layer_task import LayerTask
from lt_onnx.construct.masks import first_lambdas
from lt_onnx.construct.noise_budget import Share
from lt_onnx.construct.pricing import MIN_PRICE, find_price
from lt_onnx.construct.shared_problems import SharedProblems

Make = Callable[..., LayerTask]


def price(task: LayerTask, allowed: float) -> tuple[float, float, float]:
    lam = first_lambdas(task, Biases.of(task).least_lambdas())
    share = Share(allowed, guess=1e-3)
    trial = find_price(task, SharedProblems(task), lam=lam, share=share)
    return trial.price, trial.error, trial.kept


@pytest.mark.parametrize("groups", [1, 3])
def test_an_error_that_can_be_had_is_had_with_as_few_weights(make_task: Make, groups: int) -> None:
    task = make_task(groups=groups)
    wanted = (0.3, 0.15, 0.08)
    found = [price(task, allowed) for allowed in wanted]

    for (_, error, _), allowed in zip(found, wanted, strict=True):
        assert allowed / 2 < error <= allowed * 1.1
    prices, _, kept = zip(*found, strict=True)
    assert list(prices) == sorted(prices, reverse=True)
    assert list(kept) == sorted(kept)


def test_below_what_base_sets_can_do_a_price_is_found_all_the_same(make_task: Make) -> None:
    found, error, _ = price(make_task(), 1e-9)

    assert found >= MIN_PRICE
    assert error > 1e-9


def test_a_price_is_the_same_each_time(make_task: Make) -> None:
    assert price(make_task(), 0.05) == price(make_task(), 0.05)


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
    assert np.isfinite(price(fresh, 0.05)[1])
