"""Commands that store tickets without their random numbers."""

from pathlib import Path
from typing import Annotated

import typer

from lt_onnx.cli.app import app
from lt_onnx.cli.console import say
from lt_onnx.cli.options import Force, Quiet
from lt_onnx.units import size_text


@app.command()
def pack(
    ticket: Annotated[Path, typer.Argument(help="Ticket to pack.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Pack to write (.ltz).")
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Store a ticket without its random numbers.

    What is left is graph, seed, packed masks and scales; unpack draws the rest again.
    """
    from lt_onnx.packing import pack as run

    path = output or ticket.with_suffix(".ltz")
    small, large = run(ticket, path, force=force)
    if not quiet:
        say(f"{path}: {size_text(small)} for {size_text(large)}, 1/{large / max(small, 1):.1f}")


@app.command()
def unpack(
    packed: Annotated[Path, typer.Argument(help="Pack to open (.ltz).")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Ticket to write, or a folder.")
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write the ticket of a pack, byte for byte as it was."""
    from lt_onnx.packing import named
    from lt_onnx.packing import unpack as run

    path = output or packed.parent
    if path.is_dir():
        path = path / named(packed)
    files = run(packed, path, force=force)
    if not quiet:
        for file in files:
            say(str(file))
