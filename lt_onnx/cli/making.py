"""Commands that make tickets and their sources."""

from pathlib import Path
from typing import Annotated

import typer

from lt_onnx.cli.app import app
from lt_onnx.cli.console import announce, print_json, print_report, say
from lt_onnx.cli.options import (
    BaseSize,
    CalibrationFile,
    Dearness,
    DeviceWord,
    Force,
    Fp16,
    Init,
    Json,
    MaxAbs,
    MaxDrop,
    MaxRel,
    MinAgreement,
    MinSqnr,
    ModeWord,
    PerLayer,
    Price,
    Quiet,
    Reports,
    SamplesFile,
    Seed,
    SelectWord,
    SigmaWord,
    Tolerance,
    WeightsWord,
    allocation,
    byte_count,
    limits,
    progress,
)
from lt_onnx.errors import InputError


@app.command()
def convert(
    targets: Annotated[list[Path], typer.Argument(help="ONNX files to convert.")],
    mode: ModeWord = "l+1",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Ticket file, or folder for several.")
    ] = None,
    base_size: BaseSize = None,
    tolerance: Tolerance = 0.01,
    select: SelectWord = "noise",
    sigma: SigmaWord = "channel",
    init: Init = "unit",
    seed: Seed = 0,
    price: Price = None,
    dearness: Dearness = 0.7,
    target_sqnr: Annotated[
        float | None, typer.Option("--target-sqnr", help="Find the smallest ticket of so many dB.")
    ] = None,
    target_agreement: Annotated[
        float | None, typer.Option("--target-agreement", help="… of such a share of equal top-1.")
    ] = None,
    calibration: CalibrationFile = None,
    calibration_count: Annotated[
        int | None, typer.Option("--calibration-count", help="How many; more: truer and slower.")
    ] = None,
    samples: SamplesFile = None,
    weights: WeightsWord = "folded",
    fp16: Fp16 = False,
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
    force: Force = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Keep what is finished; go on from there if killed.")
    ] = False,
    max_abs: MaxAbs = None,
    max_rel: MaxRel = None,
    min_sqnr: MinSqnr = None,
    min_agreement: MinAgreement = None,
    max_accuracy_drop: MaxDrop = None,
    per_layer: PerLayer = False,
    report: Reports = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert networks to tickets, prove them and validate them."""
    from lt_onnx import convert as run
    from lt_onnx.report.formats import check_reports, write_reports

    held = limits(
        max_abs=max_abs,
        max_rel=max_rel,
        min_sqnr=min_sqnr,
        min_agreement=min_agreement,
        max_accuracy_drop=max_accuracy_drop,
    )
    memory = None if max_memory is None else byte_count(max_memory)
    if len(targets) > 1 and output is not None and not output.is_dir():
        raise InputError(f"{output}: with several targets --output must be an existing folder")
    if len(targets) > 1 and (report or json):
        raise InputError("--report and --json are of one target; lt-onnx zoo reports on many")
    check_reports(report or [])
    quiet = quiet or json
    passed = True
    for target in targets:
        out = output
        if output is not None and output.is_dir():
            out = output / f"{target.stem}.ticket.onnx"
        with progress(quiet) as tell:
            ticket = run(
                target,
                out,
                mode=mode,
                tolerance=tolerance,
                select=select,
                sigma=sigma,
                init=init,
                seed=seed,
                dearness=dearness,
                **allocation(base_size, price),
                target_sqnr=target_sqnr,
                target_agreement=target_agreement,
                calibration=calibration,
                calibration_count=calibration_count,
                samples=samples,
                weights=weights,
                fp16=fp16,
                emit_source=emit_source,
                max_memory=memory,
                force=force,
                resume=resume,
                limits=held,
                device=device,
                validate=check,
                bound=bound,
                progress=tell,
                per_layer=check and (per_layer or bool(report)),
                announce=None if quiet else announce,
            )
        document = ticket.report.to_dict()
        write_reports(report or [], document)
        if json:
            print_json(document)
        if not quiet:
            print_report(ticket.report)
            if ticket.source is not None:
                say(f"source    {ticket.source}")
            if ticket.resumed:
                say(f"resumed   {ticket.resumed} layers had been finished before")
        passed &= ticket.passed
    raise typer.Exit(0 if passed else 1)


@app.command()
def source(
    target: Annotated[Path, typer.Argument(help="ONNX file whose source network is wanted.")],
    mode: ModeWord = "l+1",
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write.")] = None,
    base_size: BaseSize = None,
    init: Init = "kaiming",
    seed: Seed = 0,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write the random source network of a target."""
    from lt_onnx.options import make_options
    from lt_onnx.pipeline import check_room
    from lt_onnx.planning.plan import plan
    from lt_onnx.planning.prediction import predict
    from lt_onnx.reading.lowering import read_target
    from lt_onnx.writing.build import write_source
    from lt_onnx.writing.ticket import files_of

    options = make_options(mode=mode, init=init, seed=seed, **allocation(base_size, None))
    blueprint = plan(read_target(target), options)
    path = output or target.with_name(f"{target.stem}.source.onnx")
    files = files_of(path, blueprint, source=True)
    check_room(files, target, predict(blueprint), None, force=force)
    with progress(quiet) as tell:
        write_source(blueprint, path, tell)
    if not quiet:
        say(
            f"{path}: {blueprint.source_weights:,} random weights in {len(blueprint.layers)} "
            f"layers, seed {seed}, {init}"
        )
