"""Settings that must not matter do not: one hash per ticket. See `tools/determinism.py`."""

import subprocess
import sys

from conftest import MODELS

TOOL = MODELS.parent / "tools" / "determinism.py"


def test_threads_chunks_and_hash_seeds_decide_no_byte() -> None:
    """The Triton kernels, slow in their interpreter, are compared in `test_gpu.py`."""
    words = [str(MODELS / "plain-relu.onnx"), "--base-size", "3", "--solvers", "cpu"]
    made = subprocess.run([sys.executable, str(TOOL), *words], capture_output=True, text=True)

    assert made.returncode == 0, made.stdout + made.stderr
    assert made.stdout.count("×12") == 2  # two modes, 2 · 2 · 3 settings of each
