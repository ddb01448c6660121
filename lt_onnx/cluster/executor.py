"""Who makes the calls that `Workers` ask for: a process apart, or those of a Dask cluster."""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from lt_onnx.cluster.calls import Call, Executor, Outcome, Told
from lt_onnx.cluster.process import Process
from lt_onnx.errors import InputError
from lt_onnx.options import Workers


@dataclass(frozen=True)
class OneProcess:
    """One call after another, in a process apart."""

    process: Process
    dashboard: str = ""

    def outcomes(
        self, function: Callable[..., Any], calls: Sequence[Call], tell: Told
    ) -> Generator[tuple[Call, Outcome], None, None]:
        """As `Executor` has it."""
        for call in calls:

            def told(stage: str, share: float, name: str = call.name) -> None:
                tell(name, stage, share)

            yield call, self.process.call(function, call, told)


def check_installed(workers: Workers) -> None:
    """Raises InputError where Dask, which more than one process needs, is not installed."""
    if workers.shared and find_spec("distributed") is None:
        asked = "workers" if workers.workers > 1 else "scheduler"
        raise InputError(f"`{asked}` needs Dask: pip install 'lt-onnx[cluster]'")


@contextmanager
def opened(workers: Workers) -> Iterator[Executor]:
    """Those who make calls, until the block ends; one process needs no cluster.

    Raises InputError where Dask is not installed, or there is no scheduler under its address.
    """
    check_installed(workers)
    if not workers.shared:
        process = Process()
        try:
            yield OneProcess(process)
        finally:
            process.close()
        return
    from lt_onnx.cluster.dask_workers import connected

    with connected(workers) as executor:
        yield executor
