"""What a call is, and what becomes of it.

A call's function is one of a module, its arguments are values that pickle, and its last argument is
a `Progress` to tell how far it is. It may be made again where the process that made it died.
"""

import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from lt_onnx.errors import InputError, LtOnnxError, ResourceError

MAX_DEATHS = 3  # of processes that made a call, until it is given up

# (name of a call, stage, share done); the share is None of a call that has to wait
Told: TypeAlias = Callable[[str, str, float | None], None]


@dataclass(frozen=True)
class Call:
    """The arguments of one call, the name it is told by, and the bytes of memory it takes.

    `size` are the bytes of its arguments, where they are many. Paths among them may be relative to
    `folder`, where it is made.
    """

    name: str
    arguments: tuple[Any, ...]
    memory: int = 0
    size: int = 0
    folder: str = field(default_factory=os.getcwd)


@dataclass(frozen=True)
class Failure:
    """Why a call returned nothing: the class of its error, a line, and the exit code of that."""

    kind: str
    message: str
    exit_code: int = 2

    def as_error(self) -> LtOnnxError:
        """The error to raise for it."""
        kind = ResourceError if self.exit_code == ResourceError.exit_code else InputError
        return kind(self.message)


@dataclass(frozen=True)
class Outcome:
    """What a call returned, or why it did not."""

    result: Any = None
    failure: Failure | None = None


class Executor(Protocol):
    """Those who make calls."""

    @property
    def dashboard(self) -> str:
        """Address of a page that shows what they do; empty where there is none."""

    def outcomes(
        self, function: Callable[..., Any], calls: Sequence[Call], tell: Told
    ) -> Generator[tuple[Call, Outcome], None, None]:
        """Make the calls, in about this order, and yield what becomes of each as it ends.

        One that takes more memory than any worker has waits for a larger one to join.
        When the iterator is closed, or interrupted, the calls under way are interrupted too, and
        have cleaned up before that returns. Raises ResourceError when the cluster is lost.
        """


def died(exit_code: int | None) -> Failure:
    """The failure of a call that ended every process that made it."""
    killed = exit_code is not None and exit_code < 0
    how = f"killed by signal {-(exit_code or 0)}" if killed else f"ended by exit code {exit_code}"
    return Failure("Death", f"its process was {how}, {MAX_DEATHS} times", ResourceError.exit_code)
