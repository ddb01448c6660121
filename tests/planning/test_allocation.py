"""Where a ticket spends its weights: m of a block, μ of a layer, and who gets a weight."""

from pathlib import Path

import graphs
import numpy as np
import onnx
import pytest
from copies import draft_of
from onnx import numpy_helper

from lt_onnx import convert
from lt_onnx.blueprint import Blueprint, Expand
from lt_onnx.errors import InputError
from lt_onnx.options import Mode, Options, Select
from lt_onnx.planning.allocation import MAX_NEURONS, MIN_NEURONS, check_layers, neurons, problems
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.target import Linear


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
        samples=dict(np.load(tmp_path / "x.npz")),
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


def m(options: Options, weights: int = 0, features: int = 1) -> int:
    """Neurons of a block that is read by one layer of so many weights."""
    weight = np.ones((weights, 1), np.float32)
    layer = Linear("l", "Gemm", "x", "y", weight, np.zeros(weights, np.float32))
    return neurons(draft_of({}, steps=[layer]).target, options, views={"x"}, features=features)


def test_more_weights_pay_for_more_neurons_up_to_a_limit() -> None:
    sizes = [m(Options(), weights) for weights in (0, 40, 50, 10**6)]

    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (MIN_NEURONS, MAX_NEURONS)
    assert MIN_NEURONS < sizes[2] < MAX_NEURONS
    assert m(Options(), 50, features=3) == MIN_NEURONS  # they share the weights


@pytest.mark.parametrize(
    ("options", "size"),
    [
        (Options(base_size=7, mode=Mode.TWO_L), 7),
        (Options(base_size=7), MIN_NEURONS),  # with fewer, misses drown the rest
        (Options(base_size=25), 25),
        (Options(base_size=7, select=Select.BEST), 7),
        (Options(select=Select.SMALLEST), MIN_NEURONS),
        (Options(base_size=7, base_sizes=(("l", 5),)), 5),
        (Options(base_sizes=(("other", 5),)), MIN_NEURONS),
    ],
)
def test_what_is_given_decides(options: Options, size: int) -> None:
    assert m(options) == size


def blueprint(folder: Path, **options: object) -> Blueprint:
    return plan(read_target(_classifier(folder)), Options(**options))  # type: ignore[arg-type]


def test_problems_are_target_weights_times_copies(tmp_path: Path) -> None:
    path = _classifier(tmp_path)
    first, last = read_target(path).linears
    plain = problems(plan(read_target(path), Options(Mode.TWO_L)))
    copied = problems(plan(read_target(path), Options(base_size=5)))

    assert plain == {first.name: first.count, last.name: last.count}
    assert copied[last.name] == last.count


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prices": (("nobody", 0.1),)}, "`price` names 'nobody'"),
        ({"base_sizes": (("nobody", 9),)}, "`base_size` names 'nobody'"),
    ],
)
def test_a_layer_that_cannot_have_its_own_is_named(
    tmp_path: Path, options: dict[str, object], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        check_layers(blueprint(tmp_path, **options))


def test_a_one_for_one_layer_has_no_base_size_of_its_own(tmp_path: Path) -> None:
    b = graphs.Builder()
    x = b.conv(b("Relu", b.conv(b("Relu", b.conv("x", 3, 4)), 4, 4)), 4, 4)
    target = read_target(graphs.save(b.model(x), tmp_path))
    name = target.linears[1].name

    with pytest.raises(InputError, match="which has none of its own"):
        check_layers(plan(target, Options(base_sizes=((name, 9),))))
    check_layers(plan(target, Options(mode=Mode.TWO_L, base_sizes=((name, 9),))))
