"""`lt-onnx pack` and `lt-onnx unpack`."""

from pathlib import Path
from typing import Annotated

from lt_onnx.cli.console import say
from lt_onnx.cli.options import Force, Quiet
from lt_onnx.options import Param
from lt_onnx.units import size_text


def pack_command(
    ticket: Annotated[Path, Param("Ticket to pack.")],
    *,
    output: Annotated[Path | None, Param("Pack to write (.ltz).", flags=("--output", "-o"))] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Store a ticket without its random numbers.

    What is left is graph, seed, packed masks and scales; unpack draws the rest again.
    """
    from lt_onnx.files import check_named
    from lt_onnx.packing.pack import pack

    check_named(ticket)
    path = output or ticket.with_suffix(".ltz")
    small, large = pack(ticket, path, force=force)
    if not quiet:
        say(f"{path}: {size_text(small)} for {size_text(large)}, 1/{large / max(small, 1):.1f}")


def unpack_command(
    packed: Annotated[Path, Param("Pack to open (.ltz).")],
    *,
    output: Annotated[
        Path | None, Param("Ticket to write, or a folder.", flags=("--output", "-o"))
    ] = None,
    force: Force = False,
    quiet: Quiet = False,
) -> None:
    """Write the ticket of a pack, byte for byte as it was."""
    from lt_onnx.packing.unpack import ticket_name, unpack

    path = output or packed.parent
    if path.is_dir():
        path = path / ticket_name(packed)
    files = unpack(packed, path, force=force)
    if not quiet:
        for file in files:
            say(str(file))
