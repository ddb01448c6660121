"""How faithful tickets of different sizes are: tickets of many settings, and the best by size."""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lt_onnx.api import convert
from lt_onnx.options import Options


@dataclass(frozen=True)
class Point:
    """One ticket: its setting, its size and how faithful it is. Means over seeds."""

    mode: str
    base_size: int | None  # None: each block has its own
    sqnr: float  # the promise, in decibels, where there is …
    price: float | None  # … no price
    per_target_weight: float
    kept: float
    dense_bytes: int  # of the ticket's weights, zeros included
    parameters: int  # of the target that stay dense
    sqnr_db: float  # of the variation of the worst output
    agreement: float | None
    accuracy: float | None
    target_accuracy: float | None
    seconds: float
    best: bool = False  # no smaller ticket of its mode is as faithful


def measure_points(
    target: Path, settings: Sequence[Options], *, seeds: int, **words: Any
) -> Iterator[Point]:
    """Make, prove and validate tickets of every setting, as many as `seeds`.

    `words` go to `convert`, and so do its errors. Tickets lie in a temporary folder, one at a time.
    """
    for options in settings:
        reports = []
        for seed in range(seeds):
            with tempfile.TemporaryDirectory() as folder:
                ticket = convert(
                    target,
                    Path(folder) / "ticket.onnx",
                    mode=options.mode,
                    base_size=options.base_size,
                    sqnr=options.sqnr,
                    price=options.price,
                    seed=seed,
                    **words,
                )
            reports.append(ticket.report)
        compared = [report.fidelity for report in reports if report.fidelity is not None]
        outputs = [fidelity.outputs for fidelity in compared]
        first = reports[0]
        yield Point(
            mode=options.mode.value,
            base_size=options.base_size,
            sqnr=options.sqnr,
            price=options.price,
            per_target_weight=sum(r.per_target_weight for r in reports) / seeds,
            kept=sum(r.kept for r in reports) / seeds,
            dense_bytes=first.weight_bytes,
            parameters=sum(place.parameters for place in first.dense),
            sqnr_db=_mean(one.worst("variation_db") for one in compared) or math.inf,
            agreement=_mean(out.agreement for every in outputs for out in every),
            accuracy=_mean(out.ticket_accuracy for every in outputs for out in every),
            target_accuracy=_mean(out.target_accuracy for every in outputs for out in every),
            seconds=sum(sum(r.seconds.values()) for r in reports) / seeds,
        )


def frontier(points: Sequence[Point]) -> list[Point]:
    """The points by size; `best` are those that no smaller one of their mode is as faithful as."""
    marked: list[Point] = []
    for mode in {point.mode for point in points}:
        of_mode = [point for point in points if point.mode == mode]
        best = leading(of_mode, lambda point: point.per_target_weight)
        marked += [replace(point, best=point in best) for point in of_mode]
    return sorted(marked, key=lambda p: (p.per_target_weight, -p.sqnr_db, p.mode))


def leading(points: Sequence[Point], size: Callable[[Point], float]) -> list[Point]:
    """Those that no other one of the same `size` or less is as faithful as, by size."""
    best: list[Point] = []
    for point in sorted(points, key=lambda p: (size(p), -p.sqnr_db)):
        if not best or point.sqnr_db > best[-1].sqnr_db:
            best.append(point)
    return best


def _mean(values: Iterable[float | None]) -> float | None:
    numbers = [value for value in values if value is not None]
    return sum(numbers) / len(numbers) if numbers else None
