"""Bytes that a conversion is said to take."""

import subprocess
import sys
from pathlib import Path

import pytest
from paths import MODELS, SHIPPED, TOOLS, long_but
from planned import blueprint, builds

from lt_onnx import files
from lt_onnx.options import Weights
from lt_onnx.planning import memory
from lt_onnx.planning.memory import layer_memory
from lt_onnx.planning.prediction import predict


def test_validation_takes_memory(tmp_path: Path) -> None:
    made = blueprint(tmp_path, 64)
    without, with_ = (predict(made, validated=v, count=1).memory_bytes for v in (False, True))

    assert without < with_


@pytest.mark.parametrize("key", ["traced", "bounded"])
def test_so_does_what_looks_at_layers(tmp_path: Path, key: str) -> None:
    made = blueprint(tmp_path, 64)
    known = {"count": 1, "validated": False}
    without, with_ = (predict(made, **known, **{key: v}).memory_bytes for v in (False, True))

    assert without < with_


def test_what_lies_in_a_file_of_its_own_is_not_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = blueprint(tmp_path)
    whole = predict(made, validated=False, count=1).memory_bytes
    monkeypatch.setattr(files, "INLINE_LIMIT", 0)

    assert predict(made, validated=False, count=1).memory_bytes < whole


def test_a_seeded_ticket_takes_more_where_a_runtime_makes_its_weights_ahead(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = blueprint(tmp_path, weights=Weights.SEEDED)
    ahead = predict(made, count=1).memory_bytes
    monkeypatch.setattr(memory, "MAX_MADE_AHEAD", 0)

    assert predict(made, count=1).memory_bytes < ahead


def test_a_layer_takes_memory_for_every_sample(tmp_path: Path) -> None:
    made = blueprint(tmp_path)
    found = [layer_memory(made.target, made, count=n, batch=1) for n in (8, 9, 13)]

    assert list(found[0]) == [step.name for step in made.steps if hasattr(step, "source")]
    for step in builds(made):
        row, one, five = (each[step.name] for each in found)
        assert five - row == pytest.approx(5 * (one - row), abs=8)
        assert one > row


@pytest.mark.skipif(sys.platform != "linux", reason="peaks as Linux tells them")
@pytest.mark.parametrize("name", long_but(["residual"], SHIPPED))
def test_a_conversion_takes_the_memory_that_its_plan_says(name: str) -> None:
    command = [
        sys.executable,
        str(TOOLS / "forecasts.py"),
        str(MODELS / f"{name}.onnx"),
        "--validate",
    ]
    made = subprocess.run(command, capture_output=True, text=True)

    assert made.returncode == 0, made.stdout + made.stderr
