"""What the commands print: plain lines and tables for a terminal of 80 columns, or for a pipe."""

import shutil
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import typer

from lt_onnx.units import size_text

if TYPE_CHECKING:
    from lt_onnx.blueprint import Blueprint
    from lt_onnx.planning.prediction import Prediction
    from lt_onnx.report.document import Report
    from lt_onnx.validation.bound.certify import Bound
    from lt_onnx.validation.fidelity import Fidelity
    from lt_onnx.validation.per_layer import LayerError
    from lt_onnx.verification.statistics import Statistics


LONGEST = 2000  # characters of a line …
CELL = 300  # … and of a table's cell: what a file names, it may name at any length


def say(line: str, *, err: bool = False) -> None:
    """Print one line, whatever names are in it."""
    typer.echo(shown(line), err=err)


def shown(text: str, longest: int = LONGEST) -> str:
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


def table(rows: list[list[str]], head: list[str], right: tuple[int, ...] = ()) -> None:
    """Columns as wide as they must be; the first one gives way where the terminal ends."""
    rows = [[shown(cell, CELL) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10_000
    room = width - sum(widths[1:-1]) - 2 * (len(head) - 1) - min(widths[-1], 12)
    widths[0] = max(min(widths[0], room), 12)
    for row in [head, *rows]:
        name = row[0]
        if len(name) > widths[0]:
            name = "…" + name[1 - widths[0] :]
        cells = [name.ljust(widths[0])]
        cells += [
            cell.rjust(size) if i in right else cell.ljust(size)
            for i, (cell, size) in enumerate(zip(row[1:], widths[1:], strict=True), 1)
        ]
        say("  ".join(cells).rstrip()[:width])


def print_statistics(tested: "Statistics") -> None:
    """Tests of the source's numbers, layer by layer."""
    table(
        [
            [
                layer.weight if len(layer.weight) <= 24 else "…" + layer.weight[-23:],
                f"{layer.tested:,}",
                f"{layer.deviation:.4f}",
                f"{layer.p_uniform:.3f}",
                *(
                    "-" if value is None else f"{value:.{digits}f}"
                    for value, digits in (
                        (layer.rows, 3),
                        (layer.p_rows, 3),
                        (layer.before, 3),
                        (layer.p_before, 3),
                    )
                ),
            ]
            for layer in tested.layers
        ],
        ["layer", "tested", "K-S", "p", "rows", "p", "before", "p"],
        (1, 2, 3, 4, 5, 6, 7),
    )
    say(
        f"random: {'no' if tested.failures else 'yes'}; {tested.tests} tests, smallest "
        f"p = {min(layer.least for layer in tested.layers):.1e}, fails below {tested.threshold:.1e}"
    )


def print_report(report: "Report") -> None:
    """What a conversion came to."""
    options = report.options
    base = f", m = {options['base_size']}" if options["base_size"] else ""
    say(f"ticket    {report.ticket}")
    say(
        f"kept      {report.kept:,} of {report.source_weights:,} random weights "
        f"(density {report.kept / max(report.source_weights, 1):.4f})"
    )
    say(
        f"          {report.per_target_weight:.2f} per target weight; mode {options['mode']}, "
        f"{options['select']}{base}, seed {options['seed']}"
    )
    problems = sum(layer.problems for layer in report.layers)
    misses = sum(layer.misses for layer in report.layers)
    say(
        f"subsets   {problems:,} problems, {misses:,} further than ε = {options['tolerance']:g} off"
    )
    for place in report.dense[:5]:
        say(
            f"dense     {place['op']} '{place['name']}': {place['reason']}; "
            f"{place['parameters']:,} parameters"
        )
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
    if report.trace is not None:
        print_trace(report.trace)
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


def print_trace(layers: "list[LayerError]") -> None:
    """Where error enters, and where it is amplified."""
    cells = [
        [
            layer.name,
            _figure(layer.into),
            _figure(layer.passed_on),
            _figure(layer.amplification),
            _figure(layer.own),
            _figure(layer.out),
            f"{layer.sqnr_db:.1f}",
        ]
        for layer in layers
    ]
    head = ["layer", "error in", "passed on", "×", "own", "out", "SQNR dB"]
    table(cells, head, right=(1, 2, 3, 4, 5, 6))


def print_json(document: "Mapping[str, Any]") -> None:
    """A document on stdout, for scripts."""
    import json

    from lt_onnx.report.document import plain

    typer.echo(json.dumps(plain(document), indent=1))


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2g}"
