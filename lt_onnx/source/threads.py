"""Work on arrays shared among threads, in pieces.

Compiled code that releases the interpreter's lock is as fast so as a loop that the compiler makes
parallel, and is compiled in half the time.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from lt_onnx.cores import thread_count

PIECES = 8  # of the work, for every thread: some take longer


def solver_threads() -> int:
    """Threads of compiled code: as NUMBA_NUM_THREADS says, or one a core."""
    return thread_count("NUMBA_NUM_THREADS")


def share(count: int, work: Callable[[int, int], object], *, least: int = 1) -> None:
    """Call `work` on all threads with (start, stop), pieces of 0 … count of `least` or more."""
    threads = solver_threads()
    pieces = min(threads * PIECES, count // least)
    if threads == 1 or pieces < 2:
        if count:
            work(0, count)
        return
    ends = [piece * count // pieces for piece in range(pieces + 1)]
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, ends[:-1], ends[1:]))
