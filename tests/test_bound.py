"""The certified bound: never below an error that anyone can find, and tight where it must be."""

import math
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graphs import Builder, save
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import MODELS, MODES, SHIPPED, long_but
from random_graphs import random_graph
from torch_networks import export

from lt_onnx import convert
from lt_onnx.cli.app import run
from lt_onnx.options import Select
from lt_onnx.reading.lowering import read_target
from lt_onnx.report.ticket import Ticket
from lt_onnx.runtime import Session
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.validation.bound.certify import box_of

SEED = 1  # of the validation inputs, whose box the bound is over


def worst_found(target: Path, ticket: Path, rounds: int = 12) -> dict[str, float]:
    """The largest error per output that random and climbing searches find in the box."""
    sessions = Session(target), Session(ticket)
    ports = read_target(target).inputs
    samples = random_samples(ports, 64, SEED)
    box, rng = box_of(samples), np.random.default_rng(0)
    floats = {port.name for port in ports if np.issubdtype(port.dtype, np.floating)}
    worst: dict[str, float] = {}

    def errors(feeds: dict[str, np.ndarray]) -> dict[str, float]:
        a, b = (session.run(feeds) for session in sessions)
        return {name: float(np.abs(a[name] - b[name]).max(initial=0.0)) for name in a}

    def inside(draw: np.ndarray, name: str) -> np.ndarray:
        low, high = box[name]
        return (low + (high - low) * draw).astype(np.float32)

    size = {port.name: (port.shape[0] if isinstance(port.shape[0], int) else 2) for port in ports}
    shape = {name: (size[name], *low.shape[1:]) for name, (low, _) in box.items()}
    best = {name: rng.random(shape[name]) for name in floats}
    reached = 0.0
    for number in range(rounds):
        if number % 3 == 0:  # the corners of the box
            tried = {name: rng.integers(0, 2, shape[name]).astype(float) for name in floats}
        else:  # a step from the worst so far, towards its corners
            flip = {name: rng.random(shape[name]) < 0.2 for name in floats}
            tried = {
                name: np.where(flip[name], 1 - np.round(best[name]), best[name]) for name in floats
            }
        feeds = {name: samples.arrays[name][: size[name]] for name in shape}
        found = errors({**feeds, **{name: inside(tried[name], name) for name in floats}})
        for name, value in found.items():
            worst[name] = max(worst.get(name, 0.0), value)
        if max(found.values()) > reached:
            reached, best = max(found.values()), tried
    return worst


def violations(ticket: Ticket, target: Path) -> dict[str, tuple[float, float]]:
    """Outputs whose error is found to be above their bound: the error and the bound."""
    bounds = ticket.report.bound.outputs
    errors = worst_found(target, ticket.path)
    for out in ticket.report.fidelity.outputs:
        errors[out.name] = max(errors[out.name], out.max_abs)
    return {name: (e, bounds[name]) for name, e in errors.items() if not e <= bounds[name]}


def is_finite(ticket: Ticket) -> bool:
    """Whether every output has a bound."""
    return all(math.isfinite(value) for value in ticket.report.bound.outputs.values())


def test_an_error_above_its_bound_is_a_violation(tmp_path: Path) -> None:
    target = MODELS / "plain-relu.onnx"
    ticket = convert(target, tmp_path / "t.onnx", mode="2l", base_size=3, bound=True)
    assert violations(ticket, target) == {}
    ((name, found),) = worst_found(target, ticket.path).items()
    tight = replace(ticket.report.bound, outputs={name: found * 0.999})
    too_low = replace(ticket, report=replace(ticket.report, bound=tight))

    assert list(violations(too_low, target)) == [name]


@pytest.mark.parametrize(
    ("name", "mode"),
    long_but(
        [("residual", "l+1"), ("depthwise", "2l"), ("plain-tanh", "2l")], product(SHIPPED, MODES)
    ),
)
def test_it_holds_and_is_finite_for_shipped_models(tmp_path: Path, name: str, mode: str) -> None:
    target = MODELS / f"{name}.onnx"
    ticket = convert(target, tmp_path / "t.onnx", mode=mode, base_size=6, bound=True)

    assert violations(ticket, target) == {}
    assert is_finite(ticket)
    assert ticket.report.bound.layers.keys() == {
        layer.name for layer in ticket.report.layers if layer.kind != "univariate"
    }


RANDOM = given(
    seed=st.integers(0, 10**6),
    mode=st.sampled_from(["l+1", "2l"]),
    exact=st.booleans(),
    opset=st.sampled_from([7, 13, 21]),
)


def bounded(folder: Path, seed: int, mode: str, exact: bool, opset: int) -> tuple[Ticket, Path]:
    """A random graph's ticket with its bound, and the graph."""
    target = save(random_graph(seed, opset=opset), folder)
    select = Select.EXACT if exact else Select.NOISE
    out = folder / "t.onnx"
    return convert(target, out, mode=mode, base_size=4, select=select, bound=True), target


@settings(max_examples=10, deadline=None)
@RANDOM
def test_it_holds_on_random_graphs(tmp_path_factory: pytest.TempPathFactory, **drawn: Any) -> None:
    ticket, target = bounded(tmp_path_factory.mktemp("bound"), **drawn)

    assert violations(ticket, target) == {}
    assert is_finite(ticket) or ticket.report.bound.reason


@pytest.mark.long
@settings(max_examples=100, deadline=None)
@RANDOM
def test_it_holds_on_many_random_graphs(
    tmp_path_factory: pytest.TempPathFactory, **drawn: Any
) -> None:
    ticket, target = bounded(tmp_path_factory.mktemp("bound"), **drawn)

    assert violations(ticket, target) == {}
    assert is_finite(ticket) or ticket.report.bound.reason


@pytest.mark.parametrize(
    ("name", "mode"),
    long_but(
        [("depthwise", "l+1"), ("plain-leakyrelu", "2l")],
        product(["plain-relu", "plain-leakyrelu", "residual", "depthwise"], MODES),
    ),
)
def test_exact_weights_leave_little_but_rounding(tmp_path: Path, name: str, mode: str) -> None:
    """What target and ticket share must cancel: the bound is of their difference."""
    target = MODELS / f"{name}.onnx"
    made = [
        convert(
            target, tmp_path / f"{select}.onnx", mode=mode, base_size=6, select=select, bound=True
        )
        for select in (Select.EXACT, Select.NOISE)
    ]
    exact, real = (t.report.bound.outputs["scores"] for t in made)

    assert exact < real / 1000


def test_it_reads_masked_weights_as_folded_ones(tmp_path: Path) -> None:
    folded, masked = (
        convert(
            MODELS / "residual.onnx",
            tmp_path / f"{word}.onnx",
            base_size=5,
            price=1e-3,
            weights=word,
            bound=True,
        ).report.bound
        for word in ("folded", "masked")
    )

    assert folded == masked


def test_it_tells_what_it_cannot_bound(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    b = Builder()
    x = b("Relu", b.conv("x", 3, 4))
    ratio = b("Div", x, b("Add", x, b.constant(1.0)))
    target = save(b.model(y := b.conv(ratio, 4, 2)), tmp_path)
    ticket = convert(target, tmp_path / "t.onnx", mode="2l", bound=True)
    words = ["convert", str(target), "-o", str(tmp_path / "u.onnx"), "--mode", "2l", "--bound"]

    assert violations(ticket, target) == {}
    assert not is_finite(ticket)
    assert run(words) == 0
    shown = capsys.readouterr().out
    assert f"  {y}: none found\n  not everywhere: no bound through Div 'Div_" in shown


def test_a_normalization_and_attention_are_bounded(tmp_path: Path) -> None:
    target = export("hybrid", tmp_path)
    ticket = convert(target, tmp_path / "t.onnx", mode="2l", bound=True)

    assert violations(ticket, target) == {}
    assert is_finite(ticket)


REAL = [
    "cifar-resnet20-relu",
    "paper-cifar-resnet20-sigmoid",
    "espcn-x2-tanh",
    "paper-mnist-relu",
    "paper-mnist-leakyrelu",
    "superres-relu",
    "ultraface-slim-depthwise",
]


@pytest.mark.long
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", REAL)
def test_it_is_finite_for_real_targets(shared: Path, tmp_path: Path, name: str, mode: str) -> None:
    target = shared / f"{name}.onnx"
    ticket = convert(target, tmp_path / "t.onnx", mode=mode, base_size=5, bound=True)

    assert violations(ticket, target) == {}
    assert is_finite(ticket)
