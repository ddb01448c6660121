"""Commands that make, show, prove and compare tickets."""

from pathlib import Path
from typing import Annotated

import typer

from lt_onnx import __version__
from lt_onnx.cli.app import app
from lt_onnx.cli.words import (
    BaseSize,
    CalibrationFile,
    DeviceWord,
    Init,
    MaxDrop,
    MaxRel,
    MinAgreement,
    ModeWord,
    Price,
    Quiet,
    ReportFile,
    SamplesFile,
    Seed,
    SigmaWord,
    byte_count,
    limits,
    prices,
    progress,
)
from lt_onnx.errors import InputError
from lt_onnx.printing import (
    announce,
    duration_text,
    print_fidelity,
    print_report,
    size_text,
    table,
)


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
    price: Price = None,
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

    held = limits(max_rel, min_agreement, max_accuracy_drop)
    memory = None if max_memory is None else byte_count(max_memory)
    if len(targets) > 1 and output is not None and not output.is_dir():
        raise InputError(f"{output}: with several targets --output must be an existing folder")
    if len(targets) > 1 and report is not None and not report.is_dir():
        raise InputError(f"{report}: with several targets --report must be an existing folder")
    passed = True
    for target in targets:
        out = output
        if output is not None and output.is_dir():
            out = output / f"{target.stem}.ticket.onnx"
        with progress(quiet) as tell:
            ticket = run(
                target, out, mode=mode, base_size=base_size, tolerance=tolerance, select=select,
                sigma=sigma, init=init, seed=seed, dearness=dearness, **prices(price),
                target_sqnr=target_sqnr, target_agreement=target_agreement,
                calibration=calibration, samples=samples, weights=weights,
                emit_source=emit_source, max_memory=memory,
                limits=held, device=device, validate=check, bound=bound, progress=tell,
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

    held = limits(max_rel, min_agreement, max_accuracy_drop)
    if count < 1:
        raise InputError(f"--count is {count}; give 1 or more")
    ports = read_graph(target).inputs
    if samples is not None:
        inputs = load_samples(samples, ports)
    else:
        inputs = random_samples(ports, count, seed, smooth=False)
    with progress(quiet) as tell:
        fidelity = compare(
            target, ticket, inputs, ports, held, progress=lambda x: tell("validate", x)
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
    with progress(quiet) as tell:
        write_source(blueprint, path, tell)
    if not quiet:
        typer.echo(
            f"{path}: {blueprint.source_weights:,} random weights in {len(blueprint.layers)} "
            f"layers, seed {seed}, {init}"
        )
