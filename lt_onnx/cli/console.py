"""What the commands print: plain lines and tables for a terminal of 80 columns, or for a pipe."""

import shutil
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from lt_onnx.units import size_text

if TYPE_CHECKING:
    from lt_onnx.blueprint import Blueprint
    from lt_onnx.planning.prediction import Prediction
    from lt_onnx.report.document import Report
    from lt_onnx.validation.bound.certify import Bound
    from lt_onnx.validation.fidelity import Fidelity
    from lt_onnx.verification.statistics import Statistics
    from lt_onnx.writing.build import Progress


MAX_LINE = 2000  # characters …
MAX_CELL = 300  # … of a table's cell: what a file names, it may name at any length


def say(line: str, *, err: bool = False) -> None:
    """Print one line, whatever names are in it."""
    typer.echo(shown(line), err=err)


def shown(text: str, longest: int = MAX_LINE) -> str:
    """What a terminal can show of `text`: signs that would steer it are escaped, the rest cut."""
    if len(text) > longest:
        half = longest // 2
        text = f"{text[:half]} … {text[-half:]}"
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def announce(blueprint: "Blueprint", prediction: "Prediction") -> None:
    """The target and the plan, before any work."""
    target = blueprint.target
    say(
        f"target    {target.path.name}: {len(target.linears)} layers, "
        f"{target.weight_count:,} weights"
    )
    say(
        f"plan      {len(blueprint.layers)} random layers, {prediction.source_weights:,} weights; "
        f"{size_text(prediction.file_bytes)} file, "
        f"about {size_text(prediction.memory_bytes)} memory"
    )
    sys.stdout.flush()


def filled(patterns: str, values: Mapping[str, Any]) -> list[str]:
    """A row of a table: `patterns`, one a column, with `values` in them."""
    return [pattern.format_map(values) for pattern in patterns.split()]


def table(rows: list[list[str]], head: list[str], *, words: int = 1) -> None:
    """Columns as wide as they must be; the first one gives way where the terminal ends.

    The first `words` columns are words, the others numbers.
    """
    rows = [[shown(cell, MAX_CELL) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    room = width - sum(widths[1:-1]) - 2 * (len(head) - 1) - min(widths[-1], 12)
    widths[0] = max(min(widths[0], room), 12)
    for name, *row in [head, *rows]:
        if len(name) > widths[0]:
            name = "…" + name[1 - widths[0] :]
        cells = [name.ljust(widths[0])]
        for i, (cell, size) in enumerate(zip(row, widths[1:], strict=True), 1):
            cells.append(cell.ljust(size) if i < words else cell.rjust(size))
        say("  ".join(cells).rstrip()[:width])


def print_statistics(tested: "Statistics") -> None:
    """Tests of the source's numbers, layer by layer."""
    rows = []
    for layer in tested.layers:
        name = layer.weight if len(layer.weight) <= 24 else "…" + layer.weight[-23:]
        kolmogorov = [f"{layer.tested:,}", f"{layer.deviation:.4f}", f"{layer.p_uniform:.3f}"]
        others = (layer.rows, layer.p_rows, layer.before, layer.p_before)
        rows.append([name, *kolmogorov, *("-" if x is None else f"{x:.3f}" for x in others)])
    table(rows, ["layer", "tested", "K-S", "p", "rows", "p", "before", "p"])
    say(
        f"random: {'no' if tested.failures else 'yes'}; {tested.tests} tests, smallest "
        f"p = {min(layer.p for layer in tested.layers):.1e}, fails below {tested.threshold:.1e}"
    )


def print_report(report: "Report", document: "Mapping[str, Any]") -> None:
    """What a conversion came to; `document` is the report's."""
    options = report.options
    base = f", m = {options.base_size}" if options.base_size else ""
    say(f"ticket    {report.ticket}")
    say(
        f"kept      {report.kept:,} of {report.source_weights:,} random weights "
        f"(density {report.kept / max(report.source_weights, 1):.4f})"
    )
    say(
        f"          {report.per_target_weight:.2f} per target weight; mode {options.mode}, "
        f"{options.select}{base}, seed {options.seed}"
    )
    problems = sum(layer.problems for layer in report.layers)
    misses = sum(layer.misses for layer in report.layers)
    say(f"subsets   {problems:,} problems, {misses:,} further than ε = {options.tolerance:g} off")
    for place in report.dense[:5]:
        say(f"dense     {place.op} '{place.name}': {place.reason}; {place.parameters:,} parameters")
    if len(report.dense) > 5:
        say(f"          and {len(report.dense) - 5} more dense places")
    proof = report.proof
    say(
        f"verified  {'genuine' if proof.genuine else 'NOT GENUINE'}: {proof.layers} layers match "
        f"the source; {proof.scales:,} scales"
    )
    for failure in proof.failures[:5]:
        say(f"          {failure}", err=True)
    if report.fidelity is not None:
        print_fidelity(report.fidelity)
    print_trace(document)
    if report.bound is not None:
        print_bound(report.bound)
    total = sum(report.seconds.values())
    most = sorted(report.seconds.items(), key=lambda stage: -stage[1])[:4]
    say(f"time      {total:.1f} s: {', '.join(f'{key} {value:.1f}' for key, value in most)}")


def print_bound(bound: "Bound") -> None:
    """What the error never exceeds."""
    say(f"bounded   over {bound.box}")
    for name, value in bound.outputs.items():
        say(f"  {name}: |error| ≤ {value:.3g} for every input of the box")
    if bound.reason is not None:
        say(f"  not everywhere: {bound.reason}")


def print_fidelity(fidelity: "Fidelity") -> None:
    """How near a ticket is to its target."""
    say(f"validated on {fidelity.samples:,} samples: {fidelity.origin}")
    for out in fidelity.outputs:
        say(
            f"  {out.name}: relative error {out.relative:.3g}, SQNR {out.sqnr_db:.1f} dB, "
            f"cosine {out.cosine:.5f}"
        )
        say(
            f"    mean |error| {out.mean_abs:.3g}; passes from --max-abs {out.max_abs:.3g}, "
            f"--max-rel {out.smallest_tolerance:.3g}"
        )
        if out.agreement is not None:
            line = f"    top-1 agreement {100 * out.agreement:.2f} %"
            if out.target_accuracy is not None and out.ticket_accuracy is not None:
                line += (
                    f"; accuracy {100 * out.ticket_accuracy:.2f} % "
                    f"(target {100 * out.target_accuracy:.2f} %)"
                )
            say(line)
    for failure in fidelity.failures:
        say(f"  FAILED {failure}")


def print_trace(document: "Mapping[str, Any]") -> None:
    """Where error enters and where it is amplified, of a document that has it."""
    from lt_onnx.report.figures import TRACE_HEAD, trace_rows

    if document["trace"]:
        rows = [list(row.values()) for row in trace_rows(document["trace"], digits=2)]
        table(rows, list(TRACE_HEAD))


def print_json(document: "Mapping[str, Any]") -> None:
    """A document on stdout, for scripts."""
    import json

    from lt_onnx.report.document import plain

    typer.echo(json.dumps(plain(document), indent=1))


@contextmanager
def progress(quiet: bool) -> "Iterator[Progress]":
    """A bar with the time left, on stderr, per stage; nothing when quiet or not a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda stage, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bars: dict[str, Any] = {}
    with Progress(
        TextColumn("{task.description:9}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as drawn:

        def tell(stage: str, share: float) -> None:
            if stage not in bars:
                bars[stage] = drawn.add_task(stage, total=1.0)
            drawn.update(bars[stage], completed=share)

        yield tell
