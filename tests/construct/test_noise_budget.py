"""Every layer takes a share of the allowed error; what was taken is measured on the target."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import graphs
import numpy as np
import pytest

from lt_onnx.construct.fed_target import MAX_LOSS, MIN_FRESH, TELLING, FedTarget, Layer, loss
from lt_onnx.construct.noise_budget import (
    COPIED_DECAY,
    FIRST_WEIGHT,
    LEAST_REST,
    MAX_ERROR,
    MOST_GROWTH,
    MOST_OVER_MEAN,
    MOST_SLOWER,
    QUIET_DECAY,
    NoiseBudget,
    Promise,
)
from lt_onnx.construct.results import LayerStats
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.target import Target

ALLOWED = 1e-3


def network(folder: Path) -> tuple[Target, FedTarget]:
    b = graphs.Builder()
    hidden = b("Relu", b.conv("x", 3, 4, pads=[1, 1, 1, 1]))
    model = b.model(b.gemm(b("Flatten", hidden), 4 * 64, 10))
    target = read_target(graphs.save(model, folder))
    feeds = random_samples(target.inputs, 16, 0).batches(target.inputs, 8)
    return target, FedTarget(target, feeds, [port.name for port in target.outputs])


def budget(target: Target, fed: FedTarget, **sensitivity: float) -> NoiseBudget:
    first, last = (layer.name for layer in target.linears)
    felt = {
        first: np.array([sensitivity.get("first", 2.0)]),
        last: np.array([sensitivity.get("last", 1.0)]),
    }
    apart = {first: {last: np.array([sensitivity.get("apart", 0.0)])}}
    promise = Promise(np.array([ALLOWED]), felt, fed, apart)
    return NoiseBudget(promise, {first: 100.0, last: 300.0})


def stats(**figures: float) -> LayerStats:
    return LayerStats("l", "one-for-one", "Conv", 1, 1, 1, 1, **figures)  # type: ignore[arg-type]


def price_of(own: NoiseBudget, name: str) -> float:
    """What one weight less may cost a layer, as its κ is expected."""
    share = own.share(name)
    return share.marginal(share.decay)


def test_a_weight_costs_the_outputs_as_much_in_every_layer(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    names = [layer.name for layer in target.linears]
    own = budget(target, fed)
    felt = [own.promise.sensitivity[name][0] for name in names]

    cost = [price_of(own, name) * s for name, s in zip(names, felt, strict=True)]
    assert cost == pytest.approx([ALLOWED / QUIET_DECAY / 400] * 2)
    # with as much error for each problem, all comes to what is allowed
    spent = [own.share(name).allowed * s for name, s in zip(names, felt, strict=True)]
    assert spent == pytest.approx([ALLOWED / 4, ALLOWED * 3 / 4])


def test_a_layer_whose_errors_fall_faster_pays_less(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    _, last = (layer.name for layer in target.linears)
    share = budget(target, fed).share(last)

    left = ALLOWED / (QUIET_DECAY * 100 + QUIET_DECAY / 2 * 300)
    assert share.marginal(QUIET_DECAY / 2) == pytest.approx(left)
    assert share.marginal(QUIET_DECAY / 1e9) == pytest.approx(ALLOWED / QUIET_DECAY / 100)
    # what falls slower is not paid for by this layer alone
    assert share.marginal(2 * QUIET_DECAY) == share.marginal(QUIET_DECAY)


def test_how_fast_errors_fall_is_learned_from_the_layers_built(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    first, last = target.linears
    own = budget(target, fed)
    decay = 1.5 * QUIET_DECAY
    found = stats(price=1e-3, error=decay * 1e-4 + 1e-5, inherited=1e-5, marginal=1e-6)
    own.spend(first.name, Layer(first.weight, first.bias), found)

    known = FIRST_WEIGHT * 400
    slower = (known + 1.5 * 100) / (known + 100)
    left = ALLOWED - 2e-5  # what it inherited comes to twice as much at the output
    assert own.share(last.name).decay == pytest.approx(slower * QUIET_DECAY)
    assert own.share(last.name).left == pytest.approx([left])

    stuck = budget(target, fed)  # an error that no weight takes away says nothing of others
    found = stats(price=1e-3, error=100 * QUIET_DECAY * 1e-4, marginal=1e-6)
    stuck.spend(first.name, Layer(first.weight, first.bias), found)
    slower = (known + MOST_SLOWER * 100) / (known + 100)
    assert stuck.share(last.name).decay == pytest.approx(slower * QUIET_DECAY)


def test_layers_that_read_copies_take_more_of_the_error(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    first, last = (layer.name for layer in target.linears)
    own = replace(budget(target, fed), copied={last})
    taken = [own.share(first).allowed * 2, own.share(last).allowed]

    assert sum(taken) == pytest.approx(ALLOWED)
    assert taken[1] / taken[0] == pytest.approx(3 * COPIED_DECAY / QUIET_DECAY)


def test_a_small_layer_at_the_end_does_not_take_all_that_is_left(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    first, last = target.linears
    own = budget(target, fed)
    own.problems = {first.name: 1000.0, last.name: 1.0}
    before = 1e-6
    found = stats(price=1e-3, error=1e-5, marginal=before)
    own.spend(first.name, Layer(first.weight, first.bias), found)
    assert price_of(own, last.name) == pytest.approx(MOST_OVER_MEAN * 2 * before)

    own = replace(own, built={}, costs={}, decays={})
    found = stats(price=1e-3, error=MAX_ERROR, marginal=before)  # as wrong as it may be
    own.spend(first.name, Layer(first.weight, first.bias), found)
    assert price_of(own, last.name) > 10 * before


def test_what_a_layer_leaves_goes_to_the_next_and_what_it_takes_is_made_up_for(
    tmp_path: Path,
) -> None:
    target, fed = network(tmp_path)
    first, last = target.linears
    own = budget(target, fed)
    own.spend(first.name, Layer(first.weight, first.bias), stats())
    assert own.share(last.name).allowed == pytest.approx(ALLOWED)

    taken = budget(target, fed)
    rng = np.random.default_rng(0)
    noise = (0.01 * rng.normal(size=first.weight.shape)).astype(np.float32)
    wrong = Layer(first.weight + noise * np.abs(first.weight).max(), first.bias)
    spent = float(fed.errors_elsewhere({first.name: wrong})[0])
    taken.spend(first.name, wrong, stats(error=spent / 2))
    assert 0 < spent < ALLOWED
    assert taken.share(last.name).allowed == pytest.approx(ALLOWED - spent)

    broken = budget(target, fed)
    broken.spend(first.name, Layer(-first.weight, first.bias), stats())
    assert broken.share(last.name).allowed == pytest.approx(
        ALLOWED * LEAST_REST * 300 / 400 / MOST_GROWTH
    )


def test_layers_that_come_to_more_than_each_alone_leave_less_to_others(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    first, last = target.linears
    rng = np.random.default_rng(0)
    noise = (0.01 * rng.normal(size=first.weight.shape)).astype(np.float32)
    wrong = Layer(first.weight + noise * np.abs(first.weight).max(), first.bias)
    spent = float(fed.errors_elsewhere({first.name: wrong})[0])
    as_foreseen, more, less = (budget(target, fed) for _ in range(3))
    as_foreseen.spend(first.name, wrong, stats(error=spent / 2))
    more.spend(first.name, wrong, stats(error=spent / 2 / 3))
    less.spend(first.name, wrong, stats(error=spent))

    some = FIRST_WEIGHT * ALLOWED
    growth = (spent + some) / (spent / 3 + some)
    usual = as_foreseen.share(last.name).allowed
    assert more.share(last.name).allowed == pytest.approx(usual / growth)
    assert less.share(last.name).allowed == pytest.approx(usual)  # that need not go on


def test_errors_that_come_of_deviation_count_too_and_those_to_come_until_they_have(
    tmp_path: Path,
) -> None:
    target, fed = network(tmp_path)
    first, last = target.linears
    own = budget(target, fed, apart=3.0)
    own.promise = replace(own.promise, sensitivity={**own.promise.sensitivity, "more": np.ones(1)})
    own.problems = {**own.problems, "more": 300.0}
    found = stats(inherited=ALLOWED / 8, apart=ALLOWED / 16)
    own.spend(first.name, Layer(first.weight, first.bias), found)

    assert own.share(first.name).apart == pytest.approx(3.0 / 2.0)
    assert own.share(last.name).apart == 0
    left = ALLOWED * (1 - 2 / 8 - 3 / 16) / 2
    assert own.share("more").allowed == pytest.approx(left)
    own.spend(last.name, Layer(last.weight, last.bias), stats(inherited=ALLOWED / 4))
    # what the first layer's copies have apart has been read, and is among what the last inherited
    assert own.share("more").allowed == pytest.approx(ALLOWED * (1 - 2 / 8 - 1 / 4))


def test_a_layer_that_nothing_reads_hands_nothing_on(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    first, last = target.linears
    own = budget(target, fed)
    own.promise = replace(own.promise, apart={last.name: {}})
    own.spend(last.name, Layer(last.weight, last.bias), stats(apart=ALLOWED))

    assert own.share(first.name).left == pytest.approx([ALLOWED / 2])


def test_no_layer_is_expected_to_be_wrong_beyond_measure(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    first, _ = target.linears

    assert budget(target, fed, first=0.0).share(first.name).allowed == pytest.approx(MAX_ERROR)
    assert budget(target, fed, first=1e-9).share(first.name).allowed == pytest.approx(MAX_ERROR)


def test_what_layers_behind_restore_is_no_error(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    _, last = target.linears
    louder = {last.name: Layer(last.weight * np.float32(1.1), last.bias + np.float32(0.2))}
    (value,), (clean,) = fed.values(louder), fed.clean()
    power = np.square(clean - clean.mean(0)).sum()
    assert np.square(value - clean).sum() / power > 0.01
    assert fed.errors(louder) == pytest.approx([0], abs=1e-9)

    rng = np.random.default_rng(0)
    noise = rng.normal(size=last.weight.shape).astype(np.float32)
    wrong = {last.name: Layer(last.weight + np.float32(0.01) * noise, last.bias)}
    (value,), (left,) = fed.values(wrong), fed.errors(wrong)
    here = np.square(value - clean).sum() / power
    # a gain and a mean of two numbers take away as much of chance as is given back
    assert here / 2 < left < here * 1.3


def test_a_fed_target_is_the_target_and_its_errors_are_of_variation(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    _, last = target.linears

    assert fed.errors({}) == pytest.approx([0])
    (clean,) = fed.clean()
    power = np.square(clean - clean.mean(0)).sum()
    silent = Layer(last.weight * 0, last.bias)
    assert fed.errors({last.name: silent}) == pytest.approx([1], rel=0.2)
    noise = np.random.default_rng(0).normal(size=last.weight.shape).astype(np.float32)
    wrong = Layer(last.weight + np.float32(0.01) * noise, last.bias + np.float32(0.5))
    (scaled,) = fed.scaled_errors({last.name: wrong})
    assert scaled is not None
    assert float(np.square(scaled).sum()) == pytest.approx(power)
    assert scaled.mean(0) == pytest.approx(0, abs=1e-6)
    fitted = Layer(last.weight * np.float32(2), last.bias + np.float32(0.5))  # by layers behind
    assert fed.scaled_errors({last.name: fitted}) == [None]


@pytest.mark.parametrize("op", ["Conv", "Gemm", "MatMul"])
@pytest.mark.parametrize("opset", [7, 17])
def test_a_layer_may_treat_positive_and_negative_inputs_each_in_its_own_way(
    op: str, opset: int, tmp_path: Path
) -> None:
    b = graphs.Builder(opset=opset)
    if op == "Conv":
        model = b.model(b.conv("x", 3, 4, 1))
    elif op == "Gemm":
        model = b.model(b.gemm("x", 3, 4), shape=("N", 3))
    else:
        model = b.model(b("MatMul", "x", b.constant(b.weight(3, 4))), shape=("N", 5, 3))
    target = read_target(graphs.save(model, tmp_path))
    (layer,) = target.linears
    feeds = random_samples(target.inputs, 8, 0).batches(target.inputs, 8)
    fed = FedTarget(target, feeds, [target.outputs[0].name], bent=[layer.name])
    rng = np.random.default_rng(0)
    more, less = (rng.normal(size=layer.weight.shape).astype(np.float32) for _ in range(2))

    (y,) = fed.values({layer.name: Layer((more + less) / 2, layer.bias, (more - less) / 2)})
    x = feeds[0]["x"] if op == "MatMul" else np.moveaxis(feeds[0]["x"], 1, -1)
    expected = np.maximum(x, 0) @ more.reshape(4, 3).T + np.minimum(x, 0) @ less.reshape(4, 3).T
    expected = expected + layer.bias
    expected = expected if op == "MatMul" else np.moveaxis(expected, -1, 1)
    assert layer.op == op
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(("fresh", "louder"), [(MIN_FRESH - 4, 5), (MIN_FRESH + 4, 2.5)])
def test_what_few_fresh_inputs_lose_is_taken_to_be_lost_from_all(
    fresh: int, louder: float, tmp_path: Path
) -> None:
    target, _ = network(tmp_path)
    first, _ = target.linears
    (feed,) = random_samples(target.inputs, 40, 0).batches(target.inputs, 40)
    feed["x"][:fresh] *= np.float32(louder)
    fed = FedTarget(target, [feed], [target.outputs[0].name], fresh=fresh)
    wrong = {first.name: Layer(first.weight * np.float32(1.01), first.bias)}
    (value,), (clean,) = fed.values(wrong), fed.clean()
    assert (loss(1, 2), loss(100, 1)) == (1, MAX_LOSS)
    off, sure = value - value.mean(0), clean - clean.mean(0)
    gain = (off * sure).sum(0) / np.square(off).sum(0)
    left = np.square(sure - gain * off).sum(1) * 40 / 38
    lost = left[:fresh].mean() / left[fresh:].mean()
    assert 1.2 < lost < MAX_LOSS
    powers = [np.square(part - part.mean(0)).sum() for part in (clean[:fresh], clean)]
    shares = left[:fresh].sum() / powers[0], left.sum() / powers[1]
    assert shares[0] != pytest.approx(shares[1], rel=0.01)
    few = fresh < MIN_FRESH
    error = shares[1] if few else max(shares)
    assert fed.errors(wrong) == pytest.approx([error])
    assert fed.errors_elsewhere(wrong) == pytest.approx([error * (lost if few else 1)])
    drawn = FedTarget(target, [feed], [target.outputs[0].name], fresh=fresh, drawn=True)
    assert drawn.errors_elsewhere(wrong) == pytest.approx([error * lost])


def test_inputs_may_lie_on_another_axis_of_an_output(tmp_path: Path) -> None:
    b = graphs.Builder()
    last = b("Transpose", b.reshape(b.conv("x", 3, 4, 1), [-1, 4, 64]), perm=[2, 0, 1])
    target = read_target(graphs.save(b.model(last), tmp_path))
    inputs = random_samples(target.inputs, 5, 0)
    whole, parts = (
        FedTarget(target, inputs.batches(target.inputs, size), [target.outputs[0].name])
        for size in (5, 3)
    )

    np.testing.assert_allclose(parts.clean()[0], whole.clean()[0], rtol=1e-5, atol=1e-6)


def test_a_mean_error_is_not_the_chance_of_a_few_numbers(tmp_path: Path) -> None:
    """Of an output that few inputs move, draws are taken until their mean tells; of others one."""
    target, _ = network(tmp_path)
    first, _ = target.linears
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(8, *first.weight.shape)).astype(np.float32)
    draws = [{first.name: Layer(first.weight + np.float32(1e-3) * n, first.bias)} for n in noise]
    (feed,) = random_samples(target.inputs, 40, 0).batches(target.inputs, 40)

    def told(x: np.ndarray, telling: float = TELLING) -> tuple[int, float, list[float]]:
        fed, taken = FedTarget(target, [{"x": x}], [target.outputs[0].name]), 0

        def counted() -> Iterator[dict[str, Layer]]:
            nonlocal taken
            for draw in draws:
                taken += 1
                yield draw

        (found,) = fed.mean_errors(counted(), telling=telling)
        return taken, float(found), [float(fed.errors(draw)[0]) for draw in draws]

    usual, error, each = told(feed["x"])
    assert usual == 1
    assert error == pytest.approx(each[0])
    one = np.zeros_like(feed["x"])
    one[0] = feed["x"][0]
    most, error, each = told(one)
    assert most > told(one, TELLING / 4)[0] >= 1
    assert error == pytest.approx(np.mean(each[:most]))
