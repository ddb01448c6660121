"""`lt-onnx deploy`."""

from pathlib import Path
from typing import Annotated

from lt_onnx.cli.console import say
from lt_onnx.cli.options import Force, Quiet
from lt_onnx.options import Param, Weights
from lt_onnx.units import size_text


def deploy_command(
    ticket: Annotated[Path, Param("Ticket, in any form.")],
    *,
    weights: Annotated[
        Weights, Param("seeded: the file makes them; folded, masked or sparse.")
    ] = Weights.SEEDED,
    output: Annotated[Path | None, Param("File to write.", flags=("--output", "-o"))] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write a ticket that exists with its weights in another form.

    A seeded file holds no random number: its graph makes them from the seed, in standard operators
    of operator set 18, when a runtime opens it.
    """
    from lt_onnx.deploy.forms import deploy

    made = deploy(ticket, output, weights=weights, force=force)
    if not quiet:
        ratio = made.ticket_bytes / max(made.bytes, 1)
        sizes = f"{size_text(made.bytes)} for {size_text(made.ticket_bytes)}"
        say(f"{made.path}: {sizes}, 1/{ratio:.1f}")
