"""The public call: words sorted into groups, models in memory, names loaded when asked for."""

from pathlib import Path

import onnx
import pytest
from paths import MODELS

import lt_onnx
from lt_onnx import Limits, convert
from lt_onnx.errors import InputError

TARGET = MODELS / "plain-relu.onnx"


def test_every_word_reaches_the_ticket_and_its_command(tmp_path: Path) -> None:
    out = tmp_path / "t.onnx"
    made = convert(
        str(TARGET),
        str(out),
        mode="2l",
        base_size=6,
        tolerance=0.02,
        select="best",
        sigma="layer",
        init="kaiming",
        seed=3,
        price=0.001,
        sqnr=25.0,
        agreement=0.9,
        prices={"head": 1e-4},
        weights="masked",
        fp16=True,
        calibration=str(MODELS / "digits.calibration.npz"),
        calibration_count=8,
        samples=MODELS / "digits.samples.npz",
        emit_source=True,
        max_memory=10**12,
        limits=Limits(min_sqnr=1, max_abs={"scores": 90}),
        device="cpu",
        per_layer=True,
    )
    options = made.report.options

    assert made.path == out
    assert made.source == tmp_path / "t.source.onnx"
    assert made.report.trace is not None
    assert (options.mode, options.base_size, options.seed) == ("2l", 6, 3)
    assert made.report.command == (
        f"lt-onnx convert {TARGET} --mode 2l --base-size 6 --tolerance 0.02 --select best "
        "--sigma layer --init kaiming --seed 3 --price 0.001 --sqnr 25.0 --agreement 0.9 "
        "--weights masked "
        f"--fp16 --output {out} --calibration {MODELS / 'digits.calibration.npz'} "
        f"--calibration-count 8 --samples {MODELS / 'digits.samples.npz'} --emit-source "
        "--per-layer --max-memory 1000000000000 --max-abs scores:90 --min-sqnr 1 "
        "--price head=0.0001"
    )


def test_a_model_in_memory_needs_an_output_and_gives_the_same_ticket(tmp_path: Path) -> None:
    model = onnx.load(TARGET)
    with pytest.raises(InputError, match="a model in memory needs an `output`"):
        convert(model)
    for name, given in (("a", TARGET), ("b", model)):
        convert(given, tmp_path / f"{name}.onnx", base_size=4, validate=False)

    tickets = [(tmp_path / f"{name}.onnx") for name in "ab"]
    weights = [[t.raw_data for t in onnx.load(path).graph.initializer] for path in tickets]
    assert weights[0] == weights[1]


def test_limits_without_validation_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="drop them, or `validate=False`"):
        convert(TARGET, tmp_path / "t.onnx", limits=Limits(min_sqnr=1), validate=False)
    assert convert(TARGET, tmp_path / "t.onnx", limits=Limits(), validate=False).passed


def test_every_public_name_is_there_and_no_other() -> None:
    assert all(getattr(lt_onnx, name) is not None for name in lt_onnx.__all__)
    with pytest.raises(AttributeError, match="no attribute 'transform'"):
        _ = lt_onnx.transform  # type: ignore[attr-defined]


def test_validation_takes_as_long_as_the_construction_unless_it_is_told_to_run_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lt_onnx.planning.prediction.MULTIPLY_ADD_SECONDS", 1.0)
    samples, made = MODELS / "digits.samples.npz", {}
    for every in (False, True):
        ticket = convert(
            MODELS / "plain-relu.onnx",
            tmp_path / f"{every}.onnx",
            base_size=4,
            samples=samples,
            calibration_count=1,
            all_samples=every,
        )
        assert ticket.report.fidelity is not None
        made[every] = ticket.report
    some, whole = made[False].fidelity, made[True].fidelity

    assert some.samples == 16
    assert some.origin == f"{samples} (16 of {whole.samples:,} samples)"
    assert whole.origin == str(samples)
    assert "--all-samples" in made[True].command
    assert "--all-samples" not in made[False].command
