"""Kernels compiled ahead are all that a conversion needs; the first one says that they are."""

import os
import subprocess
import sys
from pathlib import Path

from paths import MODELS

CONVERT = """
import sys
from numba.core import event
from lt_onnx.cli.app import run
from lt_onnx.subset_sum import compilation

compiled = []
class Listener(event.Listener):
    def on_start(self, event):
        compiled.append(event.data["dispatcher"].py_func.__qualname__)
    def on_end(self, event):
        pass

compilation._use_all()
event.register("numba:compile", Listener())
target, folder = sys.argv[1:]
for number, mode in enumerate(("l+1", "2l")):
    words = ["--mode", mode, "--base-size", "4", "--no-validate"]
    assert run(["convert", target, "-o", f"{folder}/{number}.onnx", *words]) == 0
print(compiled, file=sys.stderr)
"""


def test_a_conversion_compiles_nothing_that_was_not_compiled_ahead(tmp_path: Path) -> None:
    words = [sys.executable, "-c", CONVERT, str(MODELS / "plain-sigmoid.onnx"), str(tmp_path)]
    made = subprocess.run(words, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert made.stderr.splitlines()[-1] == "[]"


def test_a_first_conversion_says_that_it_compiles(tmp_path: Path) -> None:
    code = (
        "from lt_onnx.subset_sum import compilation as c\n"
        "from lt_onnx.cli.app import run\n"
        "print(c.is_compiled())\n"
        "run(['convert', 'none.onnx'])\n"
    )
    env = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    words = [sys.executable, "-c", code]
    (tmp_path / "none.onnx").write_text("of no network")
    made = subprocess.run(words, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert made.stdout == "False\n"
    told, error = made.stderr.strip().splitlines()
    assert told.startswith("compiling the solver")
    assert error.startswith("lt-onnx: error: none.onnx: ")
