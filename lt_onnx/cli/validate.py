"""`lt-onnx validate`."""

import math
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Annotated

import typer

from lt_onnx.cli.console import print_comparison, print_json, print_trace, print_verdict, progress
from lt_onnx.cli.options import NO_WORDS, Config, Force, Json, PerLayer, Quiet, Reports, SamplesFile
from lt_onnx.errors import InputError
from lt_onnx.options import Param, Pictures, changed, check_seed
from lt_onnx.validation.limits import Limits


def validate_command(
    target: Annotated[Path, Param("The target network.")],
    ticket: Annotated[
        Path, Param("The ticket, a pack (.ltz) of one, or any network of equal outputs.")
    ],
    *,
    samples: SamplesFile = None,
    pictures: Pictures,
    count: Annotated[int, Param("Random inputs without --samples.")] = 64,
    seed: Annotated[int, Param("Seed of random inputs.")] = 0,
    save_inputs: Annotated[Path | None, Param("Write the inputs used here (.npz).")] = None,
    limits: Limits,
    per_layer: PerLayer = False,
    min_layer_sqnr: Annotated[
        float | None, Param("Of every layer; the first below is named.")
    ] = None,
    report: Reports = None,
    config: Config = NO_WORDS,
    force: Force = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare a ticket's outputs with its target's."""
    from lt_onnx.files import check_places, check_suffix
    from lt_onnx.packing.unpack import unpacked_if_packed
    from lt_onnx.reading.graph import read_compared
    from lt_onnx.reading.model_file import model_files
    from lt_onnx.report.command import command_of, words_of
    from lt_onnx.report.document import validation
    from lt_onnx.report.figures import verdict_of
    from lt_onnx.report.formats import check_reports, write_reports
    from lt_onnx.samples.images import check_pictures
    from lt_onnx.samples.random_inputs import random_samples
    from lt_onnx.samples.samples import load_samples, save_samples
    from lt_onnx.validation.outputs import compare_outputs
    from lt_onnx.validation.per_layer import check_layer_errors, trace

    check_pictures(pictures, samples)
    if count < 1:
        raise InputError(f"`count` is {count}; give 1 or more")
    check_seed(seed)
    if min_layer_sqnr is not None and not 0 <= min_layer_sqnr < math.inf:
        raise InputError(f"`min_layer_sqnr` is {min_layer_sqnr}; give decibels, 0 or more")
    drawn = {"count": count, "seed": seed} if samples is None else {}
    layers = {"per_layer": per_layer, "min_layer_sqnr": min_layer_sqnr}
    arguments = {"samples": samples, **changed(pictures), **drawn, **limits.arguments(), **layers}
    command = command_of("validate", [target, ticket], None, arguments)
    words = words_of(command, config.text)
    reports, saved = report or [], [] if save_inputs is None else [save_inputs]
    check_reports(reports, config.read, force=force, config=words)
    given = [*config.read, *([samples] if samples else [])]
    read = chain(model_files(target), model_files(ticket), given)
    check_places([*reports, *saved], read, force=force)
    for path in saved:
        check_suffix(path, ".npz", argument="save_inputs")
    network = read_compared(target, ticket)
    ports = network.inputs
    if samples is not None:
        inputs = load_samples(samples, ports, pictures)
    else:
        inputs = random_samples(ports, count, seed)
    if save_inputs is not None:
        save_samples(save_inputs, inputs, force=force)
    traced = None
    with progress(quiet or json) as tell, unpacked_if_packed(ticket) as opened:
        fidelity = compare_outputs(
            target,
            opened,
            inputs,
            ports,
            limits,
            outputs=network.outputs,
            progress=lambda x: tell("validate", x),
        )
        if per_layer or min_layer_sqnr is not None:
            traced = trace(target, opened, inputs, progress=lambda x: tell("layers", x))
    if traced is not None and min_layer_sqnr is not None:
        check = check_layer_errors(traced, min_layer_sqnr)
        fidelity = replace(fidelity, checks=[*fidelity.checks, check])
    document = validation(target, ticket, command=command, fidelity=fidelity, trace=traced)
    write_reports(reports, document, force=force, config=words)
    if json:
        print_json(document)
    elif not quiet:
        print_comparison(document)
        print_trace(document)
    print_verdict(verdict_of(document), quiet=quiet or json)
    raise typer.Exit(0 if fidelity.passed else 1)
