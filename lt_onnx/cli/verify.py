"""`lt-onnx verify`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import to_builtins

from lt_onnx.cli.console import print_json, print_proof, print_statistics, print_verdict, say
from lt_onnx.cli.options import Json, Quiet
from lt_onnx.options import Param
from lt_onnx.units import share

if TYPE_CHECKING:
    from lt_onnx.verification.verify import Proof


def verify_command(
    ticket: Annotated[Path, Param("Ticket to prove, or a pack (.ltz) of one.")],
    *,
    target: Annotated[
        Path | None, Param("Also check that its graph is what this file is planned to.")
    ] = None,
    max_outside_masks: Annotated[
        float | None,
        Param(
            "Of all bits that the seed does not fix, how many need not be masks (with --target).",
            unit="SHARE",
            read=share,
            expects="a share, as in 0.05 or 5%",
        ),
    ] = None,
    statistics: Annotated[bool, Param("Also test that its source is random.")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Prove from its file alone that a ticket is genuine.

    Every stored weight is drawn again from the seed and compared bit for bit. What the seed does
    not fix is counted, in bits: masks, scales and what stays dense. Without --target the graph, its
    operators and indices, is its author's word.
    """
    from lt_onnx.packing.unpack import unpacked_if_packed
    from lt_onnx.report.figures import verdict
    from lt_onnx.verification.statistics import source_statistics
    from lt_onnx.verification.verify import prove

    with unpacked_if_packed(ticket) as path:
        proof = prove(path, target=target, max_outside_masks=max_outside_masks)
        tested = source_statistics(path) if statistics else None
    failures = [*proof.failures, *(tested.failures if tested is not None else [])]
    for failure in failures:
        say(f"{ticket}: {failure}", err=True)
    held = _held(proof, target)
    if json:
        document = to_builtins(proof)
        print_json(document if tested is None else {**document, "statistics": tested.document()})
    elif not quiet:
        if tested is not None:
            print_statistics(tested)
        print_proof(proof, held)
    held = held.partition(";")[0] + ("" if tested is None else ", its source is random")
    print_verdict(verdict(failures, held), quiet=quiet or json)
    raise typer.Exit(1 if failures else 0)


def _held(proof: "Proof", target: Path | None) -> str:
    """What is known of the ticket."""
    if proof.of_other_target:
        return f"ticket of another network; its weights match seed {proof.seed}"
    if not proof.genuine:
        return "NOT GENUINE"
    if target is not None:
        return f"genuine ticket of {target}"
    return f"weights match seed {proof.seed}; the graph is the author's word"
