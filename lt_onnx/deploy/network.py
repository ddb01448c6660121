"""Any form of a ticket, or a pack of one, as a network to call."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

from lt_onnx.packing.unpack import unpacked_if_packed
from lt_onnx.runtime import Session
from lt_onnx.target import Array


class Network:
    """A network that runs through onnxruntime; see `load`."""

    def __init__(self, path: Path, device: str) -> None:
        self._files = ExitStack()  # a pack's ticket is there for as long as this
        self._session = Session(self._files.enter_context(unpacked_if_packed(path)), device)

    @property
    def outputs(self) -> list[str]:
        """Names of its outputs, in order."""
        return [*self._session.output_names]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name for one batch; `feeds` has an array for every input, by name.

        Floats come as float32. Raises InputError when the runtime cannot run the batch.
        """
        return self._session.run(feeds)


def load(path: str | Path, *, device: str = "cpu") -> Network:
    """Open a ticket, in whatever form, or a pack of one, to be run.

    Args:
        path: an ONNX file, or a pack (.ltz).
        device: `cpu` or `cuda`.

    Raises:
        InputError: there is no such file, it is damaged, or onnxruntime refuses it.
    """
    return Network(Path(path), device)
