"""Work in another process: its result, its errors, its end."""

import os
import signal

import pytest

from lt_onnx.errors import InputError, ResourceError
from lt_onnx.reading import sandbox
from lt_onnx.reading.sandbox import guarded


def add(a: int, *, b: int) -> tuple[int, int]:
    return a + b, os.getpid()


def fail(kind: type[Exception]) -> None:
    raise kind("what was said")


def end(code: int) -> None:
    os._exit(code)


def allocate(size: int) -> int:
    return len(bytearray(size))


def test_a_call_runs_elsewhere_and_the_process_is_kept() -> None:
    (first, one), (second, two) = guarded(add, 1, b=2), guarded(add, 3, b=4)

    assert (first, second) == (3, 7)
    assert one == two != os.getpid()


@pytest.mark.parametrize("kind", [InputError, ResourceError])
def test_errors_of_the_work_come_back(kind: type[Exception]) -> None:
    with pytest.raises(InputError, match="what was said"):
        guarded(fail, kind)


@pytest.mark.parametrize("code", [0, 3])
def test_a_process_that_ends_is_an_error_and_is_replaced(code: int) -> None:
    with pytest.raises(InputError, match="beyond all measure"):
        guarded(end, code)
    assert guarded(add, 1, b=1)[0] == 2


def test_a_process_that_was_killed_since_is_replaced() -> None:
    _, pid = guarded(add, 1, b=2)
    os.kill(pid, signal.SIGKILL)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert guarded(add, 3, b=4)[0] == 7


def test_memory_is_bounded() -> None:
    assert guarded(allocate, 1 << 20) == 1 << 20
    with pytest.raises(InputError, match="beyond all measure"):
        guarded(allocate, 2 * sandbox.MAX_BYTES)
