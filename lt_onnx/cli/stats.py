"""`lt-onnx stats`."""

from typing import Annotated, Any

from lt_onnx.cli.console import print_json, say
from lt_onnx.cli.options import NO_WORDS, Config, Force, Json, Picture, Quiet, Tables
from lt_onnx.errors import InputError
from lt_onnx.options import Param, check_seed


def stats_command(
    *,
    count: Annotated[int, Param("Problems of each kind.")] = 100_000,
    base_size: Annotated[int, Param("m (2-20).")] = 15,
    tolerance: Annotated[float, Param("ε.")] = 0.01,
    seed: Annotated[int, Param("Seed of the problems.")] = 0,
    report: Tables = None,
    config: Config = NO_WORDS,
    picture: Picture = None,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Show how well random subsets fit.

    Figures 3 and 4 of the paper.
    """
    from lt_onnx.files import check_places
    from lt_onnx.report.command import command_of, words_of
    from lt_onnx.report.document import statistics
    from lt_onnx.report.formats import ROW_FORMATS, check_reports, write_reports
    from lt_onnx.studies.plots import check_picture, draw_statistics
    from lt_onnx.studies.statistics import measure
    from lt_onnx.subset_sum import MAX_EXHAUSTIVE_SIZE

    if not 2 <= base_size <= MAX_EXHAUSTIVE_SIZE:
        raise InputError(f"`base_size` is {base_size}; give 2 to {MAX_EXHAUSTIVE_SIZE}")
    if count < 2:
        raise InputError(f"`count` is {count}; give 2 or more")
    if not 0 < tolerance < 1:
        raise InputError(f"`tolerance` is {tolerance}; give a number between 0 and 1")
    check_seed(seed)
    if picture is not None:
        check_picture(picture)
    settings = {"base_size": base_size, "tolerance": tolerance, "seed": seed}
    command = command_of("stats", [], None, {"count": count, **settings})
    how: dict[str, Any] = {"force": force, "formats": ROW_FORMATS}
    how["config"] = words_of(command, config.text)
    check_reports(report or [], config.read, **how)
    check_places([path for path in [picture] if path is not None], config.read, force=force)
    panels = measure(count, base_size, tolerance=tolerance, seed=seed)
    summaries = [panel.summary() for panel in panels]
    document = statistics(summaries, command, **settings)
    write_reports(report or [], document, **how)
    if picture is not None:
        draw_statistics(panels, picture, force=force)
    if json:
        print_json(document)
    if json or quiet:
        return
    say(f"{count:,} problems each, m = {base_size}, ε = {tolerance:g}, seed {seed}")
    for summary in summaries:
        error, size, missed = summary.mean_error, summary.mean_size, summary.misses
        say(f"{summary.figure}  {summary.rule}, {summary.variable} variables")
        say(
            f"  error {error.mean:.2e} ± {error.half_width:.0e}, > ε in "
            f"{100 * missed.mean:.2f} %, |S| {size.mean:.2f} ± {size.half_width:.2f}"
        )
        say(f"  paper: {summary.paper}")
