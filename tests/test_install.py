"""What an installation without extras can do: everything but what needs torch, and that says so."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from paths import MODELS, ROOT, TOOLS
from typed import PIP, entered, environment, typed, wheel_in

MAX_MEGABYTES = 450  # that an installation downloads
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
WITHOUT_EXTRAS = """
import sys
from importlib.machinery import PathFinder
from pathlib import Path

find = PathFinder.find_spec
hidden = ("torch", "triton", "dask", "distributed")
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
zoo = ["zoo", str(Path(target).parent), "-o", str(Path(folder) / "tickets")]
assert run([*zoo, "--workers", "2"]) == 2
assert not (Path(folder) / "tickets").exists()
try:
    network.to_torch()
except lt_onnx.InputError as error:
    print(error, file=sys.stderr)
assert not {*hidden} & set(sys.modules)
"""


def test_the_tool_works_without_extras_and_says_what_would_not(tmp_path: Path) -> None:
    words = [sys.executable, "-c", WITHOUT_EXTRAS, str(MODELS / "plain-relu.onnx"), str(tmp_path)]
    made = subprocess.run(words, capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    bound, cuda, workers, module = made.stderr.strip().splitlines()

    mend = "needs torch: pip install 'lt-onnx[gpu]', or torch alone"
    assert bound == f"lt-onnx: error: --bound {mend}"
    assert cuda.startswith("lt-onnx: error: --device cuda: no GPU can be used")
    assert workers == "lt-onnx: error: --workers needs Dask: pip install 'lt-onnx[cluster]'"
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


@pytest.mark.long
def test_the_tutorial_runs_from_the_wheel_without_torch_and_compiler(tmp_path: Path) -> None:
    """Line by line in an empty environment; its network alone is trained where torch is."""
    asked = [*PIP, "download", "--no-deps", "-d", str(tmp_path / "asked"), "typer"]
    if subprocess.run(asked, capture_output=True).returncode:
        pytest.skip("pip reaches no package index")
    wheel, folder = wheel_in(tmp_path), tmp_path / "work"
    folder.mkdir()
    sizes = [sys.executable, str(TOOLS / "installs.py"), str(wheel)]
    made = subprocess.run(sizes, capture_output=True, text=True)
    assert made.returncode == 0, made.stdout + made.stderr
    downloaded = re.search(r"here: \d+ packages, (\d+) MB", made.stdout)
    assert downloaded is not None
    assert int(downloaded[1]) < MAX_MEGABYTES

    page = (ROOT / "docs" / "tutorial.md").read_text()
    install = next(b for b in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "pip" in b)
    there = install.replace(f"path/to/lt-onnx/dist/{wheel.name} torch", str(wheel))
    assert there != install
    env = {k: v for k, v in environment().items() if k != "PYTHONPATH"}
    entered(there, folder, env, shell=True)
    env = {**environment(folder / "env" / "bin"), "CC": "false", "CXX": "false"}
    env.pop("PYTHONPATH", None)
    assert shutil.which("lt-onnx", path=env["PATH"]) == str(folder / "env" / "bin" / "lt-onnx")
    without = "import importlib.util as u, lt_onnx; print(lt_onnx.__file__, u.find_spec('torch'))"
    shown = entered(without, folder, env, shell=False)
    assert shown.startswith(str(folder / "env"))
    assert shown.split()[1] == "None"
    train = {"python train.py": f"{sys.executable} train.py"}
    assert "True" in typed("tutorial.md", folder, env, instead=train).splitlines()[-1]
