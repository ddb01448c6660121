"""How much runs at a time: processors that this process may use, and threads that share work.

Compiled code that releases the interpreter's lock is as fast shared so as a loop that the compiler
makes parallel, and is compiled in half the time.
"""

import ctypes
import math
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager, suppress
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from threading import local
from typing import TypeVar

from threadpoolctl import threadpool_limits

T = TypeVar("T")

PIECES = 8  # of shared work, for every thread: some take longer
M_ARENA_MAX = -8  # of glibc's mallopt
GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
_own = local()  # what a thread of a pool marks itself with


def core_count() -> int:
    """Processors that this process may use, which taskset and containers can make fewer."""
    allowed = hasattr(os, "sched_getaffinity")
    there = len(os.sched_getaffinity(0)) if allowed else os.cpu_count() or 1
    return max(int(min(group_quota(), there)), 1)


@cache
def group_quota(groups: Path = GROUPS, own: Path = OWN_GROUPS) -> float:
    """Processors' time that this process's control groups may use; infinity without a limit."""
    quota = math.inf
    with suppress(OSError, ValueError):
        for line in own.read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            if controllers and "cpu" not in controllers.split(","):
                continue
            mounts = [groups] if not controllers else [groups / "cpu", groups / controllers]
            for mount in mounts:
                place = mount / path.lstrip("/")
                for folder in (place, *place.parents):
                    if folder.is_relative_to(mount):
                        quota = min(quota, _quota_of(folder))
    return quota


def _quota_of(folder: Path) -> float:
    """The processors of one control group, of version 2 or 1."""
    with suppress(OSError, ValueError):
        part, whole = (folder / "cpu.max").read_text().split()
        return int(part) / int(whole)
    with suppress(OSError, ValueError):
        part, whole = ((folder / f"cpu.cfs_{n}_us").read_text() for n in ("quota", "period"))
        return int(part) / int(whole) if int(part) > 0 else math.inf
    return math.inf


def thread_count(variable: str = "OMP_NUM_THREADS") -> int:
    """Threads that may run: as the environment's `variable` says, or one a core."""
    setting = os.environ.get(variable, "")
    return int(setting) if setting.isdigit() and int(setting) else core_count()


def solver_threads() -> int:
    """Threads of compiled code: as NUMBA_NUM_THREADS says, or one a core."""
    return thread_count("NUMBA_NUM_THREADS")


def share(count: int, work: Callable[[int, int], object], *, least: int = 1) -> None:
    """Call `work` on all threads with (start, stop), pieces of 0 … count of `least` or more."""
    threads = solver_threads()
    pieces = min(threads * PIECES, count // least)
    if threads == 1 or pieces < 2 or hasattr(_own, "of_pool"):
        pieces = min(count, 1)
    ends = [piece * count // max(pieces, 1) for piece in range(pieces + 1)]
    spread([partial(work, start, stop) for start, stop in pairwise(ends)], threads)


def spread(calls: Iterable[Callable[[], T]], threads: int) -> list[T]:
    """What the calls return, in their order, made on so many threads.

    One after another where there is but one, or this is a thread of such work itself. Raises what
    the first call that fails does, when no other is under way.
    """
    calls = list(calls)
    if threads < 2 or len(calls) < 2 or hasattr(_own, "of_pool"):
        return [call() for call in calls]
    parts = [_pool(threads).submit(call) for call in calls]
    try:
        return [part.result() for part in parts]
    finally:  # nothing goes on with the caller's arrays
        for part in parts:
            part.cancel()
        wait(parts)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: to start them takes as long as to solve thousands of problems."""
    return ThreadPoolExecutor(threads, initializer=lambda: setattr(_own, "of_pool", True))


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """NumPy's products of matrices take one thread until the block or function ends.

    They are small. Two threads wait for one another longer than they compute: a tenth of a
    conversion on idle processors, a thousand times a product where other processes run. And what a
    product comes to, in its last bits, would depend on how many there are.
    """
    with threadpool_limits(limits=1, user_api="blas"):
        yield


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # which has none of its parent's threads


def share_heap() -> None:
    """Let all threads to come share one heap: of many, each keeps what was freed in it.

    Only where the C library is glibc: others have no such heaps. For a process of one's own.
    """
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
