"""Functions that processes of tests call: plain ones, of a module that they can import."""

import mmap
import os
import signal
import time
from multiprocessing import get_context
from pathlib import Path

from lt_onnx.cores import core_count, thread_count
from lt_onnx.errors import InputError, ResourceError
from lt_onnx.progress import Progress


def twice(number: int, tell: Progress) -> int:
    for done in range(3):
        tell("count", done / 3)
    return 2 * number


def where(tell: Progress) -> tuple[int, str | None, str | None]:
    return os.getpid(), os.environ.get("OMP_NUM_THREADS"), os.environ.get("NUMBA_NUM_THREADS")


def threads(tell: Progress) -> tuple[int, int]:
    return thread_count(), core_count()


def fail(kind: str, tell: Progress) -> None:
    errors: dict[str, BaseException] = {
        "input": InputError("`seed` is wrong"),
        "resource": ResourceError("too much"),
        "memory": MemoryError(),
        "value": ValueError("of what?"),
    }
    raise errors[kind]


def die(log: Path, times: int, tell: Progress) -> str:
    """Be killed outright, so many times."""
    with log.open("a") as stream:
        stream.write("x")
    if len(log.read_text()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return log.read_text()


def wait(log: Path, seconds: float, tell: Progress) -> int:
    """Say in a file when this begins and how it ends."""
    with log.open("a") as stream:
        stream.write(f"begin {os.getpid()}\n")
    said = "interrupted"
    try:
        tell("wait", 0.0)
        time.sleep(seconds)
        said = "end"
    finally:
        with log.open("a") as stream:
            stream.write(f"{said} {os.getpid()}\n")
    return os.getpid()


def fork(tell: Progress) -> int | None:
    process = get_context("fork").Process(target=int, daemon=True)
    process.start()
    process.join()
    return process.exitcode


held = []


def hold(count: int, tell: Progress) -> int:
    """Keep memory, of which every page is written to."""
    held.append(mmap.mmap(-1, count))
    for page in range(0, count, mmap.PAGESIZE):
        held[-1][page] = 1
    return os.getpid()
