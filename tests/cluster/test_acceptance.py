"""Zoos as they are used: 24 networks here and elsewhere, and everything killed that can be."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paths import MODELS, SHIPPED, TARGETS
from random_resnet import random_resnet

pytest.importorskip("distributed", reason="Dask is not installed")
pytestmark = pytest.mark.long
SETTINGS = ("--mode", "2l", "--base-size", "4", "--price", "1e-3", "--calibration-count", "4")
# whatever process opens the lock of this network's ticket is killed
HOOK = """
import os, signal, sys

def hook(event, arguments):
    if event == "open" and str(arguments[0]).endswith(".killed.ticket.onnx.lock"):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
"""
TIMES = ("seconds", "page", "ticket", "message", "reused", "bytes")
Start = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """24 of them: one is truncated, one ends every process that converts it."""
    folder = tmp_path_factory.mktemp("all")
    for name in SHIPPED:
        (folder / f"{name}.onnx").symlink_to(MODELS / f"{name}.onnx")
    for name in ("espcn-x2-tanh", "mtcnn-rnet-prelu", "superres-relu"):
        if (TARGETS / f"{name}.onnx").is_file():
            (folder / f"{name}.onnx").symlink_to(TARGETS / f"{name}.onnx")
    (folder / "broken.onnx").write_bytes((MODELS / "deep.onnx").read_bytes()[:3000])
    (folder / "killed.onnx").symlink_to(MODELS / "plain-relu.onnx")
    number = 0
    while len(list(folder.iterdir())) < 24:
        random_resnet(folder / f"bench{number}.onnx", 1, seed=number)
        number += 1
    return folder


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory, networks: Path) -> Path:
    folder = tmp_path_factory.mktemp("few")
    for name in ("residual", "plain-relu", "plain-tanh", "depthwise", "bench0", "bench1"):
        (folder / f"{name}.onnx").symlink_to(networks / f"{name}.onnx")
    return folder


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts Python with some words, and ends what is left of it."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    path = os.pathsep.join([str(hook), *filter(None, sys.path)])
    started: list[subprocess.Popen[bytes]] = []

    def start(*words: object) -> "subprocess.Popen[bytes]":
        command = [sys.executable, *map(str, words)]
        env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=env, **quiet))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def cluster(start: Start, about: Path) -> dict[str, "subprocess.Popen[bytes]"]:
    """A scheduler and two workers, each a process of its own."""
    about.unlink(missing_ok=True)
    file = ("--scheduler-file", about, "--no-dashboard")
    scheduler = start("-m", "distributed.cli.dask_scheduler", "--port", "0", *file)
    while not about.exists():
        time.sleep(0.1)
    worker = ("-m", "distributed.cli.dask_worker", "--nthreads", "1", *file)
    return {"scheduler": scheduler, "one": start(*worker), "two": start(*worker, "--no-nanny")}


def tickets(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.glob("*.ticket.onnx*"))
    }


def entries(folder: Path) -> list[dict[str, Any]]:
    """What a report says of every network, but for times and places."""
    models = json.loads((folder / "zoo.json").read_text())["models"]
    return [{key: model[key] for key in model if key not in TIMES} for model in models]


def first_ticket(folder: Path, process: "subprocess.Popen[bytes]") -> dict[Path, int]:
    """When the tickets that there are were made, once there is one with its report."""
    while not (finished := list(folder.glob("*.report.json"))):
        assert process.poll() is None
        time.sleep(0.05)
    return {path: path.stat().st_mtime_ns for path in finished}


def test_the_same_tickets_and_report_whoever_makes_them(
    networks: Path, start: Start, tmp_path: Path
) -> None:
    about = tmp_path / "scheduler.json"
    cluster(start, about)
    told = {}
    for name, who in {
        "one": [],
        "two": ["--workers", 2],
        "elsewhere": ["--scheduler-file", about],
    }.items():
        out = tmp_path / name
        zoo = start("-m", "lt_onnx", "zoo", networks, "-o", out, "--no-validate", *SETTINGS, *who)
        assert zoo.wait() == 1
        told[name] = tickets(out), entries(out)
    assert told["one"] == told["two"] == told["elsewhere"]
    made, report = told["one"]
    assert len(made) == 22
    assert {entry["name"] for entry in report if entry["verdict"] == "error"} == {
        "broken",
        "killed",
    }
    for name in ("one", "two", "elsewhere"):
        said = {
            model["name"]: model["message"]
            for model in json.loads((tmp_path / name / "zoo.json").read_text())["models"]
        }
        assert "not an ONNX model" in said["broken"]
        assert said["killed"] == "its process was killed by signal 9, 3 times"


def test_whatever_is_killed_the_same_command_finishes(
    few: Path, start: Start, tmp_path: Path
) -> None:
    about = tmp_path / "scheduler.json"

    def zoo(out: Path, *who: object) -> "subprocess.Popen[bytes]":
        return start("-m", "lt_onnx", "zoo", few, "-o", out, "--no-validate", *SETTINGS, *who)

    calm = tmp_path / "calm"
    assert zoo(calm).wait() == 0
    elsewhere = ("--scheduler-file", about)

    for who in ("two", "one"):  # without a nanny; and with, whose worker ends with it
        there = cluster(start, about)
        out = tmp_path / f"worker {who}"
        running = zoo(out, *elsewhere)
        before = first_ticket(out, running)
        there[who].send_signal(signal.SIGKILL)
        assert running.wait() == 0
        assert tickets(out) == tickets(calm)
        assert before.items() <= {p: p.stat().st_mtime_ns for p in before}.items()
        for process in there.values():
            process.kill()

    there = cluster(start, about)
    out = tmp_path / "scheduler"
    running = zoo(out, *elsewhere)
    before = first_ticket(out, running)
    there["scheduler"].send_signal(signal.SIGKILL)
    assert running.wait() == 3
    assert running.stderr is not None
    assert b"connection to the Dask scheduler is lost" in running.stderr.read()
    cluster(start, about)
    assert zoo(out, *elsewhere).wait() == 0
    assert tickets(out) == tickets(calm)
    assert before == {path: path.stat().st_mtime_ns for path in before}

    for name, who in {"command": elsewhere, "alone": ()}.items():
        out = tmp_path / name
        running = zoo(out, *who)
        before = first_ticket(out, running)
        running.send_signal(signal.SIGKILL)
        running.wait()
        assert zoo(out, *who).wait() == 0
        assert tickets(out) == tickets(calm)
        assert before == {path: path.stat().st_mtime_ns for path in before}
        assert not [path for path in out.rglob(".*")]


def most_at_once(out: Path, process: "subprocess.Popen[bytes]") -> int:
    """How many conversions into a folder hold their tickets' locks together."""
    most = 0
    while process.poll() is None:
        most = max(most, len(list(out.glob(".*.ticket.onnx.lock"))))
        time.sleep(0.02)
    return most


def test_what_memory_allows_is_converted_at_once(few: Path, start: Start, tmp_path: Path) -> None:
    """Every one of the networks takes some 300 MB."""
    at_once = {}
    for memory in ("400M", "4G"):
        out = tmp_path / memory
        words = ("zoo", few, "-o", out, "--no-validate", *SETTINGS, "--workers", 2)
        zoo = start("-m", "lt_onnx", *words, "--memory", memory)
        at_once[memory] = most_at_once(out, zoo)
        assert zoo.wait() == 0
    assert at_once == {"400M": 1, "4G": 2}
    assert tickets(tmp_path / "400M") == tickets(tmp_path / "4G")


AFFINITY = """
import os, sys
import tasks
from lt_onnx.cluster.calls import Call
from lt_onnx.cluster.executor import opened
from lt_onnx.options import Workers

if __name__ == "__main__":
    os.environ.pop("OMP_NUM_THREADS", None)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # as taskset does
    with opened(Workers(int(sys.argv[1]))) as executor:
        calls = [Call("cores", ())]
        print(*[outcome.result for _, outcome in executor.outcomes(tasks.threads, calls, print)])
"""


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no affinity")
@pytest.mark.parametrize("workers", [1, 2])
def test_bound_to_one_core_a_conversion_has_one_thread(workers: int, tmp_path: Path) -> None:
    script = tmp_path / "affinity.py"
    script.write_text(AFFINITY)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, str(script), str(workers)]
    assert subprocess.check_output(command, env=env, text=True).strip() == "(1, 1)"


def test_two_zoos_of_one_folder_make_each_ticket_once(
    few: Path, start: Start, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    words = ("-m", "lt_onnx", "zoo", few, "-o", out, "--no-validate", *SETTINGS)
    both = [start(*words, "--report", tmp_path / f"{number}.json") for number in range(2)]
    assert [process.wait() for process in both] == [0, 0]
    models = [json.loads((tmp_path / f"{n}.json").read_text())["models"] for n in range(2)]
    reused = [{model["name"] for model in one if model["reused"]} for one in models]
    names = {model["name"] for model in models[0]}

    assert reused[0] | reused[1] == names
    assert not reused[0] & reused[1]
