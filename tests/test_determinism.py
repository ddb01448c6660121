"""Settings that must not matter do not: one hash per ticket. See `tools/determinism.py`."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest
from paths import MODELS, TOOLS

from lt_onnx import convert
from lt_onnx.subset_sum import Device, resolve

TOOL = TOOLS / "determinism.py"
KINDS = TOOLS / "processors.py"


@pytest.mark.parametrize(
    ("words", "runs"),
    [(["--brief"], 6), pytest.param([], 12, marks=pytest.mark.long)],  # by each mode
    ids=str,
)
def test_threads_chunks_and_hash_seeds_decide_no_byte(words: list[str], runs: int) -> None:
    """The Triton kernels, slow in their interpreter, are compared in `subset_sum/test_gpu.py`."""
    model = [str(MODELS / "plain-relu.onnx"), "--base-size", "3", "--solvers", "cpu"]
    command = [sys.executable, str(TOOL), *model, *words]
    made = subprocess.run(command, capture_output=True, text=True)

    assert made.returncode == 0, made.stdout + made.stderr
    assert made.stdout.count(f"×{runs}") == 2


@pytest.mark.long
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="names kinds of x86")
def test_neither_the_solvers_nor_numpys_vectors_decide_a_byte() -> None:
    command = [sys.executable, str(KINDS), str(MODELS / "plain-relu.onnx"), "--base-size", "3"]
    made = subprocess.run(command, capture_output=True, text=True)

    assert made.returncode == 0, made.stdout + made.stderr
    assert made.stdout.count("the same bytes") >= 6
    assert made.stdout.count("\n") == 10


@pytest.mark.gpu
@pytest.mark.skipif(resolve("auto") is not Device.CUDA, reason="needs a CUDA device")
def test_a_gpu_makes_the_same_ticket(tmp_path: Path) -> None:
    tickets = [tmp_path / f"{device}.onnx" for device in ("cuda", "cpu")]
    for ticket in tickets:
        convert(MODELS / "residual.onnx", ticket, device=ticket.stem, validate=False)

    assert tickets[0].read_bytes() == tickets[1].read_bytes()
