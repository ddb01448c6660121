"""Work on arrays shared among threads, in pieces.

Compiled code that releases the interpreter's lock is as fast so as a loop that the compiler makes
parallel, and is compiled in half the time.
"""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from itertools import pairwise
from threading import local

from lt_onnx.cores import thread_count

PIECES = 8  # of the work, for every thread: some take longer
_own = local()  # what a thread of a pool marks itself with


def solver_threads() -> int:
    """Threads of compiled code: as NUMBA_NUM_THREADS says, or one a core."""
    return thread_count("NUMBA_NUM_THREADS")


def share(count: int, work: Callable[[int, int], object], *, least: int = 1) -> None:
    """Call `work` on all threads with (start, stop), pieces of 0 … count of `least` or more."""
    threads = solver_threads()
    pieces = min(threads * PIECES, count // least)
    if threads == 1 or pieces < 2 or hasattr(_own, "of_pool"):
        if count:
            work(0, count)
        return
    ends = [piece * count // pieces for piece in range(pieces + 1)]
    parts = [_pool(threads).submit(work, start, stop) for start, stop in pairwise(ends)]
    try:
        for part in parts:
            part.result()
    finally:  # nothing goes on with the caller's arrays
        for part in parts:
            part.cancel()
        wait(parts)


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    """Threads that stay: to start them takes as long as to solve thousands of problems."""
    return ThreadPoolExecutor(threads, initializer=lambda: setattr(_own, "of_pool", True))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # which has none of its parent's threads
