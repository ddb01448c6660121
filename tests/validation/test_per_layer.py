"""The per-layer trace: silent on equals, and it names the layer that is wrong."""

import math
from pathlib import Path

import pytest
from graphs import Builder, save
from perturbed import CHANGES, LAYERS, network, perturbed, weight_of

from lt_onnx import convert
from lt_onnx.errors import InputError
from lt_onnx.options import Select
from lt_onnx.planning import sizes
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.samples.samples import Samples
from lt_onnx.validation.per_layer import LayerError, check_layer_errors, trace


def inputs(target: Path) -> Samples:
    return random_samples(read_target(target).inputs, 20, 0)


def test_a_network_has_no_error_against_itself(tmp_path: Path) -> None:
    target = network(tmp_path)
    layers = trace(target, target, inputs(target))

    assert [layer.name for layer in layers] == list(LAYERS)
    for layer in layers:
        assert layer.out == layer.into == 0
        assert layer.amplification is None
        assert max(layer.own, layer.passed_on) < 1e-6  # the layer alone sums in another order
        assert layer.sqnr_db == math.inf
    assert check_layer_errors(layers, 100.0).passed


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("place", [0, 1])
def test_the_layer_with_the_wrong_weight_is_named(tmp_path: Path, place: int, change: str) -> None:
    target, name = network(tmp_path), LAYERS[place]
    wrong = perturbed(target, weight_of(target, name), CHANGES[change])
    layers = {layer.name: layer for layer in trace(target, wrong, inputs(target))}
    check = check_layer_errors(list(layers.values()), 100.0)

    assert not check.passed
    assert f"layer '{name}' is the first below 100 dB" in check.message
    assert layers[name].own > 1e-3
    assert layers[name].out > 1e-3
    assert layers[name].passed_on < 1e-6  # nothing wrong reaches it
    assert all(layers[before].out == 0 for before in LAYERS[:place])
    for after in LAYERS[place + 1 :]:  # which are right, and are reached by what is wrong
        assert layers[after].own < 1e-6
        assert min(layers[after].into, layers[after].out) > 1e-4
        assert layers[after].amplification == layers[after].passed_on / layers[after].into


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("mode", ["l+1", "2l"])
def test_the_wrong_layer_of_a_ticket_is_named(tmp_path: Path, mode: str, change: str) -> None:
    """Through the layouts of a real ticket, whose copies are averaged."""
    target, ticket = network(tmp_path), tmp_path / "t.onnx"
    convert(target, ticket, mode=mode, base_size=3, select=Select.EXACT, validate=False)
    samples = inputs(target)
    right = trace(target, ticket, samples)
    wrong = trace(target, perturbed(ticket, "second/weight", CHANGES[change]), samples)

    assert check_layer_errors(right, 80.0).passed
    assert "layer 'second' is the first below 80 dB" in check_layer_errors(wrong, 80.0).message


@pytest.mark.parametrize("mode", ["l+1", "2l"])
def test_a_layer_behind_a_flatten_has_all_its_errors(tmp_path: Path, mode: str) -> None:
    """Its block opens before the Flatten, where a channel is a whole map."""
    b, ticket = Builder(), tmp_path / "t.onnx"
    y = b.gemm(b("Flatten", b("Relu", b.conv("x", 3, 4))), 4 * 4 * 4, 5)
    target = save(b.model(y, ("N", 3, 6, 6)), tmp_path)
    convert(target, ticket, mode=mode, base_size=3, select=Select.EXACT, validate=False)

    for layer in trace(target, ticket, inputs(target)):
        assert max(layer.own, layer.into, layer.passed_on) < 1e-4


def test_few_numbers_are_exposed_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = network(tmp_path)
    wrong = perturbed(target, weight_of(target, "first"), CHANGES["a flipped sign"])
    together = trace(target, wrong, inputs(target))
    monkeypatch.setattr(sizes, "MAX_EXPOSED", 1)

    for layer, known in zip(trace(target, wrong, inputs(target)), together, strict=True):
        assert (layer.name, layer.tensor) == (known.name, known.tensor)
        assert layer.sqnr_db == pytest.approx(known.sqnr_db, abs=1e-3)
        assert (layer.into, layer.own) == pytest.approx((known.into, known.own), rel=1e-3)


def test_the_first_layer_below_the_limit_is_the_one_that_is_named() -> None:
    def layer(name: str, sqnr: float) -> LayerError:
        return LayerError(name, name, 0.1, None, None, None, sqnr, None, None)

    layers = [layer("a", 40.0), layer("b", 19.9), layer("c", 10.0)]

    assert check_layer_errors(layers, 10.0).passed
    check = check_layer_errors(layers, 20.0)
    assert not check.passed
    assert check.message == "layer 'b' is the first below 20 dB: 19.9"


def test_what_cannot_be_compared_is_told(tmp_path: Path) -> None:
    target, ticket = network(tmp_path), tmp_path / "t.onnx"
    convert(target, ticket, base_size=3, select=Select.EXACT, validate=False)
    other = perturbed(target, weight_of(target, "first"), CHANGES["a flipped sign"])
    b, samples = Builder(0), inputs(target)
    b.count = 100
    stranger = save(b.model(b.conv("x", 3, 4), ("N", 3, 6, 6)), tmp_path, "stranger.onnx")

    with pytest.raises(InputError, match="was made from another target than"):
        trace(other, ticket, samples)
    with pytest.raises(InputError, match="is no ticket and shares no layer's tensor name"):
        trace(target, stranger, samples)
