"""What docs/cluster.md has its readers type: here, and on a scheduler and workers of their own."""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from paths import MODELS, ROOT
from typed import entered, environment

pytest.importorskip("distributed", reason="Dask is not installed")
PAGE = (ROOT / "docs" / "cluster.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines()]
COMMANDS = [line for line in LINES if not line.startswith("python tools/")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "models").mkdir()
    for name in ("plain-relu.onnx", "plain-tanh.onnx"):
        (tmp_path / "models" / name).symlink_to(MODELS / name)
    return tmp_path


@pytest.fixture
def beside(folder: Path) -> Iterator[list["subprocess.Popen[bytes]"]]:
    """What commands leave running."""
    started: list[subprocess.Popen[bytes]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()


def test_its_commands_run_and_make_the_same_tickets(
    folder: Path, beside: list["subprocess.Popen[bytes]"]
) -> None:
    env = {**environment(), "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    for command in COMMANDS:
        if command.endswith(" &"):
            words = shlex.split(command.removesuffix(" &"))
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            beside.append(subprocess.Popen(words, cwd=folder, env=env, **quiet))
        else:
            while beside and not (folder / "scheduler.json").exists():
                assert beside[0].poll() is None
            entered(command, folder, env, shell=True)

    here, there = (
        {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted((folder / name).glob("*.ticket.onnx"))
        }
        for name in ("tickets", "elsewhere")
    )
    assert len(beside) == 3
    assert len(here) == 2
    assert here == there
    places = [folder / name / "zoo.json" for name in ("tickets", "elsewhere")]
    reports = [json.loads(place.read_text()) for place in places]
    kept = [[(m["name"], m["verdict"], m["kept"]) for m in report["models"]] for report in reports]
    assert kept[0] == kept[1]
    assert all(model["reused"] for model in reports[0]["models"])


def test_its_examples_for_other_clusters_can_be_read(tmp_path: Path) -> None:
    (script,) = re.findall(r"```bash title=\"zoo.sbatch\"\n(.*?)```", PAGE, re.DOTALL)
    assert subprocess.run(["bash", "-n", "-c", script]).returncode == 0
    (manifest,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    cluster = yaml.safe_load(manifest)
    assert cluster["kind"] == "DaskCluster"
    words = [w for line in script.splitlines() if "lt-onnx" in line for w in shlex.split(line)]
    options = {option for word in words for option in re.findall(r"^--[a-z-]+", word)}
    reference = (ROOT / "docs" / "cli.md").read_text().partition("## zoo")[2]
    assert options
    assert all(f"`{option}`" in reference for option in options)


@pytest.mark.long
@pytest.mark.parametrize("command", [line for line in LINES if line not in COMMANDS])
def test_its_tables_are_printed(command: str) -> None:
    _, tool, *words = shlex.split(command)
    if "--networks" in words:
        words[words.index("--networks") + 1] = "2"
    made = subprocess.run(
        [sys.executable, str(ROOT / tool), *words], capture_output=True, text=True, check=True
    )
    table = re.search(r"```text\n(.*?)```", PAGE.partition(command)[2], re.DOTALL)
    assert table is not None
    shape = [re.sub(r"[\d.]+", "#", line).split() for line in (made.stdout, table[1])]
    assert shape[0] == shape[1]
