"""What is promised becomes an error at every output: decibels, and what agreement needs."""

from dataclasses import replace
from pathlib import Path

import graphs
import numpy as np
import onnx
import paths
import pytest
from graphs import Builder

from lt_onnx import convert
from lt_onnx.budget.promise import MARGIN_DB, SURE, forecast, promised
from lt_onnx.budget.sensitivity import COPIES
from lt_onnx.cli.console import promise_lines
from lt_onnx.options import Mode, Options
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.choose import Calibration, random_samples
from lt_onnx.samples.samples import load_samples
from lt_onnx.target import Target

TARGET = paths.MODELS / "plain-relu.onnx"


def digits(target: Target) -> Calibration:
    given = load_samples(Path(paths.MODELS / "digits.calibration.npz"), target.inputs)
    return Calibration(given.first(64))


def decibels(options: Options) -> float:
    target = read_target(TARGET)
    made = forecast(plan(target, options), digits(target), given=64)
    assert made.copies in COPIES
    return float(-10 * np.log10(made.promise.allowed[0]))


def test_decibels_are_kept_with_a_margin_and_agreement_asks_for_more() -> None:
    margin = decibels(Options(sqnr=20, agreement=0.5)) - 20
    # beside what other inputs may have less, what so few do not tell
    assert MARGIN_DB < margin < MARGIN_DB + SURE  # a decibel each at most
    few, many = (decibels(Options(sqnr=3, agreement=share)) for share in (0.6, 0.999))
    assert 3 + MARGIN_DB <= few < many


def test_scores_that_lie_near_one_another_need_smaller_errors() -> None:
    """As many inputs change their class as errors are large: half of them need 6 dB more."""
    half, fewer = (decibels(Options(sqnr=3, agreement=share)) for share in (0.9, 0.95))
    assert half > 3 + MARGIN_DB
    assert fewer - half == pytest.approx(20 * np.log10(2))


def test_a_higher_promise_takes_more_copies() -> None:
    target = read_target(TARGET)
    forecasts = [
        forecast(plan(target, Options(sqnr=sqnr, agreement=0.5)), digits(target), given=64)
        for sqnr in (10, 30, 45)
    ]
    copies = [made.copies or 0 for made in forecasts]

    assert copies == sorted(copies)
    assert copies[0] < copies[-1]


def test_without_copies_none_are_chosen() -> None:
    target = read_target(TARGET)

    assert forecast(plan(target, Options(Mode.TWO_L)), digits(target), given=64).copies is None


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        *(("residual", mode) for mode in Mode),
        ("plain-relu", Mode.L_PLUS_1),
        ("plain-leakyrelu", Mode.TWO_L),
        ("transformer", Mode.TWO_L),
    ],
)
def test_a_promise_costs_about_what_was_said(tmp_path: Path, name: str, mode: Mode) -> None:
    """Blocks whose weights are chosen apart by sign, and whose neurons have mirror images, too."""
    file = paths.MODELS / f"{name}.onnx"
    target, path = read_target(file), tmp_path / "t.onnx"
    blueprint, made = promised(plan(target, Options(mode)), digits(target), given=64)
    ticket = convert(file, path, mode=mode, calibration=digits(target).inputs, validate=False)
    kept = sum(layer.kept for layer in ticket.report.layers)

    assert made.possible
    assert blueprint.options.base_size == made.copies
    assert made.figures(blueprint)["kept"] == pytest.approx(kept, rel=0.25)


def separable(folder: Path) -> tuple[Target, Calibration]:
    """Ten layers, every second depthwise, through which the copies' errors grow; and inputs."""
    b = Builder()
    x = b.conv("x", 3, 8, pads=[1] * 4)
    for _ in range(5):
        x = b("Relu", b.conv(x, 8, 8, pads=[1] * 4, group=8))
        x = b("Relu", b.conv(x, 8, 8, k=1))
    onnx.save(b.model(x), folder / "target.onnx")
    target = read_target(folder / "target.onnx")
    return target, Calibration(random_samples(target.inputs, 64, 0))


def test_what_no_copies_can_keep_is_said_before(tmp_path: Path) -> None:
    target, inputs = separable(tmp_path)
    options = Options(sqnr=60, agreement=0.5)

    blueprint = plan(target, options)
    made = forecast(blueprint, inputs, given=64)

    assert not made.possible
    reach = made.figures(blueprint)["reach"]
    assert 20 < reach < made.built_to
    said = promise_lines(made.figures(blueprint))[1]
    assert f"takes {made.built_to:.1f} dB" in said
    assert f"20 copies allow {reach:.1f}" in said


@pytest.mark.parametrize("mode", list(Mode))
def test_a_class_map_is_built_by_the_scores_behind_it(tmp_path: Path, mode: Mode) -> None:
    """No output is of floats: the errors that count are those of what ArgMax reads."""
    b = Builder()
    hidden = b("Relu", b.conv("x", 3, 8, pads=[1] * 4))
    classes = b("ArgMax", b.conv(hidden, 8, 5, pads=[1] * 4), axis=1)
    model = b.model(classes)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT64
    del model.graph.value_info[:]
    ticket = convert(model, tmp_path / "t.onnx", mode=mode)

    (out,) = ticket.report.fidelity.outputs  # type: ignore[union-attr]
    assert out.agreement is not None
    assert ticket.passed == (out.agreement >= 0.99)
    assert out.agreement > 0.97
    assert all(layer.allowed is None or layer.allowed < 0.01 for layer in ticket.report.layers)


def test_few_inputs_are_said_with_the_layer_that_needs_more(tmp_path: Path) -> None:
    b = Builder()
    hidden = b("Relu", b.gemm("x", 40, 6))
    target = read_target(graphs.save(b.model(b.gemm(hidden, 6, 4), shape=("N", 40)), tmp_path))
    blueprint = plan(target, Options(Mode.TWO_L))
    few, enough = (Calibration(random_samples(target.inputs, count, 0)) for count in (24, 40))
    some = replace(few, spare=random_samples(target.inputs, 16, 1))
    few_told, enough_told, drawn_told, some_told = (
        forecast(blueprint, inputs, given=given).figures(blueprint)
        for inputs, given in ((few, 24), (enough, 40), (few, None), (some, 100))
    )

    assert (few_told["inputs"], few_told["wanted"]) == (24, 40)
    first, _ = target.linears
    text = " ".join(promise_lines(few_told))
    assert "24 are few for it: give 40 or more" in text
    assert f"'{first.name}'" in text
    assert "give 48 or more" in " ".join(promise_lines({**few_told, "used": 20}))  # 4 judge
    assert len(promise_lines(enough_told)) == len(promise_lines(drawn_told)) == 1
    text = " ".join(promise_lines(some_told))
    assert "24 of 100 are used" in text
    assert "--calibration-count 40" in text


def test_blocks_lie_between_copies_where_these_would_not_keep_the_promise(tmp_path: Path) -> None:
    target, inputs = separable(tmp_path)
    alone, few = (Options(mode, sqnr=35, agreement=0.5) for mode in (Mode.L_PLUS_1, Mode.L_PLUS_K))
    assert not forecast(plan(target, alone), inputs, given=64).possible
    blueprint, made = promised(plan(target, few), inputs, given=64)

    assert made.possible
    blocks = [name for name, _ in blueprint.options.base_sizes]
    assert 0 < len(blocks) < len(target.linears) - 1
    last = promise_lines(made.figures(blueprint))[-1]
    assert last.startswith(f"blocks    before {len(blocks)} layers: '{blocks[0]}'")


def test_no_blocks_are_chosen_where_copies_will_do() -> None:
    target = read_target(TARGET)
    options = Options(Mode.L_PLUS_K, sqnr=20, agreement=0.5)

    assert promised(plan(target, options), digits(target), given=64)[0].options.base_sizes == ()
