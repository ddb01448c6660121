"""Calls on the workers of a Dask cluster: one at a time on each, in a process of its own.

Comes in: calls. Goes out: their outcomes. Dask carries calls and what they tell, knows which
workers there are, and gives a call whose worker is lost to another one. Which worker makes a call
is decided here: one that makes none and has the memory.
"""

import contextlib
import logging
import queue
import secrets
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, TypeAlias

from distributed import Client, Future, KilledWorker, LocalCluster, get_worker
from distributed.system import MEMORY_LIMIT

from lt_onnx.cluster.calls import MAX_DEATHS, Call, Failure, Outcome, Told
from lt_onnx.cluster.process import CLEANUP_SECONDS, Interrupted, Process
from lt_onnx.cores import thread_count
from lt_onnx.errors import InputError, ResourceError
from lt_onnx.files import check_file
from lt_onnx.options import Workers
from lt_onnx.units import size_text
from lt_onnx.version import __version__

CONNECT_SECONDS = 10  # to find a scheduler
STARTS = 6  # of a cluster on a machine that is busy
POLL_SECONDS = 0.5  # from one look at the cluster's workers to the next
JOIN_SECONDS = 300.0  # since a worker joined, or made a call, that a larger one is waited for
DRAWN = find_spec("bokeh") is not None  # else there is no page at the dashboard's address
LARGE_BYTES = 1 << 20  # of arguments that go to a worker apart from their call
ENDED = ""  # the stage of a call that has ended

Running: TypeAlias = dict[Future[Any], tuple[Call, str]]  # and on which worker

# on this machine's workers, by their addresses: two clients may share one
_processes: dict[str, tuple[threading.Lock, Process]] = {}


@contextlib.contextmanager
def connected(workers: Workers) -> Iterator["DaskExecutor"]:
    """The workers of a scheduler, or as many as are asked for on this machine.

    Raises InputError where there is no scheduler, ResourceError where no worker starts.
    """
    with contextlib.ExitStack() as stack:
        if workers.elsewhere:
            client = stack.enter_context(_client_of(workers))
            yield DaskExecutor(client, None, client.dashboard_link or "")
            return
        cluster = stack.enter_context(_local_cluster(workers.workers))
        client = stack.enter_context(Client(cluster))
        stack.callback(_end_processes)
        room = MEMORY_LIMIT if workers.memory is None else workers.memory
        yield DaskExecutor(client, room, client.dashboard_link if DRAWN else "")


def _local_cluster(count: int) -> LocalCluster:
    """`count` workers in this process: what they convert in are processes of their own.

    Raises ResourceError where the machine is so busy that they do not start.
    """
    for _ in range(STARTS):
        with contextlib.suppress(AssertionError):  # its thread has ten seconds to start
            return LocalCluster(
                n_workers=count,
                threads_per_worker=max(thread_count() // count, 1),
                processes=False,
                memory_limit=0,
                dashboard_address="127.0.0.1:0",
                silence_logs=logging.CRITICAL,  # of calls that an interrupt ends
            )
    raise ResourceError("this machine is too busy for workers to start: try again later")


def _client_of(workers: Workers) -> Client:
    """A client of the cluster that is asked for. Raises InputError."""
    file = workers.scheduler_file
    if file is not None:
        check_file(file)  # which Dask would wait for
    where, path = workers.scheduler or file, None if file is None else str(file)
    try:
        return Client(workers.scheduler, scheduler_file=path, timeout=CONNECT_SECONDS)
    except Exception as error:  # of whatever a file or an address that is none leads to
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(f"{where}: there is no Dask scheduler to be reached: {said}") from None


@dataclass
class DaskExecutor:
    """The workers of a cluster; `room` is the memory of all their calls, where they share one."""

    client: Client
    room: int | None
    dashboard: str
    heard: "queue.SimpleQueue[Any]" = field(default_factory=queue.SimpleQueue)

    def outcomes(
        self, function: Callable[..., Any], calls: Sequence[Call], tell: Told
    ) -> Generator[tuple[Call, Outcome], None, None]:
        """As `Executor` has it."""
        waiting, running, awaited = deque(calls), Running(), set[tuple[str, str]]()
        lost = Counter[str]()  # calls, with the worker that their arguments had gone to
        there, deadline = frozenset[str](), time.monotonic() + JOIN_SECONDS
        topic = f"lt-onnx-{secrets.token_hex(8)}"
        self.client.subscribe_topic(topic, lambda event: self.heard.put(event[1]))
        try:
            while waiting or running:
                limits, now = self._limits(), time.monotonic()
                if running or limits.keys() - there:
                    there, deadline = frozenset(limits), now + JOIN_SECONDS
                for large in self._submit(function, waiting, running, limits=limits, topic=topic):
                    said = large.name, _awaited(large.memory, limits)
                    if limits and now > deadline:
                        waiting.remove(large)
                        yield large, Outcome(failure=_too_large(large.memory, limits))
                    elif said not in awaited:
                        awaited.add(said)
                        tell(*said, None)
                for message in self._messages():
                    if isinstance(message, Future):
                        call, _ = running.pop(message, (None, ""))
                        outcome = None if call is None else self._outcome(message)
                        if call is not None and outcome is not None:
                            yield call, outcome
                        elif call is not None:
                            lost[call.name] += 1
                            if lost[call.name] < MAX_DEATHS:
                                waiting.append(call)
                            else:
                                why = f"its workers were lost, {MAX_DEATHS} times"
                                failure = Failure("Death", why, ResourceError.exit_code)
                                yield call, Outcome(failure=failure)
                    elif message[1] != ENDED:
                        tell(*message)
        finally:
            self._interrupt(running)
            self.client.unsubscribe_topic(topic)

    def _submit(
        self,
        function: Callable[..., Any],
        waiting: deque[Call],
        running: Running,
        *,
        limits: Mapping[str, float],
        topic: str,
    ) -> list[Call]:
        """Give calls to workers that make none, as far as memory goes; those too large for all.

        `limits` is the memory of each worker, by address; without any the first call is too large.
        """
        if not limits:
            return list(waiting)[:1]
        taken, too_large = {address for _, address in running.values()}, []
        used = sum(call.memory for call, _ in running.values())
        for call in list(waiting):
            if call.memory > max(limits.values()):
                too_large.append(call)
                continue
            # what takes more than all memory is made alone, as without a cluster
            fits = self.room is None or not running or used + call.memory <= self.room
            idle = [a for a, limit in limits.items() if a not in taken and call.memory <= limit]
            if not (idle and fits):
                continue
            address = min(idle, key=lambda a: limits[a])
            work: Any = function, call
            if call.size > LARGE_BYTES:  # else schedulers keep them, to look back at
                try:
                    work = self.client.scatter([work], workers=[address], hash=False)[0]
                except Exception:  # that worker is lost, or all are: see `_limits`
                    continue
            waiting.remove(call)
            future = self.client.submit(
                _on_worker,
                work,
                topic,
                __version__,
                workers=[address],
                allow_other_workers=True,  # where that one is lost
                pure=False,
            )
            running[future] = call, address
            taken.add(address)
            used += call.memory
            future.add_done_callback(self.heard.put)
        return too_large

    def _limits(self) -> dict[str, float]:
        """The memory of every worker that there is now. Raises ResourceError."""
        if self.client.status != "running":
            raise _lost()
        workers: Mapping[str, Any] = self.client.scheduler_info(n_workers=-1)["workers"]
        return {
            address: float("inf") if self.room else about["memory_limit"] or float("inf")
            for address, about in workers.items()
        }

    def _messages(self) -> Iterator[Any]:
        """What has been heard: at once all that there is, or what comes before the next look."""
        with contextlib.suppress(queue.Empty):
            yield self.heard.get(timeout=POLL_SECONDS)
            while True:
                yield self.heard.get_nowait()

    def _outcome(self, future: Future[Any]) -> Outcome | None:
        """What became of a call; None: it was lost with its arguments, and the worker of these.

        Raises ResourceError when the scheduler is gone.
        """
        try:
            outcome: Outcome = future.result()
        except KilledWorker as error:
            said = str(error).splitlines()[0]
            return Outcome(failure=Failure("Death", said, ResourceError.exit_code))
        except Exception as error:
            if future.status != "error":  # it was not the call that failed
                if self.client.status != "running":
                    raise _lost() from None
                return None
            return Outcome(failure=Failure(type(error).__name__, f"on a worker: {error!r}"))
        return outcome

    def _interrupt(self, running: Running) -> None:
        """Interrupt calls, and wait until they have cleaned up."""
        if not running or self.client.status != "running":
            return
        names = {call.name for call, _ in running.values()}
        self.client.cancel(list(running))
        deadline = time.monotonic() + CLEANUP_SECONDS
        while names and time.monotonic() < deadline:
            for message in self._messages():
                if not isinstance(message, Future) and message[1] == ENDED:
                    names.discard(message[0])


def _lost() -> ResourceError:
    return ResourceError(
        "the connection to the Dask scheduler is lost; what is finished stays, and the same "
        "command goes on from there"
    )


def _awaited(memory: int, limits: Mapping[str, float]) -> str:
    """What a call waits for."""
    return f"waits for a worker with {size_text(memory)}" if limits else "waits for a worker"


def _too_large(memory: int, limits: Mapping[str, float]) -> Failure:
    """Why no worker makes a call."""
    largest = size_text(max(limits.values()))
    needed = f"about {size_text(memory)} of memory are needed, the workers have {largest}"
    said = f"{needed}: lower `base_size`; `mode=2l` needs least"
    return Failure("ResourceError", said, ResourceError.exit_code)


def _end_processes() -> None:
    """End the processes of all workers that live in this one."""
    while _processes:
        _processes.popitem()[1][1].close()


# on a worker ----------------------------------------------------------------------------------


def _on_worker(work: tuple[Callable[..., Any], Call], topic: str, version: str) -> Outcome:
    """Make a call of a function in this worker's process; runs in a thread of the worker."""
    function, call = work
    worker: Any = get_worker()
    if version != __version__:
        said = f"{worker.address}: has lt-onnx {__version__}; give all workers {version}"
        return Outcome(failure=Failure("InputError", said))
    key = worker.get_current_task()

    def tell(stage: str, share: float) -> None:
        worker.log_event(topic, (call.name, stage, share))

    def wanted() -> bool:
        task = worker.state.tasks.get(key)
        return task is not None and task.state != "cancelled"

    lock, process = _processes.setdefault(
        worker.address, (threading.Lock(), Process(worker.state.nthreads))
    )
    try:
        with lock:
            return process.call(function, call, tell, wanted=wanted)
    except Interrupted:
        return Outcome(failure=Failure("Interrupted", "interrupted"))
    finally:
        tell(ENDED, 1.0)
