"""Calls on a cluster: one at a time on each worker, as memory goes; what is lost is made again."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import tasks

from lt_onnx.cluster.calls import Call, Executor, Outcome
from lt_onnx.cluster.executor import opened
from lt_onnx.errors import InputError, ResourceError
from lt_onnx.options import Workers
from lt_onnx.progress import silent

distributed = pytest.importorskip("distributed", reason="Dask is not installed")
dask_workers = pytest.importorskip("lt_onnx.cluster.dask_workers")
GIGABYTE = 1 << 30


@pytest.fixture(scope="module")
def pair() -> Iterator[Executor]:
    with opened(Workers(2, memory=2 * GIGABYTE)) as executor:
        yield executor


def outcomes(executor: Executor, function: Any, calls: list[Call]) -> dict[str, Any]:
    return {call.name: outcome for call, outcome in executor.outcomes(function, calls, silent)}


def times_at_once(log: Path) -> int:
    """How many calls that wrote to a file were under way at once."""
    most = now = 0
    for line in log.read_text().splitlines():
        now += 1 if line.startswith("begin") else -1
        most = max(most, now)
    return most


def test_every_call_has_an_outcome_and_two_are_made_at_once(pair: Executor, tmp_path: Path) -> None:
    told: list[tuple[str, str, float]] = []
    calls = [Call(str(n), (n,)) for n in range(6)]
    made = {
        call.name: outcome.result
        for call, outcome in pair.outcomes(tasks.twice, calls, lambda *said: told.append(said))
    }
    assert made == {str(n): 2 * n for n in range(6)}
    assert {(str(n), "count", 0.0) for n in range(6)} <= set(told)

    failed = outcomes(pair, tasks.fail, [Call("f", ("input",)), Call("g", ("value",))])
    assert failed["f"].failure.message == "`seed` is wrong"
    assert failed["g"].failure.message == "ValueError: of what?"
    logs = {"d": (tmp_path / "d", 99), "e": (tmp_path / "e", 0)}
    dead = outcomes(pair, tasks.die, [Call(name, log) for name, log in logs.items()])
    assert "killed by signal 9" in dead["d"].failure.message
    assert dead["e"].result == "x"


def test_what_does_not_fit_into_memory_together_is_not_made_at_once(
    pair: Executor, tmp_path: Path
) -> None:
    for memory, at_once in ((1 << 29, 2), (3 * GIGABYTE // 2, 1), (9 * GIGABYTE, 1)):
        log = tmp_path / str(memory)
        calls = [Call(str(n), (log, 0.4), memory) for n in range(3)]
        assert all(o.result for o in outcomes(pair, tasks.wait, calls).values())
        assert times_at_once(log) == at_once, memory


def test_calls_under_way_are_interrupted_with_their_iterator(
    pair: Executor, tmp_path: Path
) -> None:
    log, began = tmp_path / "log", time.monotonic()
    calls = [Call("short", (log, 0.0)), Call("long", (log, 60.0)), Call("never", (log, 60.0))]
    with closing(pair.outcomes(tasks.wait, calls, silent)) as made:
        assert next(made)[0].name == "short"
        while log.read_text().count("begin") < 2:
            time.sleep(0.05)

    ended = [line for line in log.read_text().splitlines() if not line.startswith("begin")]
    assert sum(line.startswith("interrupted") for line in ended) == len(ended) - 1 in (1, 2)
    assert time.monotonic() - began < 20


def test_a_machine_that_is_busy_when_workers_start_is_asked_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    left, start = [2], distributed.LocalCluster

    def busy(**words: Any) -> Any:
        left[0] -= 1
        assert left[0] < 0
        return start(**words)

    monkeypatch.setattr(dask_workers, "LocalCluster", busy)
    with dask_workers.connected(Workers(workers=1)) as executor:
        assert outcomes(executor, tasks.twice, [Call("one", (1,))])["one"].result == 2
    left[0] = 99
    with pytest.raises(ResourceError, match="too busy"), dask_workers.connected(Workers(workers=1)):
        pass


def test_what_no_worker_has_room_for_waits_until_none_may_join(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Workers of 1 GB and, later, of 3 GB, that live in this process and are asked for nothing."""
    cluster = distributed.LocalCluster(
        n_workers=0, processes=False, dashboard_address=None, memory_limit=0
    )
    monkeypatch.setattr(dask_workers, "JOIN_SECONDS", 1.0)
    monkeypatch.setattr(dask_workers, "_on_worker", lambda work, *_: Outcome(work[1].name))
    told: list[tuple[str, str, float | None]] = []
    calls = [Call("small", (), 1), Call("large", (), 2 * GIGABYTE), Call("huge", (), 9 * GIGABYTE)]
    with cluster, distributed.Client(cluster) as client:
        executor = dask_workers.DaskExecutor(client, None, "")
        rooms: list[int] = []
        monkeypatch.setattr(
            dask_workers.DaskExecutor,
            "_limits",
            lambda self: dict(
                zip(client.scheduler_info(n_workers=-1)["workers"], rooms, strict=False)
            ),
        )

        def tell(name: str, stage: str, share: float | None) -> None:
            told.append((name, stage, share))
            rooms.append(GIGABYTE if not rooms else 3 * GIGABYTE)
            cluster.scale(len(rooms[:2]))

        made = executor.outcomes(tasks.twice, calls, tell)
        results = {call.name: outcome for call, outcome in made}

    assert [results[name].result for name in ("small", "large")] == ["small", "large"]
    assert "about 9.7 GB of memory are needed, the workers have 3.2 GB" in (
        results["huge"].failure.message
    )
    assert told == [
        ("small", "waits for a worker", None),
        ("large", "waits for a worker with 2.1 GB", None),
        ("huge", "waits for a worker with 9.7 GB", None),
    ]


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[dict[str, Any]]:
    """A scheduler and two workers, each a process of its own."""
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    about, started = tmp_path / "scheduler.json", {}

    def start(name: str, *words: str) -> None:
        command = [sys.executable, "-m", "distributed.cli.dask_" + words[0], *words[1:]]
        command += ["--scheduler-file", str(about), "--no-dashboard"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        started[name] = subprocess.Popen(command, env=env, cwd=tmp_path, **quiet)

    start("scheduler", "scheduler", "--port", "0", "--host", "127.0.0.1")
    for name, memory in (("small", "1GiB"), ("large", "2GiB")):
        words = ["--no-nanny", "--nthreads", "3", "--memory-limit", memory, "--name", name]
        start(name, "worker", *words)
    yield {**started, "file": about}
    for process in started.values():
        process.kill()
        process.wait()


@pytest.mark.parametrize("size", [0, 2 * dask_workers.LARGE_BYTES])
def test_a_lost_worker_costs_nothing_but_time_and_a_lost_scheduler_is_told(
    cluster: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    """Also where the calls' arguments, which are many, are lost with it."""
    monkeypatch.setattr(dask_workers, "JOIN_SECONDS", 0.5)
    deadline = time.monotonic() + 30
    while not cluster["file"].exists() and time.monotonic() < deadline:
        time.sleep(0.1)
    with distributed.Client(scheduler_file=str(cluster["file"])) as client:
        client.wait_for_workers(2, timeout=120)
    with opened(Workers(scheduler_file=cluster["file"])) as executor:
        where = outcomes(executor, tasks.where, [Call("a", (), 3 * GIGABYTE // 2), Call("b", ())])
        assert where["a"].result[1:] == ("3", "3")  # a worker's threads are its call's
        assert where["a"].result[0] != where["b"].result[0]
        much = outcomes(executor, tasks.where, [Call("much", (), 3 * GIGABYTE)])["much"].failure
        assert "about 3.2 GB of memory are needed, the workers have 2.1 GB" in much.message

        log = tmp_path / "log"
        calls = [Call(str(n), (log, 2.0), size=size) for n in range(3)]
        made = {}
        for call, outcome in executor.outcomes(tasks.wait, calls, silent):
            made[call.name] = outcome.result
            if cluster["small"].poll() is None:
                cluster["small"].send_signal(signal.SIGKILL)  # while it makes another call
                cluster["small"].wait()
        assert sorted(made) == ["0", "1", "2"]
        assert all(made.values())

        cluster["scheduler"].kill()
        with pytest.raises(ResourceError, match="connection to the Dask scheduler is lost"):
            outcomes(executor, tasks.wait, [Call("late", (log, 1.0))])


def test_who_cannot_be_reached_or_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = tmp_path / "nobody.json"
    monkeypatch.setattr("lt_onnx.cluster.dask_workers.CONNECT_SECONDS", 0.5)
    for workers, said in (
        (Workers(scheduler="tcp://127.0.0.1:9"), "there is no Dask scheduler to be reached"),
        (Workers(scheduler="nowhere"), "there is no Dask scheduler to be reached"),
        (Workers(scheduler_file=nobody), "no such file"),
        (Workers(scheduler_file=Path(__file__)), "there is no Dask scheduler to be reached"),
    ):
        with pytest.raises(InputError, match=said), opened(workers):
            pass
    monkeypatch.setattr("lt_onnx.cluster.executor.find_spec", lambda name: None)
    mend = r"`workers` needs Dask: pip install 'lt-onnx\[cluster\]'"
    with pytest.raises(InputError, match=mend), opened(Workers(2)):
        pass
    with opened(Workers()) as alone:  # one process needs none
        assert alone.dashboard == ""
