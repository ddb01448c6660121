"""The target in torch computes what onnxruntime does; descent finds what scales were changed by."""

from pathlib import Path

import numpy as np
import pytest
import torch
from graphs import Builder, save
from paths import MODELS
from random_graphs import random_graph

from lt_onnx.construct.fed_target import FedTarget, Layer
from lt_onnx.fitting.descent import Batches, descend
from lt_onnx.fitting.scaled_target import ScaledTarget
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.target import Array, Doubles, Target


def changed(target: Target, factors: dict[str, Array], *, bent: bool) -> dict[str, Layer]:
    """The target's own layers, every channel times a factor, and with `bent` some of |x| too."""
    layers = {}
    for one in target.linears:
        factor = factors[one.name].astype(np.float32)
        weight = one.weight * factor.reshape(-1, *[1] * (one.weight.ndim - 1))
        layers[one.name] = Layer(weight, one.bias * factor, weight / 4 if bent else None)
    return layers


@pytest.mark.parametrize("bent", [False, True])
@pytest.mark.parametrize("name", ["residual", "transformer", 0, 3])
def test_the_program_is_the_target_with_its_channels_scaled(
    name: str | int, bent: bool, tmp_path: Path
) -> None:
    path = MODELS / f"{name}.onnx" if isinstance(name, str) else save(random_graph(name), tmp_path)
    target = read_target(path)
    outputs = [port.name for port in target.outputs]
    feeds = random_samples(target.inputs, 6, 0).batches(target.inputs, 6)
    rng = np.random.default_rng(1)
    factors = {one.name: rng.uniform(0.5, 2, len(one.bias)) for one in target.linears}
    ones = {one.name: np.ones(len(one.bias)) for one in target.linears}
    names = [one.name for one in target.linears] if bent else []
    wanted = FedTarget(target, feeds, outputs, bent=names).values(
        changed(target, factors, bent=bent)
    )

    program = ScaledTarget(target, changed(target, ones, bent=bent), outputs=outputs)
    theta = np.zeros(program.count, np.float32)
    for layer, place in program.places.items():
        theta[place] = factors[layer]
    made = program.run(feeds[0], torch.from_numpy(theta))

    assert wanted
    for ours, theirs in zip(made, wanted, strict=True):
        assert np.abs(ours.numpy() - theirs).max() <= 1e-4 * np.abs(theirs).max()


def errors(program: ScaledTarget, feeds: list[dict[str, Array]], theta: Doubles) -> Batches:
    """Batches whose errors are those of the program with its channels off by `theta`."""
    factors = [torch.from_numpy((1 + t * theta).astype(np.float32)) for t in (0, 1)]
    with torch.no_grad():
        clean, off = ([program.run(feed, one) for feed in feeds] for one in factors)
    power = sum(float(values[0].square().sum()) for values in clean)
    pairs = zip(off, clean, strict=True)
    return Batches(
        feeds, [[(a - b).numpy() for a, b in zip(*one, strict=True)] for one in pairs], [power]
    )


@pytest.fixture
def program(tmp_path: Path) -> tuple[ScaledTarget, Target]:
    b = Builder()
    x = b("Relu", b.conv("x", 3, 6))
    x = b("Relu", b.conv(x, 6, 6))
    target = read_target(save(b.model(b.conv(x, 6, 4)), tmp_path))
    own = {one.name: Layer(one.weight, one.bias) for one in target.linears}
    return ScaledTarget(target, own, outputs=[target.outputs[0].name]), target


def test_descent_undoes_what_scales_are_off_by(program: tuple[ScaledTarget, Target]) -> None:
    net, target = program
    feeds = random_samples(target.inputs, 40, 0).batches(target.inputs, 8)
    theta = np.random.default_rng(0).uniform(-0.02, 0.02, net.count)
    seen, fresh = errors(net, feeds[:4], theta), errors(net, feeds[4:], theta)

    found = descend(net, seen, fresh)

    # errors that are left, where the ticket is off by theta and is scaled by 1 + found
    left = errors(net, feeds[4:], theta + found)
    before, after = (sum(float(np.square(e[0]).sum()) for e in b.errors) for b in (fresh, left))
    assert after < before / 100


def test_nothing_is_found_where_it_does_not_help_inputs_kept_out(
    program: tuple[ScaledTarget, Target],
) -> None:
    net, target = program
    feeds = random_samples(target.inputs, 16, 0).batches(target.inputs, 8)
    theta = np.full(net.count, 0.02)
    seen, fresh = errors(net, feeds[:1], theta), errors(net, feeds[1:], -theta)

    assert not descend(net, seen, fresh).any()


def test_torch_keeps_its_threads(program: tuple[ScaledTarget, Target]) -> None:
    net, target = program
    feeds = random_samples(target.inputs, 2, 0).batches(target.inputs, 1)
    before = torch.get_num_threads()
    batches = errors(net, feeds, np.full(net.count, 0.01))

    descend(net, batches, batches)

    assert torch.get_num_threads() == before
