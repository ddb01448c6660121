"""Foreign compiled code on foreign data, in a process of its own where the system can fork.

Shape inference aborts on some sizes, a runtime on a division by zero, both can ask for any amount
of memory: a file must not end the process that reads it. The helper process is forked at the first
call, serves all that follow, and is replaced when a file ends it.
"""

import contextlib
import os
import pickle
import signal
import threading
from collections.abc import Callable
from multiprocessing import get_all_start_methods, get_context
from multiprocessing.connection import Connection
from typing import ParamSpec, TypeVar

from lt_onnx.errors import InputError

SECONDS = 20  # that a call may take
BYTES = 1 << 30  # that it may take on top of what is there …
TIMES = 12  # … and so many times what it is given

P = ParamSpec("P")
T = TypeVar("T")
_lock = threading.Lock()


class _Helper:
    """The process, seen from this side."""

    def __init__(self) -> None:
        context = get_context("fork")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs, self.pipe), daemon=True)
        self.process.start()
        theirs.close()
        self.owner = os.getpid()

    def end(self) -> None:
        self.pipe.close()
        self.process.kill()
        self.process.join()


_helper: _Helper | None = None


def guarded(work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """What `work` gives. It and what it is given are pickled: a function of a module, plain values.

    Raises the InputError that it raises, and InputError when it crashes or takes too much.
    """
    global _helper
    if "fork" not in get_all_start_methods():
        return work(*given, **named)
    with _lock:
        if _helper is None or _helper.owner != os.getpid():
            _helper = _Helper()
        try:
            _helper.pipe.send((work, given, named))
            good, answer = _helper.pipe.recv()
        except (EOFError, OSError):
            _helper.end()
            _helper = None
            raise InputError("sizes in it overflow, or are beyond all measure") from None
        except BaseException:  # interrupted: the answer to come would be taken for the next one
            _helper.end()
            _helper = None
            raise
    if not good:
        raise InputError(answer)
    made: T = answer
    return made


def _serve(pipe: Connection, theirs: Connection) -> None:
    """The helper's life."""
    theirs.close()
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
        _limit(BYTES + TIMES * size)
        signal.alarm(SECONDS + (size >> 26))
        pipe.send(_answer(request))
        signal.alarm(0)


def _answer(request: bytes) -> tuple[bool, object]:
    work, given, named = pickle.loads(request)
    try:
        return True, work(*given, **named)
    except InputError as error:
        return False, str(error)
    except MemoryError:
        os._exit(1)


def _limit(more: int) -> None:
    with contextlib.suppress(ImportError, OSError, ValueError):
        import resource

        with open("/proc/self/statm") as stream:
            taken = int(stream.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        resource.setrlimit(resource.RLIMIT_AS, (taken + more, hard))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
