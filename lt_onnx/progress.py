"""How far a long call is, as bars with the time left, and where its time went.

Comes in: (stage, share done). Goes out: on a terminal or in a notebook a bar for each stage;
seconds by stage.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias

Progress: TypeAlias = Callable[[str, float], None]  # (stage, share done)


def silent(*_: object) -> None:
    """Tell nobody."""


@contextmanager
def bars() -> Iterator[Progress]:
    """Bars on stderr, or below a notebook's cell, that go when the block ends.

    Nothing is drawn where stderr is no terminal.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    if not (console.is_terminal or console.is_jupyter):
        yield silent
        return
    stages: dict[str, Any] = {}
    with Progress(
        TextColumn("{task.description:9}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    ) as drawn:

        def tell(stage: str, share: float) -> None:
            if stage not in stages:
                stages[stage] = drawn.add_task(stage, total=1.0)
            drawn.update(stages[stage], completed=share)

        yield tell


@contextmanager
def rows(
    total: int,
) -> Iterator[tuple[Callable[[str, str, float | None], None], Callable[[str], None]]]:
    """Rows on stderr for pieces of work that are under way, and one for all `total` of them.

    Yields what is told (name, stage, share done) of one, or without a name of all, and what is told
    that one has ended.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    left: dict[str, tuple[Any, str]] = {}
    columns = (TextColumn("{task.fields[stage]:9}"), BarColumn(20), TimeRemainingColumn())
    with Progress(
        TextColumn("{task.description}", markup=False),
        *columns,
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    ) as drawn:
        every = drawn.add_task("all", total=total, stage=f"0 of {total}")
        ended = 0

        def tell(name: str, stage: str, share: float | None) -> None:
            row, before = left.get(name, (None, ""))
            if not name and share is not None:
                drawn.update(every, stage=f"{stage} {100 * share:.0f} %")
                return
            if row is None:
                row = drawn.add_task(name, total=1.0, stage=stage)
            elif stage != before:
                drawn.reset(row, stage=stage)
            left[name] = row, stage
            drawn.update(row, completed=share)

        def end(name: str) -> None:
            nonlocal ended
            ended += 1
            drawn.update(every, completed=ended, stage=f"{ended} of {total}")
            if name in left:
                drawn.remove_task(left.pop(name)[0])

        yield tell, end


@contextmanager
def told(progress: Progress | bool) -> Iterator[Progress]:
    """Who is told how far a call is: True stands for bars, False for nobody."""
    if progress is True:
        with bars() as tell:
            yield tell
    else:
        yield progress or silent


@dataclass
class Stopwatch:
    """Seconds spent in each stage; stages may be entered many times, never one inside another."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        """Count the time of the `with` block towards `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start
