"""`lt-onnx frontier`."""

from dataclasses import asdict, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from lt_onnx.cli.console import progress, say, table
from lt_onnx.cli.options import (
    CalibrationFile,
    Force,
    OneMode,
    Picture,
    Quiet,
    ReportFile,
    SamplesFile,
    numbers,
)
from lt_onnx.errors import InputError
from lt_onnx.options import Mode, Options, Param
from lt_onnx.units import size_text

if TYPE_CHECKING:
    from lt_onnx.studies.frontier import Point


def frontier_command(
    target: Annotated[Path, Param("ONNX file to make tickets of.")],
    *,
    mode: OneMode = None,
    sqnr: Annotated[str, Param("Promises in decibels.")] = "15,20,25,30,35,40,45,50",
    base_size: Annotated[str | None, Param("Study: m's, as in 6,8,10 …")] = None,
    price: Annotated[str | None, Param("… and μ's, as in 0,0.002, in place of promises.")] = None,
    seeds: Annotated[int, Param("Tickets per setting.")] = 1,
    calibration: CalibrationFile = None,
    samples: SamplesFile = None,
    report: ReportFile = None,
    picture: Picture = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Show how faithful tickets of each size are."""
    from lt_onnx.files import check_places
    from lt_onnx.reading.model_file import model_files
    from lt_onnx.report.formats import write_json
    from lt_onnx.studies.frontier import frontier, measure_points
    from lt_onnx.studies.plots import check_picture, draw_frontier

    if seeds < 1:
        raise InputError(f"`seeds` is {seeds}; give 1 or more")
    if picture is not None:
        check_picture(picture)
    inputs = chain(model_files(target), (path for path in (calibration, samples) if path))
    check_places([path for path in (report, picture) if path], inputs, force=force)
    settings = [
        replace(setting, mode=one)
        for one in (Mode if mode is None else [mode])
        for setting in _settings(sqnr, base_size, price)
    ]
    points = []
    with progress(quiet) as tell:
        for point in measure_points(
            target, settings, seeds=seeds, calibration=calibration, samples=samples
        ):
            points.append(point)
            tell("tickets", len(points) / len(settings))
    points = frontier(points)
    if report is not None:
        found = {"target": str(target), "points": [asdict(p) for p in points]}
        write_json(report, found, force=force)
    if picture is not None:
        draw_frontier(points, target.stem, path=picture, force=force)
    if not quiet:
        _print_points(points)


def _settings(sqnr: str, base_sizes: str | None, prices: str | None) -> list[Options]:
    """All pairs of base sizes with promises, or with prices. Raises InputError."""
    sizes = [int(m) for m in numbers("base_size", base_sizes)] if base_sizes else [None]
    if prices:
        return [Options(base_size=m, price=μ) for m in sizes for μ in numbers("price", prices)]
    return [Options(base_size=m, sqnr=db) for m in sizes for db in numbers("sqnr", sqnr)]


def _print_points(points: "list[Point]") -> None:
    """The tickets by size, and which are best."""
    rows = []
    for point in points:
        first = ["*" if point.best else "", point.mode, str(point.base_size or "auto")]
        shares = [
            "" if share is None else f"{100 * share:.2f}"
            for share in (point.agreement, point.accuracy)
        ]
        built = f"{point.sqnr:g} dB" if point.price is None else f"μ {point.price:g}"
        sizes = [built, f"{point.per_target_weight:.2f}", size_text(point.dense_bytes)]
        rows.append([*first, *sizes, f"{point.sqnr_db:.1f}", *shares, f"{point.seconds:.0f}"])
    head = [
        "best",
        "mode",
        "m",
        "built to",
        "per weight",
        "bytes",
        "SQNR",
        "agree",
        "accuracy",
        "s",
    ]
    table(rows, head, words=2)
    accuracy = points[0].target_accuracy
    if accuracy is not None:
        say(f"the target's own accuracy is {100 * accuracy:.2f} %")
    say(
        f"best: no smaller one of its mode has a better SQNR; {points[0].parameters:,} "
        "parameters of the target stay dense in each"
    )
