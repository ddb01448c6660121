"""What an installation without extras can do: everything but what needs torch, and that says so."""

import subprocess
import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from paths import MODELS, ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WITHOUT_TORCH = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path

find = PathFinder.find_spec
hidden = ("torch", "triton")
PathFinder.find_spec = lambda name, *where: None if name in hidden else find(name, *where)
import numpy as np
import lt_onnx
from lt_onnx.cli.app import run

target, folder = sys.argv[1:]
ticket = str(Path(folder) / "t.onnx")
small = ["--base-size", "4", "--price", "1e-3"]
convert = ["convert", target, "-o", ticket, "--force", *small]
assert run(convert) == 0
assert run(["verify", ticket, "--target", target]) == 0
assert run(["inspect", target]) == 0
assert run(["plan", target]) == 0
assert run(["validate", target, ticket, "--min-sqnr", "1"]) == 0
network = lt_onnx.load(ticket)
assert network.run({"image": np.zeros((1, 1, 8, 8), np.float32)})
assert run([*convert, "--bound"]) == 2
assert run([*convert, "--device", "cuda"]) == 2
try:
    network.to_torch()
except lt_onnx.InputError as error:
    print(error, file=sys.stderr)
assert not {*hidden} & set(sys.modules)
"""


def test_the_tool_works_without_torch_and_says_what_would_not(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WITHOUT_TORCH, str(MODELS / "plain-relu.onnx"), str(tmp_path)]
    made = subprocess.run(words, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    bound, cuda, module = made.stderr.strip().splitlines()

    mend = "needs torch: pip install 'lt-onnx[gpu]', or torch alone"
    assert bound == f"lt-onnx: error: --bound {mend}"
    assert cuda.startswith("lt-onnx: error: --device cuda: no GPU can be used")
    assert module == f"`to_torch` {mend}"


def names(requirements: list[str], **machine: str) -> set[str]:
    """What is installed of some requirements on a machine."""
    parsed = [Requirement(text) for text in requirements]
    return {r.name for r in parsed if r.marker is None or r.marker.evaluate(machine)}


def test_every_machine_gets_one_onnxruntime_and_none_gets_torch_unasked() -> None:
    for system, processor, wanted in (
        ("linux", "x86_64", "onnxruntime-gpu"),
        ("win32", "AMD64", "onnxruntime-gpu"),
        ("linux", "aarch64", "onnxruntime"),
        ("darwin", "arm64", "onnxruntime"),
        ("darwin", "x86_64", "onnxruntime"),
        ("win32", "ARM64", "onnxruntime"),
    ):
        machine = {"sys_platform": system, "platform_machine": processor}
        needed = names(PROJECT["dependencies"], **machine)
        assert {name for name in needed if name.startswith("onnxruntime")} == {wanted}
        assert not needed & {"torch", "triton"}
        gpu = names(PROJECT["optional-dependencies"]["gpu"], **machine)
        assert gpu == ({"torch", "triton"} if system == "linux" else {"torch"})
    pinned = {line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().split()}
    assert names(PROJECT["dependencies"]) <= pinned
