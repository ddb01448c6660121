"""What is said before any work: kinds of steps, sizes, and that a conversion keeps to them."""

import json
from pathlib import Path

import pytest
from graphs import Builder, save
from paths import MODELS

from lt_onnx import convert
from lt_onnx.cli.app import run
from lt_onnx.planning.overview import shape_text


def test_inspect_tells_how_every_step_will_be_had(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    b = Builder()
    x = b("Relu", b.conv("x", 3, 8, pads=[1] * 4))
    x = b.conv(b("MaxPool", x, kernel_shape=[2, 2]), 8, 8, pads=[1] * 4)
    x = b("LRN", b("Mul", x, b("Sigmoid", x)), size=3)
    path = save(b.model(b.conv(x, 8, 2)), tmp_path)
    report = tmp_path / "found.json"

    assert run(["inspect", str(path), "--report", str(report)]) == 0
    out = capsys.readouterr().out
    steps = {step["op"]: step for step in json.loads(report.read_text())["steps"]}
    assert steps["Conv"]["how"] == "constructed"
    assert steps["MaxPool"]["how"] == "copy-wise"
    assert steps["MaxPool"]["never_negative"]
    assert steps["LRN"]["how"] == "dense"
    assert "no rule" in steps["LRN"]["note"]
    assert "3 constructed" in out
    assert "954 to construct, 0 parameters stay dense" in out
    again = tmp_path / "again.json"
    words = ["--config", str(tmp_path / "found.toml"), "--report", str(again)]
    assert run(["inspect", *words]) == 0
    assert again.read_text() == report.read_text()


@pytest.mark.parametrize("mode", ["l+1", "2l"])
def test_a_conversion_keeps_to_its_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    report = tmp_path / "plan.json"
    words = ["plan", str(MODELS / "residual.onnx"), "--report", str(report), "--base-size", "9"]
    words += ["--calibration", str(MODELS / "digits.calibration.npz")]
    assert run(words) == 0
    assert "mode l+1" in capsys.readouterr().out
    plan = next(p for p in json.loads(report.read_text())["plans"] if p["mode"] == mode)
    out = tmp_path / "t.onnx"
    ticket = convert(MODELS / "residual.onnx", out, mode=mode, base_size=9, validate=False)

    assert plan["promise"]["kept_per_weight"] > 1
    assert plan["source_weights"] == ticket.report.source_weights
    assert sum(layer["weights"] for layer in plan["layers"]) == plan["source_weights"]
    assert plan["file_bytes"] == pytest.approx(out.stat().st_size, rel=0.05)
    assert [layer["kind"] for layer in plan["layers"]] == [s.kind for s in ticket.report.layers]


def test_one_mode_of_another_base_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", str(MODELS / "plain-relu.onnx"), "--mode", "2l", "--base-size", "7"]

    assert run([*words, "--shapes-only"]) == 0
    told = capsys.readouterr().out
    assert run([*words, "--shapes-only", "--report", str(tmp_path / "p.json")]) == 0
    assert capsys.readouterr().out == told
    assert run(["plan", "--config", str(tmp_path / "p.toml")]) == 0
    assert capsys.readouterr().out == told
    assert run([*words, "--shapes-only"]) == 0
    out = capsys.readouterr().out
    assert "promise" not in out
    assert "mode l+1" not in out
    assert " 7+24 " in out


def test_shapes_are_written_as_a_reader_does() -> None:
    assert shape_text(("N", 3, None, 8)) == "[N,3,?,8]"
    assert shape_text(()) == "[]"
    assert shape_text(None) == "?"
