"""What the commands print: plain lines and tables for a terminal of 80 columns, or for a pipe."""

import math
import os
import re
import shutil
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import typer

from lt_onnx.options import MAX_COPIES
from lt_onnx.progress import bars, rows, silent
from lt_onnx.units import count_text, counted, duration_text, percent_text, shown, size_text

if TYPE_CHECKING:
    from lt_onnx.blueprint import Blueprint
    from lt_onnx.budget.promise import Forecast
    from lt_onnx.cluster.calls import Told
    from lt_onnx.manifest import DensePlace
    from lt_onnx.planning.prediction import Prediction
    from lt_onnx.progress import Progress
    from lt_onnx.verification.statistics import Statistics
    from lt_onnx.verification.verify import Proof


CONVERSION = """\
ticket    {ticket[file]}
kept      {ticket[kept]:,} of {ticket[source]:,} random weights (density {ticket[density]:.4f})
          {ticket[per_target_weight]:.2f} per target weight; mode {options[mode]}, \
{options[select]}{base}, seed {options[seed]}
subsets   {problems:,} problems"""
DENSE = "dense     {op} '{name}': {reason}; {parameters:,} parameters"
PROOF = "verified  {verdict}: {matching} the source; {scales:,} scales"
OUTPUT = """\
  {name}: {sqnr}; relative error {relative:.3g}
    cosine {cosine:.5f}, mean |error| {mean_abs:.3g}
    passes from --max-abs {max_abs:.3g}, --max-rel {smallest_tolerance:.3g}"""
MAX_PLACES = 5  # dense places and failures that are told
MAX_TERMINAL = 80  # columns
LINE_SECONDS = 30  # from one line of progress to the next, where there is no terminal
MAX_NAMED = 3  # layers, in a line
MAX_CELL = 300  # characters of a table's cell: what a file names, it may name at any length


def _echo(text: str, *, err: bool = False) -> None:
    """Print `text`; when nobody reads on (`| head`), the work is still to be done."""
    try:
        typer.echo(text, err=err)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), (sys.stderr if err else sys.stdout).fileno())


def say(line: str, *, err: bool = False) -> None:
    """Print one line, whatever names are in it, folded where the terminal ends.

    COLUMNS folds results alone: an error in a log is one line.
    """
    line, width = shown(line), columns(err=err)
    if len(line) <= width:
        _echo(line, err=err)
        return
    begins = re.match(r"\s*(\S+\s{2,})?", line)
    indent = " " * min(begins.end() if begins else 0, 10)
    for part in textwrap.wrap(
        line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    ):
        _echo(part, err=err)


def flagged(message: str) -> str:
    """A library's message in the words of the command line: `name` is --name.

    `name=value` is --name value; `name=True` and `name=False` are --name and --no-name.
    """

    def flag(match: re.Match[str]) -> str:
        name, value = match[1].replace("_", "-"), match[2]
        if value == "False":
            return f"--no-{name}"
        return f"--{name}" if value in (None, "True") else f"--{name} {value}"

    return re.sub(r"`([a-z][a-z_]*)(?:=([^`\s]+))?`", flag, message)


def columns(*, err: bool = False) -> int:
    """Width of the terminal, or the one that COLUMNS says; where there is none, no limit."""
    known = sys.stderr.isatty() if err else sys.stdout.isatty() or "COLUMNS" in os.environ
    return shutil.get_terminal_size().columns if known else 10_000


def announce(blueprint: "Blueprint", prediction: "Prediction", forecast: "Forecast | None") -> None:
    """The target, the plan and what the promise will cost, before any work."""
    target = blueprint.target
    file, memory = size_text(prediction.file_bytes), size_text(prediction.memory_bytes)
    layers, weights = len(blueprint.layers), prediction.source_weights
    name, count = target.path.name, target.weight_count
    say(f"target    {name}: {counted(len(target.linears), 'layer')}, {count:,} weights")
    if not target.was_float32:
        say("          of half or double precision; the ticket takes and gives float32")
    random = counted(layers, "random layer")
    say(f"plan      {random}, {weights:,} weights; {file} file, about {memory} memory")
    for line in promise_lines(forecast.figures(blueprint)) if forecast is not None else []:
        say(line)
    sys.stdout.flush()


def promise_lines(promise: Mapping[str, Any]) -> list[str]:
    """What the promise will cost, and that it cannot be kept, or hardly, where that is known."""
    copies = promise["copies"]
    copied = f"; {copies} copies" if copies is not None else ""
    random = promise["inputs"] is None
    judged = " on random inputs" if random else ""
    if promise["agreement"] is not None and not random:
        judged = f", {100 * promise['agreement']:g} % agreement"
    kept = f"{promise['kept_per_weight']:.1f} weights per target weight{copied}"
    lines = [f"promise   {promise['sqnr']:g} dB{judged}: about {kept}"]
    if not promise["possible"]:
        more = "--base-size auto, " if copies < MAX_COPIES else ""
        lines += [
            f"          that takes {promise['built_to']:.1f} dB on the inputs here; "
            f"{copies} copies allow {promise['reach']:.1f}",
            f"          at most: take {more}--mode 2l or l+k",
        ]
    if promise["blocks"]:
        named = ", ".join(f"'{name}'" for name in promise["blocks"][:MAX_NAMED])
        more = ", …" if len(promise["blocks"]) > MAX_NAMED else ""
        lines.append(f"blocks    before {counted(len(promise['blocks']), 'layer')}: {named}{more}")
    if promise["inputs"] is not None and promise["used"] < promise["wanted"]:
        given, wanted, layer = promise["inputs"], promise["wanted"], promise["wanted_by"]
        if not promise["spared"]:
            more = math.ceil(wanted * given / max(promise["used"], 1))  # some of them judge
            lines += [
                f"inputs    {given} are few for it: give {more:,} or more;",
                f"          '{layer}' needs so many",
            ]
        else:
            lines += [
                f"inputs    {promise['used']} of {given:,} are used, to spare time and memory;",
                f"          '{layer}' needs {wanted:,}: --calibration-count {min(given, wanted)}",
            ]
    return lines


def filled(patterns: str, values: Mapping[str, Any]) -> list[str]:
    """A row of a table: `patterns`, one a column, with `values` in them."""
    return [pattern.format_map(values) for pattern in patterns.split()]


def table(rows: list[list[str]], head: list[str], *, words: int = 1) -> None:
    """Columns as wide as they must be; the first one gives way where the terminal ends.

    The first `words` columns are words, the others numbers.
    """
    rows = [[shown(cell, MAX_CELL) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    width = columns()
    room = width - sum(widths[1:-1]) - 2 * (len(head) - 1) - min(widths[-1], 12)
    widths[0] = min(widths[0], max(room, 12))
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


def print_proof(proof: "Proof", held: str) -> None:
    """What was proved, what stays dense, and the account, in five lines."""
    kept, source, draws = map(count_text, (proof.kept, proof.source, proof.draws))
    say(shown(held, MAX_TERMINAL))
    mirrored = f", {draws} independent" if proof.draws < proof.source else ""
    say(f"kept      {kept} of {source} random weights{mirrored}")
    say(_dense_line(proof.dense_places))
    if proof.account is not None:
        bits = {name: count_text(count) for name, count in asdict(proof.account).items()}
        masks, scales, indices, attributes, *others = [f"{k} {v}" for k, v in bits.items()]
        share = 100 * proof.account.outside_masks
        say(f"bits      {masks}; {scales}; {indices}; {attributes}")
        say(f"          {'; '.join(others)}; {share:.1f} % outside the masks")


def _dense_line(places: "Sequence[DensePlace]") -> str:
    """Dense places with their parameters, those that a line holds, and how many more there are."""
    line, told = "dense     ", 0
    for place in places:
        entry = f"{place.op} '{shown(place.name, 24)}' {place.parameters:,}"
        if told and len(line) + len(entry) > MAX_TERMINAL - 36:
            break
        line, told = line + (", " if told else "") + entry, told + 1
    if told < len(places):
        rest = sum(place.parameters for place in places[told:])
        line += f"; {len(places) - told} more, {rest:,} parameters"
    return shown(line, MAX_TERMINAL) if places else line + "nothing"


def print_report(document: "Mapping[str, Any]") -> None:
    """What a conversion came to, of its report."""
    from lt_onnx.report.figures import fit_text

    layers, options, dense = document["layers"], document["options"], document["dense"]
    problems = sum(layer["problems"] for layer in layers)
    base = f", m = {options['base_size']}" if options["base_size"] else ""
    verdict = "genuine" if document["verify"]["genuine"] else "NOT GENUINE"
    print_filled(CONVERSION, {**document, "problems": problems, "base": base})
    holding = [place for place in dense if place["parameters"]]
    for place in holding[:MAX_PLACES]:
        print_filled(DENSE, place)
    if len(holding) > MAX_PLACES:
        say(f"          and {len(holding) - MAX_PLACES} more dense places")
    layers = document["verify"]["layers"]
    matching = f"{counted(layers, 'layer')} {'matches' if layers == 1 else 'match'}"
    print_filled(PROOF, {**document["verify"], "verdict": verdict, "matching": matching})
    if document["fit"]:
        say(f"scales    {fit_text(document['fit'])}")
    for failure in document["verify"]["failures"][:MAX_PLACES]:
        say(f"          {failure}", err=True)
    if document["validate"]:
        print_comparison(document)
    print_trace(document)
    if document["bound"]:
        print_bound(document["bound"])
    stages = sorted(document["seconds"].items(), key=lambda stage: -stage[1])
    most = ", ".join(f"{name} {seconds:.1f}" for name, seconds in stages[:4])
    say(f"time      {sum(seconds for _, seconds in stages):.1f} s: {most}")


def print_filled(text: str, values: "Mapping[str, Any]") -> None:
    """Lines with `values` in their places."""
    for line in text.splitlines():
        say(line.format_map(values))


def print_bound(bound: "Mapping[str, Any]") -> None:
    """What the error never exceeds."""
    say(f"bounded   over {bound['box']}")
    for name, value in bound["outputs"].items():
        found = f"|error| ≤ {value:.3g} for every input of the box"
        say(f"  {name}: {found if math.isfinite(value) else 'none found'}")
    if bound["reason"] is not None:
        say(f"  not everywhere: {bound['reason']}")


def print_comparison(document: "Mapping[str, Any]") -> None:
    """How near a ticket is to its target."""
    from lt_onnx.report.figures import on_random_inputs, sqnr

    samples = counted(document["validate"]["samples"], "sample")
    say(f"validated on {samples}: {document['validate']['origin']}")
    for out in document["validate"]["outputs"]:
        floats = out["judged"] != "equality"
        if out["relative"] is not None:
            print_filled(OUTPUT, {**out, "sqnr": sqnr(out)})
        else:
            say(f"  {out['name']}: {'nothing finite to compare' if floats else 'no floats'}")
        if out["agreement"] is not None:
            agreeing = "top-1 agreement" if floats else "equal entries"
            line = f"    {agreeing} {percent_text(out['agreement'])}"
            if out["target_accuracy"] is not None and out["ticket_accuracy"] is not None:
                accuracies = (out[f"{network}_accuracy"] for network in ("ticket", "target"))
                line += "; accuracy {} (target {})".format(*map(percent_text, accuracies))
            elif floats and on_random_inputs(document):
                line += ", not judged: inputs are random"
            say(line)
    for check in document["checks"]:
        if not check["passed"] and check["name"] != "genuine":
            say(f"  FAILED {check['message']}")


def print_verdict(line: str, *, quiet: bool) -> None:
    """The last line of a run; of a quiet one only a failure, on stderr."""
    if not quiet or line.startswith("FAILED"):
        say(line, err=quiet)


def print_trace(document: "Mapping[str, Any]") -> None:
    """Where error enters and where it is amplified, of a document that has it."""
    from lt_onnx.report.figures import TRACE_HEAD, trace_rows

    if document["trace"]:
        rows = [list(row.values()) for row in trace_rows(document["trace"], digits=2)]
        table(rows, list(TRACE_HEAD))


def _lines() -> "Progress":
    """Progress in a log: lines, seldom."""
    tell = _lines_of_each()
    return lambda stage, share: tell("", stage, share)


def _lines_of_each() -> "Told":
    """The same of many pieces of work, and of all of them: a line for each, seldom."""
    began = {"": time.monotonic()}
    last = dict(began)

    def tell(name: str, stage: str, share: float | None) -> None:
        now = time.monotonic()
        if share is None:
            say(f"{name}: {stage}", err=True)
            return
        began.setdefault(name, now)
        if now - last.setdefault(name, now) >= LINE_SECONDS:
            last[name] = now
            named = f"{name}: " if name else ""
            said = f"{100 * share:3.0f} %, {duration_text(now - began[name])}"
            say(f"{named}{stage:9} {said}", err=True)

    return tell


def print_json(document: "Mapping[str, Any]") -> None:
    """A document on stdout, for scripts."""
    import json

    from lt_onnx.report.document import plain

    _echo(json.dumps(plain(document), indent=1))


@contextmanager
def progress(quiet: bool) -> "Iterator[Progress]":
    """A bar with the time left, on stderr, per stage; nothing when quiet.

    Where stderr is no terminal, a line every `LINE_SECONDS`.
    """
    if quiet or not sys.stderr.isatty():
        yield silent if quiet else _lines()
        return
    with bars() as tell:
        yield tell


@contextmanager
def progress_of_many(total: int, quiet: bool) -> "Iterator[tuple[Told, Callable[[str], None]]]":
    """What tells how far each of many pieces of work is, and what tells that one has ended.

    On a terminal a row for each that is under way, with its stage, its share and the time left of
    it, and one for all; else lines on stderr, seldom.
    """
    if quiet or not sys.stderr.isatty():
        yield silent if quiet else _lines_of_each(), silent
        return
    with rows(total) as (tell, end):
        yield tell, end
