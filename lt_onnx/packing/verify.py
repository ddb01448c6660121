"""The proof of a ticket, or of the ticket in a pack."""

from os import PathLike
from pathlib import Path

from lt_onnx.packing.archive import SUFFIX
from lt_onnx.verification.verify import Proof, prove


def verify(
    ticket: str | PathLike[str],
    *,
    target: str | PathLike[str] | None = None,
    target_sha256: str | None = None,
    max_outside_masks: float | None = None,
) -> Proof:
    """Prove from its file alone that a ticket is genuine.

    Args:
        ticket: path of the ticket, its external data beside it; or of a pack (.ltz) of it.
        target: also check that the graph is what this network is planned to.
        target_sha256: also check that the ticket says to be made from that file.
        max_outside_masks: also check that at most this share of the account, above 0 up to 1, is
            anything but masks; needs the target.

    Returns:
        the proof: every failure is a line that names the node or tensor.

    Raises:
        InputError: the file is no ticket at all, the target is no network, or the share is none.
    """
    path, planned = Path(ticket), None if target is None else Path(target)
    if path.suffix != SUFFIX:
        return prove(
            path, target=planned, target_sha256=target_sha256, max_outside_masks=max_outside_masks
        )
    from lt_onnx.packing.unpack import unpacked_if_packed  # compiles its decoder

    with unpacked_if_packed(path) as ticket:
        return verify(
            ticket, target=target, target_sha256=target_sha256, max_outside_masks=max_outside_masks
        )
