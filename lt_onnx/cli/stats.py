"""`lt-onnx stats`."""

from typing import Annotated

from lt_onnx.cli.console import say
from lt_onnx.cli.options import Force, Picture, Quiet, ReportFile
from lt_onnx.errors import InputError
from lt_onnx.options import Param


def stats_command(
    *,
    count: Annotated[int, Param("Problems of each kind.")] = 100_000,
    base_size: Annotated[int, Param("m (2-20).")] = 15,
    tolerance: Annotated[float, Param("ε.")] = 0.01,
    seed: Annotated[int, Param("Seed of the problems.")] = 0,
    report: ReportFile = None,
    picture: Picture = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Show how well random subsets fit.

    Figures 3 and 4 of the paper.
    """
    from lt_onnx.files import check_places
    from lt_onnx.report.formats import write_json
    from lt_onnx.studies.plots import check_picture, draw_statistics
    from lt_onnx.studies.statistics import measure
    from lt_onnx.subset_sum import MAX_EXHAUSTIVE_SIZE

    if not 2 <= base_size <= MAX_EXHAUSTIVE_SIZE:
        raise InputError(f"`base_size` is {base_size}; give 2 to {MAX_EXHAUSTIVE_SIZE}")
    if count < 2:
        raise InputError(f"`count` is {count}; give 2 or more")
    if not 0 < tolerance < 1:
        raise InputError(f"`tolerance` is {tolerance}; give a number between 0 and 1")
    if picture is not None:
        check_picture(picture)
    check_places([path for path in (report, picture) if path is not None], force=force)
    panels = measure(count, base_size, tolerance=tolerance, seed=seed)
    summaries = [panel.summary() for panel in panels]
    if report is not None:
        figures = {"base_size": base_size, "tolerance": tolerance, "panels": summaries}
        write_json(report, figures, force=force)
    if picture is not None:
        draw_statistics(panels, picture, force=force)
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
