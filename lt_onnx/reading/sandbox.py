"""Foreign compiled code on foreign data, in a process of its own on Linux.

Shape inference aborts on some sizes, a runtime on a division by zero, both can ask for any amount
of memory: a file must not end the process that reads it. The worker process is forked at the first
call, serves all that follow, and is replaced when a file ends it. Windows cannot fork, and on macOS
a fork may not use what the system's libraries do in threads: there the code runs in this process.
"""

import contextlib
import os
import pickle
import signal
import sys
import threading
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

from lt_onnx.errors import InputError, LtOnnxError

MAX_SECONDS = 20  # of a call, and one more for every …
BYTES_PER_SECOND = 1 << 26  # … of its request
MAX_BYTES = 1 << 30  # that a call may allocate …
REQUEST_MULTIPLE = 12  # … apart from so many times its request

P = ParamSpec("P")
T = TypeVar("T")
_lock = threading.Lock()


class _Worker:
    """The worker process, as its parent has it."""

    def __init__(self) -> None:
        context = get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.pipe), daemon=True)
        self.process.start()
        theirs.close()
        self.owner = os.getpid()

    def serves(self) -> bool:
        """Whether it is this process's, and nothing has ended it since its last answer."""
        return self.owner == os.getpid() and self.process.is_alive()

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


_worker: _Worker | None = None


def guarded(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What `work` returns. It and its arguments are pickled: a module's function, plain values.

    Raises InputError for an error that it raises, and when it crashes or takes too much.
    """
    global _worker
    if sys.platform != "linux":
        return work(*args, **kwargs)
    with _lock:
        if _worker is None or not _worker.serves():
            _worker = _Worker()
        try:
            _worker.pipe.send((work, args, kwargs))
            succeeded, answer = _worker.pipe.recv()
        except BaseException as error:
            _worker.end()  # after an interrupt its answer would be taken for the next one
            _worker = None
            if isinstance(error, EOFError | OSError):
                raise InputError("sizes in it overflow, or are beyond all measure") from None
            raise
    if not succeeded:
        raise InputError(answer)
    result: T = answer
    return result


def _serve(pipe: Connection, parents: Connection) -> None:
    """Answer the parent's requests until it closes the pipe; runs in the worker."""
    parents.close()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    for number in (signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, signal.SIG_DFL)
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    while True:
        try:
            size = len(request := pipe.recv_bytes())
        except (EOFError, OSError):
            os._exit(0)
        _limit_memory(MAX_BYTES + REQUEST_MULTIPLE * size)
        signal.alarm(MAX_SECONDS + size // BYTES_PER_SECOND)
        pipe.send(_answer(request))
        signal.alarm(0)


def _answer(request: bytes) -> tuple[bool, object]:
    """Whether a call succeeded, and its result or the message of its error."""
    work, args, kwargs = pickle.loads(request)
    try:
        return True, work(*args, **kwargs)
    except LtOnnxError as error:
        return False, str(error)
    except MemoryError:
        os._exit(1)


def _limit_memory(more: int) -> None:
    """Let this process allocate `more` bytes than it has, and dump no core."""
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm") as stream:
            taken = int(stream.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (taken + more, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
