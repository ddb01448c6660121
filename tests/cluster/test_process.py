"""A process for calls: it is kept, replaced when it dies, and ends with those who want nothing."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import tasks

from lt_onnx.cluster import process as module
from lt_onnx.cluster.calls import MAX_DEATHS, Call
from lt_onnx.cluster.process import Interrupted, Process
from lt_onnx.progress import silent


@pytest.fixture(scope="module")
def process() -> Process:
    one = Process(threads=3)
    yield one
    one.close()


def is_there(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False


def test_calls_are_made_one_after_another_in_one_process(process: Process) -> None:
    told: list[tuple[str, float]] = []
    made = process.call(tasks.twice, Call("a", (4,)), lambda *said: told.append(said))
    first = process.call(tasks.where, Call("b", ()), silent).result
    again = process.call(tasks.where, Call("c", ()), silent).result

    assert made.result == 8
    assert told[0] == ("count", 0.0)
    assert first == again == (first[0], "3", "3")
    assert first[0] != os.getpid()
    assert os.environ.get("OMP_NUM_THREADS") != "3"
    assert process.call(tasks.fork, Call("d", ()), silent).result == 0  # as reading does


def test_what_fails_is_told_and_not_made_again(process: Process) -> None:
    failures = {
        kind: process.call(tasks.fail, Call("f", (kind,)), silent).failure
        for kind in ("input", "resource", "memory", "value")
    }
    told = {
        kind: (failure.kind, failure.message, failure.exit_code)
        for kind, failure in failures.items()
        if failure is not None
    }
    assert told == {
        "input": ("InputError", "`seed` is wrong", 2),
        "resource": ("ResourceError", "too much", 3),
        "memory": ("MemoryError", "out of memory: lower `base_size`; `mode=2l` needs least", 3),
        "value": ("ValueError", "ValueError: of what?", 2),
    }


def test_what_dies_is_made_again_a_few_times(process: Process, tmp_path: Path) -> None:
    once = process.call(tasks.die, Call("o", (tmp_path / "once", 1)), silent)
    ever = process.call(tasks.die, Call("e", (tmp_path / "ever", 99)), silent)

    assert once.result == "xx"
    assert ever.failure is not None
    assert ever.failure.message == f"its process was killed by signal 9, {MAX_DEATHS} times"
    assert (tmp_path / "ever").read_text() == "x" * MAX_DEATHS
    assert process.call(tasks.twice, Call("a", (4,)), silent).result == 8


def test_a_call_that_nobody_wants_is_interrupted_and_cleans_up(
    process: Process, tmp_path: Path
) -> None:
    log, began = tmp_path / "log", time.monotonic()
    with pytest.raises(Interrupted):
        process.call(tasks.wait, Call("w", (log, 60)), silent, wanted=lambda: not log.exists())

    begin, interrupted = log.read_text().splitlines()
    assert begin.replace("begin", "interrupted") == interrupted
    assert time.monotonic() - began < module.CLEANUP_SECONDS
    assert not is_there(int(begin.split()[1]))


def test_a_process_that_a_call_left_large_is_not_used_again(process: Process) -> None:
    first, _ = process.call(tasks.where, Call("s", ()), silent).result[:2]
    same = process.call(tasks.hold, Call("h", (module.MAX_KEPT_BYTES,)), silent).result
    other, _ = process.call(tasks.where, Call("s", ()), silent).result[:2]

    assert first == same != other


ORPHAN = """
import os, signal, sys
from pathlib import Path
import tasks
from lt_onnx.cluster.calls import Call
from lt_onnx.cluster.process import Process

if __name__ == "__main__":
    kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    Process().call(tasks.wait, Call("w", (Path(sys.argv[1]), 60)), kill)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is interrupted nowhere else")
def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    log, script = tmp_path / "log", tmp_path / "orphan.py"
    script.write_text(ORPHAN)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    assert subprocess.run([sys.executable, str(script), str(log)], env=env).returncode == -9
    deadline = time.monotonic() + 20
    while "interrupted" not in log.read_text() and time.monotonic() < deadline:
        time.sleep(0.05)
    pid = int(log.read_text().split()[1])
    while is_there(pid) and time.monotonic() < deadline:
        time.sleep(0.05)

    assert log.read_text().splitlines() == [f"begin {pid}", f"interrupted {pid}"]
    assert not is_there(pid)
