import math
import os
from pathlib import Path

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from lt_onnx import cores
from lt_onnx.cores import core_count, group_quota, one_blas_thread, solver_threads, thread_count


def test_threads_are_as_many_as_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4, 5}, raising=False)
    assert core_count() == thread_count() == solver_threads() == 3

    monkeypatch.delattr(os, "sched_getaffinity")  # macOS and Windows have none
    assert core_count() == thread_count() == solver_threads() == 64

    for quota, allowed in ((2.5, 2), (0.3, 1), (math.inf, 64)):
        monkeypatch.setattr(cores, "group_quota", lambda quota=quota: quota)
        assert core_count() == thread_count() == allowed


def test_a_containers_share_of_processors_is_that_of_its_tightest_group(tmp_path: Path) -> None:
    own, groups = tmp_path / "own", tmp_path / "groups"

    def place(folder: str, **files: str) -> None:
        (groups / folder).mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (groups / folder / name.replace("__", ".")).write_text(text)

    place("slurm/job7", cpu__max="300000 100000\n")
    place("slurm", cpu__max="250000 100000\n")
    place("", cpu__max="max 100000\n")
    place("cpu,cpuacct/old", cpu__cfs_quota_us="50000\n", cpu__cfs_period_us="100000\n")
    place("cpu,cpuacct", cpu__cfs_quota_us="-1\n", cpu__cfs_period_us="100000\n")
    quotas = []
    for line in ("0::/slurm/job7", "4:cpu,cpuacct:/old", "4:memory:/old", "0::/gone", "?"):
        own.write_text(f"{line}\n")
        quotas.append(group_quota.__wrapped__(groups, own))

    assert quotas == [2.5, 0.5, math.inf, math.inf, math.inf]
    assert group_quota.__wrapped__(groups, tmp_path / "none") == math.inf


def test_the_environment_says_how_many_threads_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "5")
    assert (thread_count(), solver_threads()) == (2, 5)
    for nothing in ("0", "", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        assert thread_count() == core_count()


def test_products_of_matrices_take_one_thread_for_as_long_as_they_are_to() -> None:
    def threads() -> list[int]:
        return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]

    with threadpool_limits(limits=2, user_api="blas"):
        before = threads()
        with one_blas_thread():
            assert set(threads()) <= {1}
        assert threads() == before
