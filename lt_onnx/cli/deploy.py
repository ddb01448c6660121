"""`lt-onnx deploy`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lt_onnx.cli.console import say
from lt_onnx.cli.options import Force, Quiet
from lt_onnx.options import Param, Weights
from lt_onnx.units import size_text

if TYPE_CHECKING:
    from lt_onnx.deployment.forms import Deployment


def deploy_command(
    ticket: Annotated[Path, Param("Ticket, in any form, or a pack (.ltz) of one.")],
    *,
    weights: Annotated[
        Weights, Param("How they are stored; seeded: made when the file is opened.")
    ] = Weights.SEEDED,
    collapse: Annotated[
        bool, Param("Sum each block into one layer (2l, seeded; with --target).")
    ] = False,
    target: Annotated[Path | None, Param("The target: compare with it, and time both.")] = None,
    output: Annotated[Path | None, Param("File to write.", flags=("--output", "-o"))] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write a ticket that exists with its weights in another form.

    A seeded file holds no random number: its graph makes them from the seed, in standard operators
    of operator set 18, when a runtime opens it. Collapsed, it is then a network of the target's own
    size and speed.
    """
    from lt_onnx.deployment.forms import deploy

    made = deploy(ticket, output, weights=weights, collapse=collapse, target=target, force=force)
    if not quiet:
        _print(made)
    if made.comparison is not None and not made.comparison.same:
        what = "computes something else than its ticket: convert the target again"
        say(f"FAILED: {made.path} {what}", err=quiet)
        raise typer.Exit(1)


def _print(made: "Deployment") -> None:
    """Sizes, and how the form compares with ticket and target."""
    say(f"{made.path}: {size_text(made.bytes)}; the ticket has {size_text(made.ticket_bytes)}")
    if made.comparison is not None:
        c = made.comparison
        say(f"  largest difference from the ticket {c.difference:.1e} of its largest output")
        say(
            f"  ms per input: target {c.target_ms:.2f}, ticket {c.ticket_ms:.2f}, this "
            f"{c.form_ms:.2f} ({c.form_ms / c.target_ms:.2f} of the target's); opened in "
            f"{c.load_seconds:.2f} s"
        )
