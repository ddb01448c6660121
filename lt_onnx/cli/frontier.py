"""`lt-onnx frontier`."""

import json as text_of
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lt_onnx.cli.console import print_json, progress, say, table
from lt_onnx.cli.options import (
    NO_WORDS,
    CalibrationFile,
    Config,
    Force,
    Json,
    Picture,
    Quiet,
    SamplesFile,
    Tables,
)
from lt_onnx.errors import InputError
from lt_onnx.files import finished, resumable
from lt_onnx.options import (
    PROMISES,
    Mode,
    Options,
    Param,
    Pictures,
    Workers,
    changed,
    params_of,
    settings_of,
)
from lt_onnx.units import numbers, size_text

if TYPE_CHECKING:
    from lt_onnx.report.schema import Point

SEVERAL = "numbers with commas between"
HEAD = ["best", "mode", "m", "built to", "per weight", "packed", "SQNR", "agree", "accuracy", "s"]


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in text.split(","))


@dataclass(frozen=True)
class Grid:
    """The settings that tickets are made with: all pairs of m's with promises, or with prices.

    Raises InputError for values out of range.
    """

    mode: Annotated[Mode | None, Param("One mode; both without.")] = None
    sqnr: Annotated[
        tuple[float, ...], Param("Promises, decibels alone.", "DB,…", read=numbers, expects=SEVERAL)
    ] = PROMISES
    base_size: Annotated[
        tuple[int, ...] | None,
        Param("For study: m's, as in 6,8,10.", "M,…", read=_sizes, expects=SEVERAL),
    ] = None
    price: Annotated[
        tuple[float, ...] | None,
        Param("For study: μ's, in place of promises.", "μ,…", read=numbers, expects=SEVERAL),
    ] = None
    fit_scales: Annotated[bool, params_of(Options)["fit_scales"][1]] = False
    seeds: Annotated[int, Param("Tickets per setting.")] = 1

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise InputError(f"`seeds` is {self.seeds}; give 1 or more")
        self.settings()  # raises

    def settings(self) -> list[Options]:
        """One by one."""
        sizes, prices = self.base_size, self.price
        return settings_of(
            self.mode, self.sqnr, base_size=sizes, price=prices, fit_scales=self.fit_scales
        )


def frontier_command(
    target: Annotated[Path, Param("ONNX file to make tickets of.")],
    *,
    grid: Grid,
    calibration: CalibrationFile = None,
    samples: SamplesFile = None,
    pictures: Pictures,
    workers: Workers,
    report: Tables = None,
    config: Config = NO_WORDS,
    picture: Picture = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show how faithful tickets of each size are.

    Every setting makes a ticket, whose weights, pack and fidelity are measured. A JSON report has
    each of them as soon as it is made: interrupted, the same command goes on from there.
    """
    from lt_onnx.files import check_places
    from lt_onnx.reading.model_file import load, model_files
    from lt_onnx.report import document
    from lt_onnx.report.command import command_of, words_of
    from lt_onnx.report.formats import ROW_FORMATS, check_reports, is_of, write_reports
    from lt_onnx.report.schema import FrontierTarget
    from lt_onnx.samples.images import check_pictures
    from lt_onnx.studies.frontier import by_size, known_points, measure_points
    from lt_onnx.studies.plots import check_picture, draw_frontier

    if picture is not None:
        check_picture(picture)
    check_pictures(pictures, calibration, samples)
    given = {"calibration": calibration, "samples": samples}
    arguments = {**changed(grid), **given, **changed(pictures)}
    command = command_of("frontier", [target], None, arguments)
    reports, kept = report or [], [p for p in report or [] if p.suffix.lower() == ".json"]
    inputs = [*model_files(target), *(path for path in given.values() if path), *config.read]
    how: dict[str, Any] = {"force": force, "again": command, "formats": ROW_FORMATS}
    how["config"] = words_of(command, config.text)
    check_reports(reports, inputs, **how)
    check_places([path for path in [picture] if path], inputs, force=force)
    files = {file for file in model_files(target) if file.is_file()}
    about = FrontierTarget(str(target), load(target)[1], sum(f.stat().st_size for f in files))
    known = [
        point
        for path in kept
        if is_of(path, command)
        for point in known_points(text_of.loads(path.read_text(encoding="utf-8")), about.sha256)
    ]
    settings: list[Options] = grid.settings()
    points: list[Point] = []
    with progress(quiet or json) as tell, _going_on(kept):
        for point in measure_points(
            target,
            settings,
            seeds=grid.seeds,
            known=known,
            pictures=pictures,
            workers=workers,
            **given,
        ):
            points.append(point)
            write_reports(kept, document.frontier(about, points, command=command), **how)
            tell("tickets", len(points) / len(settings))
    points = by_size(points)
    found = document.frontier(about, points, command=command)
    write_reports(reports, found, **how)
    if picture is not None:
        draw_frontier(points, target.stem, path=picture, target_bytes=about.bytes, force=force)
    if json:
        print_json(found)
    elif not quiet:
        _print_points(points)


@contextmanager
def _going_on(kept: Sequence[Path]) -> Iterator[None]:
    """Let what ends the block early be told with the reports from which the command goes on."""
    from lt_onnx.report.formats import CONFIG_SUFFIX

    try:
        yield
    except BaseException:
        resumable.extend(kept)
        kept_too = [path.with_suffix(CONFIG_SUFFIX) for path in kept]
        finished[:] = [path for path in finished if path not in (*kept, *kept_too)]
        raise


def _print_points(points: "Sequence[Point]") -> None:
    """The tickets by size, and which are best."""
    rows = []
    for point in points:
        first = ["*" if point.best else "", point.mode, str(point.base_size or "auto")]
        shares = [
            "" if share is None else f"{100 * share:.2f}"
            for share in (point.agreement, point.accuracy)
        ]
        built = f"{point.sqnr:g} dB" if point.price is None else f"μ {point.price:g}"
        sizes = [built, f"{point.per_target_weight:.2f}", size_text(point.packed_bytes)]
        rows.append([*first, *sizes, f"{point.sqnr_db:.1f}", *shares, f"{point.seconds:.0f}"])
    table(rows, HEAD, words=2)
    accuracy = points[0].target_accuracy
    if accuracy is not None:
        say(f"the target's own accuracy is {100 * accuracy:.2f} %")
    say("best: no smaller one of its mode has a better SQNR")
    say(f"{points[0].parameters:,} parameters of the target stay dense in each")
