"""Commands that ask something of the construction itself."""

from pathlib import Path
from typing import Annotated

import typer

from lt_onnx.cli.app import app
from lt_onnx.cli.console import say, table
from lt_onnx.cli.options import (
    CalibrationFile,
    Picture,
    Quiet,
    ReportFile,
    SamplesFile,
    numbers,
    progress,
)
from lt_onnx.errors import InputError
from lt_onnx.units import size_text


@app.command()
def stats(
    count: Annotated[int, typer.Option("--count", help="Problems of each kind.")] = 100_000,
    base_size: Annotated[int, typer.Option("--base-size", help="m (2-20).")] = 15,
    tolerance: Annotated[float, typer.Option("--tolerance", help="ε.")] = 0.01,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the problems.")] = 0,
    report: ReportFile = None,
    picture: Picture = None,
    quiet: Quiet = False,
) -> None:
    """Show how well random subsets fit.

    Figures 3 and 4 of the paper.
    """
    from lt_onnx.report.formats import write_json
    from lt_onnx.studies.plots import check_picture, draw_statistics
    from lt_onnx.studies.statistics import measure
    from lt_onnx.subset_sum import MAX_EXHAUSTIVE_SIZE

    if not 2 <= base_size <= MAX_EXHAUSTIVE_SIZE:
        raise InputError(f"--base-size is {base_size}; give 2 to {MAX_EXHAUSTIVE_SIZE}")
    if count < 2:
        raise InputError(f"--count is {count}; give 2 or more")
    if not 0 < tolerance < 1:
        raise InputError(f"--tolerance is {tolerance}; give a number between 0 and 1")
    if picture is not None:
        check_picture(picture)
    panels = measure(count, base_size, tolerance, seed)
    summaries = [panel.summary() for panel in panels]
    if report is not None:
        write_json(report, {"base_size": base_size, "tolerance": tolerance, "panels": summaries})
    if picture is not None:
        draw_statistics(panels, picture)
    if quiet:
        return
    say(f"{count:,} problems each, m = {base_size}, ε = {tolerance:g}, seed {seed}")
    for summary in summaries:
        error, size, missed = (summary[key] for key in ("mean_error", "mean_size", "misses"))
        say(f"{summary['figure']}  {summary['rule']}, {summary['variable']} variables")
        say(
            f"  error {error['mean']:.2e} ± {error['half_width']:.0e}, "
            f"> ε in {100 * missed['mean']:.2f} %, |S| {size['mean']:.2f} ± "
            f"{size['half_width']:.2f}"
        )
        say(f"  paper: {summary['paper']}")


@app.command("frontier")
def frontier_command(
    target: Annotated[Path, typer.Argument(help="ONNX file to make tickets of.")],
    mode: Annotated[str | None, typer.Option("--mode", help="One mode; both without.")] = None,
    base_sizes: Annotated[
        str | None, typer.Option("--base-size", help="m's, as in 6,8,10; else a ladder.")
    ] = None,
    prices: Annotated[
        str | None, typer.Option("--price", help="μ's, as in 0,0.002: all pairs with the m's.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Tickets per setting.")] = 1,
    calibration: CalibrationFile = None,
    samples: SamplesFile = None,
    report: ReportFile = None,
    picture: Picture = None,
    quiet: Quiet = False,
) -> None:
    """Show how faithful tickets of each size are."""
    from lt_onnx.options import Mode, make_options
    from lt_onnx.report.formats import write_json
    from lt_onnx.search.ladder import LADDERS, Rung
    from lt_onnx.studies.frontier import frontier, sweep
    from lt_onnx.studies.plots import check_picture, draw_frontier

    modes = [make_options(mode=mode).mode] if mode is not None else list(Mode)
    if seeds < 1:
        raise InputError(f"--seeds is {seeds}; give 1 or more")
    if picture is not None:
        check_picture(picture)
    settings = []
    for word in modes:
        rungs = LADDERS[word]
        if base_sizes is not None or prices is not None:
            sizes: list[int | None] = [None]
            if base_sizes is not None:
                sizes = [int(m) for m in numbers("--base-size", base_sizes)]
            costs = numbers("--price", prices) if prices else [make_options(mode=word).mu]
            rungs = tuple(Rung(m, price) for m in sizes for price in costs)
        for rung in rungs:
            make_options(mode=word, base_size=rung.base_size, price=rung.price)
        settings += [(word.value, rung) for rung in rungs]
    points = []
    with progress(quiet) as tell:
        for point in sweep(target, settings, seeds, calibration=calibration, samples=samples):
            points.append(point)
            tell("tickets", len(points) / len(settings))
    points = frontier(points)
    if report is not None:
        write_json(report, {"target": str(target), "points": [p.to_dict() for p in points]})
    if picture is not None:
        draw_frontier(points, target.stem, picture)
    if quiet:
        return
    table(
        [
            [
                "*" if p.best else "",
                p.mode,
                str(p.base_size or "auto"),
                f"{p.price:g}",
                f"{p.per_target_weight:.2f}",
                size_text(p.dense_bytes),
                f"{p.sqnr_db:.1f}",
                "" if p.agreement is None else f"{100 * p.agreement:.2f}",
                "" if p.accuracy is None else f"{100 * p.accuracy:.2f}",
                f"{p.seconds:.0f}",
            ]
            for p in points
        ],
        ["best", "mode", "m", "μ", "per weight", "bytes", "SQNR", "agree", "accuracy", "s"],
        right=(2, 3, 4, 5, 6, 7, 8, 9),
    )
    known = points[0].target_accuracy
    if known is not None:
        say(f"the target's own accuracy is {100 * known:.2f} %")
    say(
        f"best: no smaller one of its mode has a better SQNR; {points[0].parameters:,} "
        "parameters of the target stay dense in each"
    )
