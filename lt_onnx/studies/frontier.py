"""How faithful tickets of different sizes are: tickets of many settings, and the best by size."""

import math
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

from lt_onnx.cluster.calls import Call
from lt_onnx.cluster.rows import swept
from lt_onnx.errors import InputError
from lt_onnx.options import (
    ONE_WORKER,
    PROMISES,
    Mode,
    Options,
    Output,
    Pictures,
    Workers,
    choose,
    settings_of,
)
from lt_onnx.packing.pack import pack
from lt_onnx.pipeline import Job, predicted, run
from lt_onnx.progress import Progress, silent, told
from lt_onnx.reading.model_file import GivenModel, on_disk
from lt_onnx.report.document import Report
from lt_onnx.report.schema import Point
from lt_onnx.samples.choose import Given
from lt_onnx.samples.samples import AS_THEY_ARE
from lt_onnx.version import __version__

Setting: TypeAlias = tuple[str, int | None, float, float | None]  # mode, m, promise, price


def frontier(
    target: GivenModel,
    *,
    mode: Mode | str | None = None,
    sqnr: Sequence[float] = PROMISES,
    base_size: Sequence[int] | None = None,
    price: Sequence[float] | None = None,
    fit_scales: bool = False,
    seeds: int = 1,
    calibration: Given = None,
    samples: Given = None,
    pictures: Pictures = AS_THEY_ARE,
    workers: Workers = ONE_WORKER,
    progress: Progress | bool = False,
) -> list[Point]:
    """Measure how faithful tickets of each size are; `pandas.DataFrame` takes the rows.

    Args:
        target: path of an ONNX file, or an `onnx.ModelProto`.
        mode: `l+1` or `2l`; None: both.
        sqnr: promises, decibels of every output's variation, and no agreement; a ticket is made
            for each.
        base_size: for study, m's; None chooses them.
        price: for study, μ's, in place of promises.
        fit_scales: fit the scales of every ticket together, as `convert` does.
        seeds: tickets of every setting, whose means are taken.
        calibration: inputs for construction, as `convert` takes them.
        samples: inputs for validation, as `convert` takes them.
        pictures: how images in a folder become inputs.
        workers: who makes the tickets: more than one at a time, here or on a Dask cluster.
        progress: True draws a bar; a function is called with (stage, share done).

    Returns:
        a row for every setting, by size; `best` are those that no smaller one of their mode is as
        faithful as.

    Raises:
        InputError, UnsupportedError, ResourceError: as `convert`.
    """
    if seeds < 1:
        raise InputError(f"`seeds` is {seeds}; give 1 or more")
    chosen = None if mode is None else choose(Mode, "mode", mode)
    settings = settings_of(chosen, sqnr, base_size=base_size, price=price, fit_scales=fit_scales)
    words: dict[str, Any] = {"calibration": calibration, "samples": samples, "pictures": pictures}
    words["workers"] = workers
    points = []
    with on_disk(target) as path, told(progress) as tell:
        for point in measure_points(path, settings, seeds=seeds, **words):
            points.append(point)
            tell("tickets", len(points) / len(settings))
    return by_size(points)


def measure_points(
    target: Path,
    settings: Sequence[Options],
    *,
    seeds: int,
    known: Iterable[Point] = (),
    workers: Workers = ONE_WORKER,
    **words: Any,
) -> Iterator[Point]:
    """Make, prove and validate tickets of every setting, as many as `seeds`.

    Points that are `known` are not made again. `words` are those of a conversion (`Job`), and what
    it raises is raised. Tickets lie in a temporary folder, one at a time for each of the `workers`;
    more than one of these yield points as they come.
    """
    made = {_setting(point): point for point in known}
    left = []
    for options in settings:
        setting = options.mode.value, options.base_size, options.sqnr, options.price
        if setting in made:
            yield made[setting]
        else:
            left.append(Job(target, options, Output(), **words))
    if workers == ONE_WORKER:  # in this process
        for job in left:
            yield measure_point(job, seeds)
        return
    calls = [
        Call(str(number), (job, seeds), predicted(job).memory_bytes)
        for number, job in enumerate(left)
    ]
    for _, point in swept(measure_point, calls, workers=workers):
        yield point


def measure_point(job: Job, seeds: int, tell: Progress = silent) -> Point:
    """Make tickets of one setting."""
    reports, packed = [], 0
    for seed in range(seeds):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "ticket.onnx"
            options = replace(job.options, seed=seed)
            made = replace(job, options=options, output=Output(path), progress=tell)
            reports.append(run(made).report)
            packed += pack(path, path.with_suffix(".ltz"))[0]
    return _point(job.options, reports, packed // seeds)


def _setting(point: Point) -> Setting:
    return point.mode, point.base_size, point.sqnr, point.price


def _point(options: Options, reports: Sequence[Report], packed_bytes: int) -> Point:
    """The means over the tickets of one setting."""
    seeds, first = len(reports), reports[0]
    compared = [report.fidelity for report in reports if report.fidelity is not None]
    outputs = [fidelity.outputs for fidelity in compared]
    return Point(
        mode=options.mode.value,
        base_size=options.base_size,
        sqnr=options.sqnr,
        price=options.price,
        per_target_weight=sum(r.per_target_weight for r in reports) / seeds,
        kept=sum(r.kept for r in reports) / seeds,
        dense_bytes=first.weight_bytes,
        packed_bytes=packed_bytes,
        parameters=sum(place.parameters for place in first.dense),
        sqnr_db=_mean(one.worst("variation_db") for one in compared) or math.inf,
        agreement=_mean(out.agreement for every in outputs for out in every),
        accuracy=_mean(out.ticket_accuracy for every in outputs for out in every),
        target_accuracy=_mean(out.target_accuracy for every in outputs for out in every),
        seconds=sum(sum(r.seconds.values()) for r in reports) / seeds,
    )


def known_points(document: Mapping[str, Any], target_sha256: str) -> list[Point]:
    """The points of an earlier report, if it is of the same file and made by the same version."""
    try:
        if (document["target"]["sha256"], document["version"]) != (target_sha256, __version__):
            return []
        points = document["points"]
        decibels = [math.inf if p["sqnr_db"] is None else p["sqnr_db"] for p in points]
        return [Point(**{**p, "sqnr_db": db}) for p, db in zip(points, decibels, strict=True)]
    except (KeyError, TypeError):
        return []


def by_size(points: Sequence[Point]) -> list[Point]:
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
