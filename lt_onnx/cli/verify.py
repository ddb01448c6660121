"""`lt-onnx verify`."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from lt_onnx.cli.console import print_json, print_statistics, print_verdict, say
from lt_onnx.cli.options import Json, Quiet
from lt_onnx.options import Param


def verify_command(
    ticket: Annotated[Path, Param("Ticket to prove, or a pack (.ltz) of one.")],
    *,
    target: Annotated[
        Path | None, Param("Also check that its graph is what this file is planned to.")
    ] = None,
    statistics: Annotated[bool, Param("Also test that its source is random.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prove from its file alone that a ticket is genuine.

    Every stored weight is drawn again from the seed and compared bit for bit; nothing but masks and
    scales is trained, and what stays dense is named. Which weights are kept is free.
    """
    from lt_onnx.packing.unpack import unpacked_if_packed
    from lt_onnx.report.figures import verdict
    from lt_onnx.verification.statistics import source_statistics
    from lt_onnx.verification.verify import verify

    with unpacked_if_packed(ticket) as path:
        proof = verify(path, target=target)
        tested = source_statistics(path) if statistics else None
    failures = [*proof.failures, *(tested.failures if tested is not None else [])]
    for failure in failures:
        say(f"{ticket}: {failure}", err=True)
    if json:
        document = asdict(proof)
        print_json(document if tested is None else {**document, "statistics": tested.document()})
    elif not quiet:
        if tested is not None:
            print_statistics(tested)
        say(
            f"{'genuine' if proof.genuine else 'NOT GENUINE'}: {proof.layers} layers, "
            f"{proof.kept:,} of {proof.source:,} random weights kept (seed {proof.seed})"
        )
        say(
            f"{proof.scales:,} scales; {proof.parameters:,} parameters of the target in "
            f"{proof.dense} dense places, {proof.scalars} elsewhere"
        )
    held = "genuine" if tested is None else "genuine, its source is random"
    print_verdict(verdict(failures, held), quiet=quiet or json)
    raise typer.Exit(1 if failures else 0)
