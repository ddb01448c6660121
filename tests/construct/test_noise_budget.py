"""Every layer takes a share of the allowed error; what was taken is measured on the target."""

from dataclasses import replace
from pathlib import Path

import graphs
import numpy as np
import pytest

from lt_onnx.construct.fed_target import MAX_LOSS, FedTarget, Layer, loss
from lt_onnx.construct.noise_budget import LEAST_REST, MAX_ERROR, NoiseBudget, Promise
from lt_onnx.construct.results import LayerStats
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.samples import random_samples
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
    apart = {first: np.array([sensitivity.get("apart", 0.0)])}
    promise = Promise(np.array([ALLOWED]), felt, fed, {first: [last], last: []}, apart)
    return NoiseBudget(promise, {first: 100.0, last: 300.0})


def stats(**figures: float) -> LayerStats:
    return LayerStats("l", "one-for-one", "Conv", 1, 1, 1, 1, **figures)  # type: ignore[arg-type]


def test_a_search_begins_at_the_price_of_the_layer_before(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    first, last = target.linears
    own = budget(target, fed)
    own.spend(first.name, Layer(first.weight, first.bias), stats(price=1e-3, error=ALLOWED))

    assert own.share(last.name).guess == pytest.approx(1e-3)


def test_shares_follow_problems_and_come_to_what_is_allowed(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    first, last = (layer.name for layer in target.linears)
    shares = [budget(target, fed).allowance(name) for name in (first, last)]

    assert shares == pytest.approx([ALLOWED / 4 / 2, ALLOWED * 3 / 4])


def test_what_a_layer_leaves_goes_to_the_next_and_what_it_takes_is_made_up_for(
    tmp_path: Path,
) -> None:
    target, fed = network(tmp_path)
    first, last = target.linears
    own = budget(target, fed)
    own.spend(first.name, Layer(first.weight, first.bias), stats())
    assert own.allowance(last.name) == pytest.approx(ALLOWED)

    taken = budget(target, fed)
    wrong = Layer(first.weight * np.float32(1.01), first.bias)
    taken.spend(first.name, wrong, stats())
    spent = float(fed.errors({first.name: wrong})[0])
    assert 0 < spent < ALLOWED
    assert taken.allowance(last.name) == pytest.approx(ALLOWED - spent)

    broken = budget(target, fed)
    broken.spend(first.name, Layer(first.weight * np.float32(0.5), first.bias), stats())
    assert broken.allowance(last.name) == pytest.approx(ALLOWED * LEAST_REST * 300 / 400)


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
    assert own.allowance("more") == pytest.approx(left)
    # who reads the copies is given what was set aside, beside its share
    assert own.allowance(last.name) == pytest.approx(left + ALLOWED * 3 / 16)
    own.spend(last.name, Layer(last.weight, last.bias), stats(inherited=ALLOWED / 4))
    # what the first layer's copies have apart has been read, and is among what the last inherited
    assert own.allowance("more") == pytest.approx(ALLOWED * (1 - 2 / 8 - 1 / 4))


def test_no_layer_is_wrong_beyond_measure(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    first, _ = target.linears

    assert budget(target, fed, first=0.0).allowance(first.name) == MAX_ERROR
    assert budget(target, fed, first=1e-9).allowance(first.name) == MAX_ERROR


def test_a_fed_target_is_the_target_and_its_errors_are_of_variation(tmp_path: Path) -> None:
    target, fed = network(tmp_path)
    _, last = target.linears

    assert fed.errors({}) == pytest.approx([0])
    shifted = Layer(last.weight, last.bias + np.float32(0.5))
    (clean,) = fed.clean()
    power = np.square(clean - clean.mean(0)).sum()
    assert fed.errors({last.name: shifted}) == pytest.approx([0.25 * clean.size / power], rel=1e-3)
    (scaled,) = fed.scaled_errors({last.name: shifted})
    assert scaled is not None
    assert float(np.square(scaled).sum()) == pytest.approx(power)
    assert fed.scaled_errors({}) == [None]


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


def test_what_fresh_inputs_lose_is_taken_to_be_lost_again_elsewhere(tmp_path: Path) -> None:
    target, _ = network(tmp_path)
    first, _ = target.linears
    (feed,) = random_samples(target.inputs, 40, 0).batches(target.inputs, 40)
    louder = {"x": np.concatenate([feed["x"][:20] * np.float32(1.6), feed["x"][20:]])}
    fed = FedTarget(target, [louder], [target.outputs[0].name], fresh=20)
    wrong = {first.name: Layer(first.weight * np.float32(1.01), first.bias)}
    (value,), (clean,) = fed.values(wrong), fed.clean()
    each = np.square(value - clean).sum(1)
    lost = each[:20].mean() / each[20:].mean()

    assert 1.2 < lost < MAX_LOSS
    (here,), (there,) = fed.errors(wrong), fed.errors(wrong, elsewhere=True)
    assert there == pytest.approx(here * lost)
    shares = [
        each[part].sum() / np.square(clean[part] - clean[part].mean(0)).sum()
        for part in (slice(20), slice(None))
    ]
    assert here == pytest.approx(max(shares))
    assert shares[0] != pytest.approx(shares[1], rel=0.01)
    assert (loss(1, 2), loss(100, 1)) == (1, MAX_LOSS)


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
