"""Work that is shared among threads is done once, whoever asks for it, and none of it goes on."""

import os
import threading
import time
from functools import partial

import pytest

from lt_onnx.cores import share, spread


@pytest.fixture(autouse=True)
def _three_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NUMBA_NUM_THREADS", "3")


def done(count: int, **keys: int) -> list[int]:
    met: list[int] = []
    share(count, lambda start, stop: met.extend(range(start, stop)), **keys)
    return sorted(met)


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_every_piece_is_worked_on_once(count: int) -> None:
    assert done(count) == done(count, least=40) == [*range(count)]


def test_threads_stay() -> None:
    def names() -> set[int]:
        met: set[int] = set()
        share(24, lambda start, stop: (time.sleep(0.01), met.add(threading.get_ident())))
        return met

    assert len(names() | names()) == 3


def test_work_may_share_work() -> None:
    met: list[int] = []
    share(9, lambda start, stop: [met.extend(done(5)) for _ in range(start, stop)])

    assert sorted(met) == sorted([*range(5)] * 9)


def test_calls_are_answered_in_their_order() -> None:
    def call(number: int) -> int:
        time.sleep(0.002 * (5 - number))
        return number

    calls = [partial(call, number) for number in range(5)]
    assert spread(calls, 3) == spread(calls, 1) == [*range(5)]
    assert spread([partial(spread, calls, 3)] * 4, 3) == [[*range(5)]] * 4  # and in each other


def test_after_an_error_nothing_goes_on() -> None:
    running = []

    def work(start: int, stop: int) -> None:
        if start == 0:
            raise ValueError("the first")
        running.append(start)
        time.sleep(0.02)
        running.remove(start)

    with pytest.raises(ValueError, match="the first"):
        share(24, work)
    assert not running


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    done(100)
    child = os.fork()
    if not child:
        os._exit(done(100) != [*range(100)])
    assert os.waitpid(child, 0)[1] == 0
