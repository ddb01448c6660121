import os

import pytest

from lt_onnx.cores import core_count, thread_count
from lt_onnx.source.threads import solver_threads


def test_threads_are_as_many_as_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 4, 5}, raising=False)
    assert core_count() == thread_count() == solver_threads() == 3

    monkeypatch.delattr(os, "sched_getaffinity")  # macOS and Windows have none
    assert core_count() == thread_count() == solver_threads() == 64


def test_the_environment_says_how_many_threads_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    monkeypatch.setenv("NUMBA_NUM_THREADS", "5")
    assert (thread_count(), solver_threads()) == (2, 5)
    for nothing in ("0", "", "many"):
        monkeypatch.setenv("OMP_NUM_THREADS", nothing)
        assert thread_count() == core_count()
