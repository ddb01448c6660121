"""How far a long call is, as bars with the time left.

Comes in: (stage, share done). Goes out: on a terminal or in a notebook a bar for each stage.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
def told(progress: Progress | bool) -> Iterator[Progress]:
    """Who is told how far a call is: True stands for bars, False for nobody."""
    if progress is True:
        with bars() as tell:
            yield tell
    else:
        yield progress or silent
