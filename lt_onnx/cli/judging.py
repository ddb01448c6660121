"""Commands that prove tickets and compare them."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

from lt_onnx.cli.app import app
from lt_onnx.cli.console import print_fidelity, print_json, print_statistics, print_trace, say
from lt_onnx.cli.options import (
    ImageLayout,
    Json,
    MaxAbs,
    MaxDrop,
    MaxRel,
    Mean,
    MinAgreement,
    MinSqnr,
    PerLayer,
    Quiet,
    Reports,
    SamplesFile,
    Std,
    limits,
    pictures,
    progress,
)
from lt_onnx.errors import InputError


@app.command()
def verify(
    ticket: Annotated[Path, typer.Argument(help="Ticket to prove, or a pack (.ltz) of one.")],
    target: Annotated[
        Path | None,
        typer.Option("--target", help="Also check that its graph is what this file is planned to."),
    ] = None,
    statistics: Annotated[
        bool, typer.Option("--statistics", help="Also test that its source is random.")
    ] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prove from its file alone that a ticket is genuine.

    Every stored weight is drawn again from the seed and compared bit for bit; nothing but masks and
    scales is trained, and what stays dense is named. Which weights are kept is free.
    """
    from lt_onnx.packing import opened
    from lt_onnx.verification import verify as prove

    tested = None
    with opened(ticket) as path:
        proof = prove(path, target=target)
        if statistics:
            from lt_onnx.verification.statistics import statistics as examine

            tested = examine(path)
    failures = [*proof.failures, *(tested.failures if tested is not None else [])]
    for failure in failures:
        say(f"{ticket}: {failure}", err=True)
    if json:
        document = {**asdict(proof), "genuine": proof.genuine}
        print_json(document if tested is None else {**document, "statistics": tested.document()})
    if not (quiet or json):
        if tested is not None:
            print_statistics(tested)
        word = "genuine" if proof.genuine else "NOT GENUINE"
        say(
            f"{word}: {proof.layers} layers, {proof.kept:,} of {proof.source:,} random weights "
            f"kept (seed {proof.seed}); {proof.scales:,} scales; {proof.parameters:,} parameters "
            f"of the target in {proof.dense} dense places"
        )
    raise typer.Exit(1 if failures else 0)


@app.command()
def validate(
    target: Annotated[Path, typer.Argument(help="The target network.")],
    ticket: Annotated[Path, typer.Argument(help="The ticket, or any network of equal outputs.")],
    samples: SamplesFile = None,
    mean: Mean = None,
    std: Std = None,
    layout: ImageLayout = "nchw",
    count: Annotated[int, typer.Option("--count", help="Random inputs without --samples.")] = 64,
    seed: Annotated[int, typer.Option("--seed", help="Seed of random inputs.")] = 0,
    save_inputs: Annotated[
        Path | None, typer.Option("--save-inputs", help="Write the inputs used here (.npz).")
    ] = None,
    max_abs: MaxAbs = None,
    max_rel: MaxRel = None,
    min_sqnr: MinSqnr = None,
    min_agreement: MinAgreement = None,
    max_accuracy_drop: MaxDrop = None,
    per_layer: PerLayer = False,
    min_layer_sqnr: Annotated[
        float | None,
        typer.Option("--min-layer-sqnr", help="Of every layer; the first below is named."),
    ] = None,
    report: Reports = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare a ticket's outputs with its target's."""
    from lt_onnx.reading.graph import read_graph
    from lt_onnx.report.command import command_of
    from lt_onnx.report.document import validation
    from lt_onnx.report.formats import check_reports, write_reports
    from lt_onnx.samples.samples import load_samples, random_samples, save_samples
    from lt_onnx.validation.outputs import validate as compare
    from lt_onnx.validation.per_layer import check_layer_errors, trace

    held = limits(
        max_abs=max_abs,
        max_rel=max_rel,
        min_sqnr=min_sqnr,
        min_agreement=min_agreement,
        max_accuracy_drop=max_accuracy_drop,
    )
    if count < 1:
        raise InputError(f"--count is {count}; give 1 or more")
    check_reports(report or [])
    quiet = quiet or json
    ports = read_graph(target).inputs
    if samples is not None:
        inputs = load_samples(samples, ports, pictures(mean, std, layout))
    else:
        inputs = random_samples(ports, count, seed, smooth=False)
    if save_inputs is not None:
        save_samples(save_inputs, inputs)
    traced = None
    with progress(quiet) as tell:
        fidelity = compare(
            target, ticket, inputs, ports, held, progress=lambda x: tell("validate", x)
        )
        if per_layer or min_layer_sqnr is not None:
            traced = trace(target, ticket, inputs, progress=lambda x: tell("layers", x))
    if traced is not None and min_layer_sqnr is not None:
        check = check_layer_errors(traced, min_layer_sqnr)
        fidelity = replace(fidelity, checks=[*fidelity.checks, check])
    command = command_of(
        "validate",
        [target, ticket],
        None,
        {
            "samples": samples,
            "mean": mean,
            "std": std,
            "layout": layout if layout != "nchw" else None,
            "count": count if samples is None else None,
            "seed": seed if samples is None else None,
            **held.words(),
            "per_layer": per_layer,
            "min_layer_sqnr": min_layer_sqnr,
        },
    )
    document = validation(target, ticket, command=command, fidelity=fidelity, trace=traced)
    write_reports(report or [], document)
    if json:
        print_json(document)
    if not quiet:
        print_fidelity(fidelity)
        if traced is not None:
            print_trace(traced)
    raise typer.Exit(0 if fidelity.passed else 1)
