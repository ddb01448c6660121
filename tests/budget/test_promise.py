"""What is promised becomes an error at every output: decibels, and what agreement needs."""

from pathlib import Path

import numpy as np
import onnx
import paths
import pytest
from graphs import Builder

from lt_onnx import convert
from lt_onnx.budget.promise import MARGIN_DB, promise
from lt_onnx.budget.sensitivity import COPIES
from lt_onnx.options import Mode, Options
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.samples import Samples, load_samples
from lt_onnx.target import Target

TARGET = paths.MODELS / "plain-relu.onnx"


def digits(target: Target) -> Samples:
    return load_samples(Path(paths.MODELS / "digits.calibration.npz"), target.inputs).first(64)


def decibels(options: Options) -> float:
    target = read_target(TARGET)
    made, copies = promise(plan(target, options), digits(target), random=False, work=1)
    assert copies in COPIES
    return float(-10 * np.log10(made.allowed[0]))


def test_decibels_are_kept_with_a_margin_and_agreement_asks_for_more() -> None:
    assert decibels(Options(sqnr=20, agreement=0.5)) == pytest.approx(20 + MARGIN_DB)
    few, many = (decibels(Options(sqnr=3, agreement=share)) for share in (0.6, 0.999))
    assert 3 + MARGIN_DB <= few < many


def test_a_higher_promise_takes_more_copies() -> None:
    target = read_target(TARGET)
    copies = [
        promise(
            plan(target, Options(sqnr=sqnr, agreement=0.5)), digits(target), random=False, work=1
        )[1]
        for sqnr in (10, 30, 45)
    ]

    assert copies == sorted(copies)
    assert copies[0] < copies[-1]


def test_without_copies_none_are_chosen() -> None:
    target = read_target(TARGET)

    assert (
        promise(plan(target, Options(Mode.TWO_L)), digits(target), random=False, work=1)[1] is None
    )


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
