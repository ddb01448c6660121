"""A process that makes calls one after another, and is replaced when one of them ends it.

Comes in: calls. Goes out: their outcomes, and how far they are. The process is spawned at the first
call, keeps what it has compiled and opened for the next, and ends when it has nothing to do, when a
call has left it large, or when the process that started it is gone.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from typing import Any

from lt_onnx.cluster.calls import MAX_DEATHS, Call, Failure, Outcome, died
from lt_onnx.cores import share_heap
from lt_onnx.errors import LtOnnxError, ResourceError, is_interrupt
from lt_onnx.progress import Progress

IDLE_SECONDS = 60.0  # until a process without calls ends
CLEANUP_SECONDS = 10.0  # that an interrupted call has
LOOK_SECONDS = 0.2  # from one look at whether a call is still wanted to the next
TELL_SECONDS = 0.25  # from one word on how far a call is to the next
MAX_KEPT_BYTES = 1 << 30  # of a process that is used again
THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")

_starting = threading.Lock()


class Interrupted(BaseException):  # no error, as KeyboardInterrupt is none
    """A call that is not wanted any more, and has cleaned up."""


class Process:
    """One process for calls, `threads` threads in each; None: as the environment says.

    One thread at a time may use it.
    """

    def __init__(self, threads: int | None = None) -> None:
        self.threads = threads
        self._pipe: Connection | None = None
        self._process: Any = None

    def call(
        self,
        function: Callable[..., Any],
        call: Call,
        tell: Progress,
        *,
        wanted: Callable[[], bool] = lambda: True,
    ) -> Outcome:
        """The outcome of `function(*call.arguments, progress)`.

        Where its process dies it is made again, `MAX_DEATHS` times in all. Raises Interrupted when
        it is no longer `wanted`, and what interrupts the caller; both once the call has ended.
        """
        try:
            code: int | None = None
            for _ in range(MAX_DEATHS):
                if not wanted():
                    raise Interrupted
                pipe = self._send((function, call))
                try:
                    return self._answer(pipe, tell, wanted)
                except (EOFError, OSError):
                    code = self._end()
            return Outcome(failure=died(code))
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """End the process; a call under way is interrupted, and cleans up."""
        if self._process is not None:
            self._process.terminate()
            self._end()

    def _send(self, request: tuple[Any, ...]) -> Connection:
        """Give the process a request; a new one, where there is none that takes it."""
        if self._pipe is not None and self._process.is_alive():
            with contextlib.suppress(OSError):  # it has just ended, for want of calls
                self._pipe.send(request)
                return self._pipe
        self._end()
        pipe, theirs = multiprocessing.Pipe()
        _allow_children()  # as Dask's workers have none
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(theirs,), daemon=True
        )
        with _environment(self.threads), _no_interrupts():
            process.start()
        theirs.close()
        self._pipe, self._process = pipe, process
        pipe.send(request)
        return pipe

    def _answer(self, pipe: Connection, tell: Progress, wanted: Callable[[], bool]) -> Outcome:
        """Wait for the outcome. Raises EOFError or OSError when the process is gone."""
        while True:
            while not pipe.poll(LOOK_SECONDS):
                if not wanted():
                    raise Interrupted
            message = pipe.recv()
            if isinstance(message[0], Outcome):
                outcome: Outcome = message[0]
                ends: bool = message[1]
                if ends:
                    self._end()
                return outcome
            tell(*message)

    def _end(self) -> int | None:
        """Wait for the process to end; its exit code."""
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if process is None:
            return None
        process.join(CLEANUP_SECONDS)
        if process.exitcode is None:
            process.kill()
            process.join()
        if pipe is not None:
            pipe.close()
        return int(process.exitcode)


def _allow_children() -> None:
    """Let this process start others, which end with it, even where it is to end with its parent."""
    if multiprocessing.current_process().daemon:
        multiprocessing.current_process().daemon = False


@contextlib.contextmanager
def _environment(threads: int | None) -> Iterator[None]:
    """Let a process be started with so many threads: libraries read it when they are loaded."""
    if threads is None:
        yield
        return
    with _starting:
        before = {name: os.environ.get(name) for name in THREADS}
        os.environ.update(dict.fromkeys(THREADS, str(threads)))
        try:
            yield
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


@contextlib.contextmanager
def _no_interrupts() -> Iterator[None]:
    """Let a process be started that hears no interrupt until it has said what becomes of them."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)


# in the process -------------------------------------------------------------------------------


def serve(pipe: Connection) -> None:
    """Make the calls that come, until there are none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's: the parent ends this process
    signal.signal(signal.SIGTERM, _interrupt)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    share_heap()
    _allow_children()  # reading a file forks one
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (1, 2):  # what libraries say there is nobody's to read
        os.dup2(null, stream)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with contextlib.suppress(
        EOFError, OSError, KeyboardInterrupt
    ):  # the parent is gone, or ends it
        while pipe.poll(IDLE_SECONDS):
            function, call = pipe.recv()
            outcome = _made(function, call, _told(pipe))
            pipe.send((outcome, ends := _kept_bytes() > MAX_KEPT_BYTES))
            if ends:
                break


def _interrupt(*_: object) -> None:
    """Raise KeyboardInterrupt, once."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _end_with_parent() -> None:
    """Be interrupted as soon as the process that started this one is gone, killed outright too."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)


def _made(function: Callable[..., Any], call: Call, tell: Progress) -> Outcome:
    """Make one call. Raises KeyboardInterrupt alone."""
    try:
        with warnings.catch_warnings():
            # numbers past float32 are an error that names its layer, or a failed check
            warnings.simplefilter("ignore", RuntimeWarning)
            os.chdir(call.folder)
            return Outcome(function(*call.arguments, tell))
    except LtOnnxError as error:
        return Outcome(failure=Failure(type(error).__name__, str(error), error.exit_code))
    except MemoryError:
        said = "out of memory: lower `base_size`; `mode=2l` needs least"
        return Outcome(failure=Failure("MemoryError", said, ResourceError.exit_code))
    except Exception as error:
        if is_interrupt(error):
            raise KeyboardInterrupt from error
        kind = type(error).__name__
        return Outcome(failure=Failure(kind, f"{kind}: {error}"))


def _told(pipe: Connection) -> Progress:
    """Tell the parent how far a call is: every stage, and within one not too often."""
    last, told = "", 0.0

    def tell(stage: str, share: float) -> None:
        nonlocal last, told
        now = time.monotonic()
        if stage != last or now - told >= TELL_SECONDS:
            last, told = stage, now
            with contextlib.suppress(OSError):  # the parent is gone, which ends this process
                pipe.send((stage, share))

    return tell


def _kept_bytes() -> int:
    """Memory that this process holds; 0 where the system does not say."""
    if sys.platform != "linux":
        return 0
    with open("/proc/self/statm") as stream:
        return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
