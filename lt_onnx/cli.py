"""The command line: words, options, the one border where errors become a line and an exit code.

Exit codes: 0 done and within limits; 1 a limit was missed or the proof failed; 2 unusable input or
arguments; 3 out of memory or disk, or interrupted. Heavy modules are imported inside commands, so
that `--help` is quick. Progress and tables go to stderr and stdout respectively.
"""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lt_onnx import __version__
from lt_onnx.errors import InputError, LtOnnxError
from lt_onnx.printing import (
    announce,
    duration_text,
    print_fidelity,
    print_report,
    size_text,
    table,
)  # fmt: skip

if TYPE_CHECKING:
    from lt_onnx.conversion import Progress
    from lt_onnx.validation import Limits

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Turn trained ONNX networks into strong lottery tickets, prove them and compare them.",
)

INTERRUPTED = "interrupted; nothing was left behind"

ModeWord = Annotated[str, typer.Option("--mode", help="l+1: copies, depth L+1; 2l: depth 2L.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the random source.")]
BaseSize = Annotated[
    int | None, typer.Option("--base-size", help="m, elements of a base set (2-32).")
]
Init = Annotated[str, typer.Option("--init", help="unit, kaiming, xavier or lecun.")]
SigmaWord = Annotated[str, typer.Option("--sigma", help="One scale per channel or per layer.")]
CalibrationFile = Annotated[
    Path | None, typer.Option("--calibration", help="npz of inputs used in construction.")
]
SamplesFile = Annotated[
    Path | None, typer.Option("--samples", help="npz of inputs (and labels) to validate on.")
]
MaxRel = Annotated[float | None, typer.Option("--max-rel", help="Largest relative error.")]
MinAgreement = Annotated[
    float | None, typer.Option("--min-agreement", help="Least share of equal top-1.")
]
MaxDrop = Annotated[
    float | None, typer.Option("--max-accuracy-drop", help="Largest loss of accuracy.")
]
ReportFile = Annotated[Path | None, typer.Option("--report", help="Write a JSON report here.")]
Picture = Annotated[
    Path | None, typer.Option("--picture", help="Draw it here (.png, .svg or .pdf).")
]
DeviceWord = Annotated[
    str, typer.Option("--device", help="Where subset sums are solved: auto, cpu or cuda.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


@app.command()
def convert(
    targets: Annotated[list[Path], typer.Argument(help="ONNX files to convert.")],
    mode: ModeWord = "l+1",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Ticket file, or folder for several.")
    ] = None,
    base_size: BaseSize = None,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="ε per normalised parameter.")
    ] = 0.01,
    select: Annotated[
        str, typer.Option("--select", help="noise, smallest (the paper's) or best.")
    ] = "noise",
    sigma: SigmaWord = "channel",
    init: Init = "unit",
    seed: Seed = 0,
    price: Annotated[
        float | None, typer.Option("--price", help="μ, the price of a kept weight.")
    ] = None,
    dearness: Annotated[
        float, typer.Option("--dearness", help="Power of a layer's size that its price follows.")
    ] = 0.7,
    target_sqnr: Annotated[
        float | None, typer.Option("--target-sqnr", help="Find the smallest ticket of so many dB.")
    ] = None,
    target_agreement: Annotated[
        float | None, typer.Option("--target-agreement", help="… of such a share of equal top-1.")
    ] = None,
    calibration: CalibrationFile = None,
    samples: SamplesFile = None,
    weights: Annotated[
        str, typer.Option("--weights", help="folded, or masked (source and mask).")
    ] = "folded",
    emit_source: Annotated[
        bool, typer.Option("--emit-source", help="Also write the source network.")
    ] = False,
    device: DeviceWord = "auto",
    check: Annotated[
        bool, typer.Option("--validate/--no-validate", help="Compare with the target.")
    ] = True,
    bound: Annotated[
        bool, typer.Option("--bound", help="Certify the largest error over the inputs' box.")
    ] = False,
    max_memory: Annotated[
        str | None, typer.Option("--max-memory", help="Refuse to need more, e.g. 8G.")
    ] = None,
    max_rel: MaxRel = None,
    min_agreement: MinAgreement = None,
    max_accuracy_drop: MaxDrop = None,
    report: ReportFile = None,
    quiet: Quiet = False,
) -> None:
    """Convert networks to tickets, prove them and validate them."""
    from lt_onnx import convert as run
    from lt_onnx.report import write_json

    limits = _limits(max_rel, min_agreement, max_accuracy_drop)
    memory = None if max_memory is None else _bytes(max_memory)
    if len(targets) > 1 and output is not None and not output.is_dir():
        raise InputError(f"{output}: with several targets --output must be an existing folder")
    if len(targets) > 1 and report is not None and not report.is_dir():
        raise InputError(f"{report}: with several targets --report must be an existing folder")
    passed = True
    for target in targets:
        out = output
        if output is not None and output.is_dir():
            out = output / f"{target.stem}.ticket.onnx"
        with _progress(quiet) as progress:
            ticket = run(
                target, out, mode=mode, base_size=base_size, tolerance=tolerance, select=select,
                sigma=sigma, init=init, seed=seed, price=price, dearness=dearness,
                target_sqnr=target_sqnr, target_agreement=target_agreement,
                calibration=calibration, samples=samples, weights=weights,
                emit_source=emit_source, max_memory=memory,
                limits=limits, device=device, validate=check, bound=bound, progress=progress,
                announce=None if quiet else announce,
            )  # fmt: skip
        if report is not None:
            path = report / f"{target.stem}.report.json" if report.is_dir() else report
            write_json(path, ticket.report.to_dict())
        if not quiet:
            print_report(ticket.report)
            if ticket.source is not None:
                typer.echo(f"source    {ticket.source}")
        passed &= ticket.passed
    raise typer.Exit(0 if passed else 1)


@app.command()
def inspect(
    target: Annotated[Path, typer.Argument(help="ONNX file to look into.")],
    mode: ModeWord = "l+1",
    report: ReportFile = None,
) -> None:
    """Show what was found in a network, step by step, and how a ticket will have it."""
    from lt_onnx.conversion import make_options
    from lt_onnx.lowering import read_target
    from lt_onnx.overview import found, shape_text
    from lt_onnx.planner import plan
    from lt_onnx.report import write_json

    document = found(plan(read_target(target), make_options(mode=mode)))
    if report is not None:
        write_json(report, document)
    for port in ("inputs", "outputs"):
        for value in document[port]:
            typer.echo(f"{port[:-1]:9} {value['name']} {shape_text(value['shape'])}")
    typer.echo(f"blocks    open with {document['activation']['op']}")
    table(
        [
            [row["name"], row["op"], shape_text(row["shape"]),
             "≥ 0" if row["never_negative"] else "", row["how"], row["note"]]
            for row in document["steps"]
        ],
        ["name", "op", "output", "sign", "how", ""],
    )  # fmt: skip
    counts = ", ".join(f"{count} {kind}" for kind, count in document["counts"].items() if count)
    typer.echo(f"steps     {counts}")
    typer.echo(
        f"weights   {document['constructed_weights']:,} to construct, "
        f"{document['dense_parameters']:,} stay dense"
    )


@app.command("plan")
def plan_command(
    target: Annotated[Path, typer.Argument(help="ONNX file to plan a ticket of.")],
    mode: Annotated[str | None, typer.Option("--mode", help="One mode; both without.")] = None,
    base_size: BaseSize = None,
    epsilon: Annotated[
        float | None, typer.Option("--epsilon", help="Also what the theorems ask for this error …")
    ] = None,
    delta: Annotated[
        float, typer.Option("--delta", help="… with this probability of failure.")
    ] = 0.01,
    constant: Annotated[
        float | None, typer.Option("--constant", help="C of the theorems; measured without.")
    ] = None,
    gamma: Annotated[float, typer.Option("--gamma", help="γ of Theorem 3.2.")] = 0.1,
    report: ReportFile = None,
) -> None:
    """Show widths, sizes and what a conversion will take, for both modes, without drawing any."""
    from lt_onnx.conversion import make_options
    from lt_onnx.lowering import read_target
    from lt_onnx.options import Mode
    from lt_onnx.overview import planned
    from lt_onnx.planner import plan
    from lt_onnx.report import write_json
    from lt_onnx.studies.theory import demanded

    network = read_target(target)
    plans = []
    for word in [m.value for m in Mode] if mode is None else [mode]:
        blueprint = plan(network, make_options(mode=word, base_size=base_size))
        theory = demanded(blueprint, epsilon, delta, constant, gamma) if epsilon else []
        plans.append({**planned(blueprint), "theory": [row.to_dict() for row in theory]})
    if report is not None:
        write_json(report, {"target": str(target), "plans": plans})
    for number, document in enumerate(plans):
        typer.echo(f"{chr(10) if number else ''}mode {document['mode']}")
        table(
            [
                [row["name"], row["kind"], f"{row['inputs']}→{row['outputs']}",
                 f"{row['copies']}+{row['constants']}", f"{row['weights']:,}",
                 size_text(row["bytes"]), size_text(row["memory_bytes"]), f"{row['seconds']:.1f}"]
                for row in document["layers"]
            ],
            ["layer", "kind", "channels", "copies+const", "weights", "file", "memory", "s"],
            right=(2, 3, 4, 5, 6, 7),
        )  # fmt: skip
        typer.echo(
            f"in all    {document['source_weights']:,} random weights, "
            f"{size_text(document['file_bytes'])} file; {document['dense_parameters']:,} stay dense"
        )
        typer.echo(
            f"needs     about {size_text(document['memory_bytes'])} memory, "
            f"{duration_text(document['seconds'])}"
        )
        if document["theory"]:
            theorem = "3.2" if document["mode"] == Mode.L_PLUS_1 else "3.1"
            typer.echo(f"Theorem {theorem} for ε = {epsilon:g}, δ = {delta:g}, beside what is used")
            table(
                [
                    [row["name"], f"{row['parameters']:,}", f"e{row['log_epsilon']:.0f}",
                     str(row["base_size"]), str(row["used_base_size"]), f"{row['width']:,}",
                     f"{row['used_width']:,}", f"×{row['stride_factor']}", f"{row['reach']:.3g}"]
                    for row in document["theory"]
                ],
                ["layer", "N", "ε_l", "m", "used", "width", "used", "stride", "reach"],
                right=(1, 2, 3, 4, 5, 6, 7, 8),
            )  # fmt: skip


@app.command()
def verify(
    ticket: Annotated[Path, typer.Argument(help="Ticket to prove.")],
    target: Annotated[
        Path | None, typer.Option("--target", help="Also check that it was made from this file.")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Prove from the file alone that a ticket is a masked copy of its random source."""
    from lt_onnx.reader import load
    from lt_onnx.verification import verify as prove

    digest = load(target)[1] if target is not None else None
    proof = prove(ticket, digest)
    for failure in proof.failures:
        typer.echo(f"{ticket}: {failure}", err=True)
    if not quiet:
        word = "genuine" if proof.genuine else "NOT GENUINE"
        typer.echo(
            f"{word}: {proof.layers} layers, {proof.kept:,} of {proof.source:,} random weights "
            f"kept (seed {proof.seed}); {proof.scales:,} scales; {proof.parameters:,} parameters "
            f"of the target in {proof.dense} dense places"
        )
    raise typer.Exit(0 if proof.genuine else 1)


@app.command()
def validate(
    target: Annotated[Path, typer.Argument(help="The target network.")],
    ticket: Annotated[Path, typer.Argument(help="The ticket, or any network of equal outputs.")],
    samples: SamplesFile = None,
    count: Annotated[int, typer.Option("--count", help="Random inputs without --samples.")] = 64,
    seed: Annotated[int, typer.Option("--seed", help="Seed of random inputs.")] = 0,
    max_rel: MaxRel = None,
    min_agreement: MinAgreement = None,
    max_accuracy_drop: MaxDrop = None,
    report: ReportFile = None,
    quiet: Quiet = False,
) -> None:
    """Compare a ticket's outputs with its target's."""
    from lt_onnx.reader import read_graph
    from lt_onnx.report import SCHEMA, fidelity_dict, write_json
    from lt_onnx.samples import load_samples, random_samples
    from lt_onnx.validation import validate as compare

    limits = _limits(max_rel, min_agreement, max_accuracy_drop)
    if count < 1:
        raise InputError(f"--count is {count}; give 1 or more")
    ports = read_graph(target).inputs
    if samples is not None:
        inputs = load_samples(samples, ports)
    else:
        inputs = random_samples(ports, count, seed, smooth=False)
    with _progress(quiet) as progress:
        fidelity = compare(
            target, ticket, inputs, ports, limits, progress=lambda x: progress("validate", x)
        )
    if report is not None:
        document = {"schema": SCHEMA, "version": __version__, "target": {"file": str(target)},
                    "ticket": {"file": str(ticket)}, "validate": fidelity_dict(fidelity),
                    "verdict": "passed" if fidelity.passed else "failed"}  # fmt: skip
        write_json(report, document)
    if not quiet:
        print_fidelity(fidelity)
    raise typer.Exit(0 if fidelity.passed else 1)


@app.command()
def source(
    target: Annotated[Path, typer.Argument(help="ONNX file whose source network is wanted.")],
    mode: ModeWord = "l+1",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")] = None,
    base_size: BaseSize = None,
    init: Init = "kaiming",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Write the random source network that a ticket of this target is masked from."""
    from lt_onnx.conversion import check_room, make_options, write_source
    from lt_onnx.lowering import read_target
    from lt_onnx.overview import predict
    from lt_onnx.planner import plan

    options = make_options(mode=mode, base_size=base_size, init=init, seed=seed)
    blueprint = plan(read_target(target), options)
    path = output or target.with_name(f"{target.stem}.source.onnx")
    check_room(path, target, predict(blueprint), None)
    with _progress(quiet) as progress:
        write_source(blueprint, path, progress)
    if not quiet:
        typer.echo(
            f"{path}: {blueprint.source_weights:,} random weights in {len(blueprint.layers)} "
            f"layers, seed {seed}, {init}"
        )


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
    """Show how well random subsets fit: Figures 3 and 4 of the paper."""
    from lt_onnx.report import write_json
    from lt_onnx.studies.plots import check_picture, draw_statistics
    from lt_onnx.studies.statistics import measure
    from lt_onnx.subset_sum import EXACT

    if not 2 <= base_size <= EXACT:
        raise InputError(f"--base-size is {base_size}; give 2 to {EXACT}")
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
    typer.echo(f"{count:,} problems each, m = {base_size}, ε = {tolerance:g}, seed {seed}")
    for summary in summaries:
        error, size, missed = (summary[key] for key in ("mean_error", "mean_size", "misses"))
        typer.echo(f"{summary['figure']}  {summary['rule']}, {summary['variable']} variables")
        typer.echo(
            f"  error {error['mean']:.2e} ± {error['half_width']:.0e}, "
            f"> ε in {100 * missed['mean']:.2f} %, |S| {size['mean']:.2f} ± "
            f"{size['half_width']:.2f}"
        )
        typer.echo(f"  paper: {summary['paper']}")


@app.command("frontier")
def frontier_command(
    target: Annotated[Path, typer.Argument(help="ONNX file to make tickets of.")],
    mode: Annotated[str | None, typer.Option("--mode", help="One mode; both without.")] = None,
    base_sizes: Annotated[
        str | None, typer.Option("--base-size", help="m's, as in 6,8,10; else a ladder.")
    ] = None,
    prices: Annotated[
        str | None, typer.Option("--price", help="μ's, as in 0,0.002; with --base-size.")
    ] = None,
    seeds: Annotated[int, typer.Option("--seeds", help="Tickets per setting.")] = 1,
    calibration: CalibrationFile = None,
    samples: SamplesFile = None,
    report: ReportFile = None,
    picture: Picture = None,
    quiet: Quiet = False,
) -> None:
    """Sweep the settings and show how faithful tickets of each size are."""
    from lt_onnx.conversion import make_options
    from lt_onnx.ladder import LADDERS, Rung
    from lt_onnx.options import Mode
    from lt_onnx.report import write_json
    from lt_onnx.studies.frontier import frontier, sweep
    from lt_onnx.studies.plots import check_picture, draw_frontier

    modes = [make_options(mode=mode).mode] if mode is not None else list(Mode)
    if prices is not None and base_sizes is None:
        raise InputError("--price needs --base-size here: settings are all pairs of both")
    if seeds < 1:
        raise InputError(f"--seeds is {seeds}; give 1 or more")
    if picture is not None:
        check_picture(picture)
    settings = []
    for word in modes:
        rungs = LADDERS[word]
        if base_sizes is not None:
            sizes = _numbers("--base-size", base_sizes)
            costs = _numbers("--price", prices) if prices else [make_options(mode=word).mu]
            rungs = tuple(Rung(int(m), price) for m in sizes for price in costs)
        for rung in rungs:
            make_options(mode=word, base_size=rung.base_size, price=rung.price)
        settings += [(word.value, rung) for rung in rungs]
    points = []
    with _progress(quiet) as progress:
        for point in sweep(target, settings, seeds, calibration=calibration, samples=samples):
            points.append(point)
            progress("tickets", len(points) / len(settings))
    points = frontier(points)
    if report is not None:
        write_json(report, {"target": str(target), "points": [p.to_dict() for p in points]})
    if picture is not None:
        draw_frontier(points, target.stem, picture)
    if quiet:
        return
    table(
        [
            ["*" if p.best else "", p.mode, str(p.base_size), f"{p.price:g}",
             f"{p.per_target_weight:.2f}", size_text(p.dense_bytes), f"{p.sqnr_db:.1f}",
             "" if p.agreement is None else f"{100 * p.agreement:.2f}",
             "" if p.accuracy is None else f"{100 * p.accuracy:.2f}", f"{p.seconds:.0f}"]
            for p in points
        ],
        ["best", "mode", "m", "μ", "per weight", "bytes", "SQNR", "agree", "accuracy", "s"],
        right=(2, 3, 4, 5, 6, 7, 8, 9),
    )  # fmt: skip
    known = points[0].target_accuracy
    if known is not None:
        typer.echo(f"the target's own accuracy is {100 * known:.2f} %")
    typer.echo(
        f"best: no smaller one of its mode has a better SQNR; {points[0].parameters:,} "
        "parameters of the target stay dense in each"
    )


def _numbers(option: str, text: str) -> list[float]:
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise InputError(f"{option} is '{text}'; give numbers with commas between") from None


def _limits(rel: float | None, agreement: float | None, drop: float | None) -> "Limits":
    from lt_onnx.validation import Limits

    return Limits(rel, agreement, drop)


def _bytes(text: str) -> int:
    units = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    unit = text.strip().upper().removesuffix("B")
    factor = units.get(unit[-1:], 1)
    try:
        value = float(unit[:-1] if unit[-1:] in units else unit) * factor
    except ValueError:
        value = -1.0
    if not 0 < value < 2**63:
        raise InputError(f"--max-memory is '{text}'; give bytes, as in 800M or 8G")
    return int(value)


@contextmanager
def _progress(quiet: bool) -> "Iterator[Progress]":
    """A bar with the time left, on stderr, per stage; nothing when quiet or not a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda stage, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bars: dict[str, Any] = {}
    with Progress(
        TextColumn("{task.description:9}"), BarColumn(), TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(), console=Console(stderr=True), transient=True,
    ) as shown:  # fmt: skip

        def tell(stage: str, share: float) -> None:
            if stage not in bars:
                bars[stage] = shown.add_task(stage, total=1.0)
            shown.update(bars[stage], completed=share)

        yield tell


def _version(value: bool) -> None:
    if value:
        typer.echo(f"lt-onnx {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Turn trained ONNX networks into strong lottery tickets, prove them and compare them."""


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; the only place where errors become exit codes."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # clean up as for Ctrl-C
    sys.exit(_run(arguments))


def _run(arguments: list[str] | None) -> int:
    try:
        result = app(arguments, standalone_mode=False)
        if result == 130:  # how typer tells of an interrupt
            return _fail(INTERRUPTED, 3)
        return result if isinstance(result, int) else 0
    except LtOnnxError as error:
        return _fail(str(error), error.exit_code)
    except MemoryError:
        return _fail("out of memory: lower --base-size or use --mode 2l", 3)
    except KeyboardInterrupt:
        return _fail(INTERRUPTED, 3)
    except BrokenPipeError:
        return 3
    except Exception as error:
        if _interrupted(error):
            return _fail(INTERRUPTED, 3)
        # typer vendors click: its usage errors are told by what they can do, not by their class
        message = getattr(error, "format_message", None)
        if message is None:
            if type(error).__name__ == "Abort":
                return _fail(INTERRUPTED, 3)
            raise
        return _fail(message(), 2)


def _interrupted(error: BaseException | None) -> bool:
    """Whether compiled code wrapped an interrupt into an error of its own."""
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__cause__ or error.__context__
    return error is not None


def _fail(message: str, code: int) -> int:
    typer.echo(f"lt-onnx: error: {' '.join(message.split())}", err=True)
    return code


if __name__ == "__main__":
    main()
