"""A ticket in any form, or a pack of one, opened: run, as arrays, as a torch module."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cached_property
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import onnx

from lt_onnx.deployment.layers import Layers
from lt_onnx.errors import InputError, check_torch
from lt_onnx.files import atomic_write, check_file, check_places
from lt_onnx.manifest import Manifest
from lt_onnx.options import Options
from lt_onnx.packing.unpack import unpacked_if_packed
from lt_onnx.reading.model_file import load as read_model
from lt_onnx.reading.model_file import read_manifest
from lt_onnx.runtime import Session
from lt_onnx.target import Array
from lt_onnx.units import html_table
from lt_onnx.verification.seeded import open_ticket

if TYPE_CHECKING:
    from lt_onnx.deployment.in_torch.module import TicketModule


class Network:
    """A ticket, or another network, that is open; see `load`.

    What a ticket has beside `run` and `outputs` is taken from its file as it is: `lt_onnx.verify`
    proves that it is genuine.
    """

    def __init__(self, path: Path, *, target: Path | None, device: str) -> None:
        self.path = path
        self._target, self._device = target, device
        self._files = ExitStack()  # a pack's ticket is there for as long as this
        self._file = self._files.enter_context(unpacked_if_packed(path))
        self._manifest = read_manifest(self._file)
        if target is not None:
            check_file(target)
            if read_model(target)[1] != self._record.target_sha256:
                raise InputError(f"{path}: was made from another network than {target}")

    @cached_property
    def _session(self) -> Session:
        return Session(self._file, self._device)

    @property
    def outputs(self) -> list[str]:
        """Names of its outputs, in order."""
        return [*self._session.output_names]

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """The outputs by name for one batch; `feeds` has an array for every input, by name.

        Floats come as float32. Raises InputError when onnxruntime refuses the network, or cannot
        run the batch.
        """
        if not isinstance(feeds, Mapping):
            raise InputError(
                f"a {type(feeds).__name__} is no batch: give a dict of arrays by input"
            )
        return self._session.run(feeds)

    @property
    def seed(self) -> int:
        """The seed of its random source. Raises InputError where it is no ticket."""
        return self._record.seed

    @property
    def options(self) -> Options:
        """What it was constructed with. Raises InputError where it is no ticket."""
        return self._record.construction()

    @cached_property
    def layers(self) -> Layers:
        """Its random layers by name, in the order in which they run; see `Layer`.

        With a `target`, the constructed ones have a `target_weight`. Raises InputError where it is
        no ticket, or a collapsed one, whose weights are sums of random ones.
        """
        model, manifest = self._opened
        return Layers(self._file, model, manifest, self._target)

    def save_safetensors(self, path: str | Path, *, force: bool = False) -> None:
        """Write its layers as a safetensors file; `force` lets it replace one.

        Tensors are `<layer>.mask` (bool), `.source` and `.scale` (float32), and where a layer has
        them `.bias`, `.order` (int64) and `.target_weight`, of the shapes of `Layer`. The metadata
        hold `seed`, `options` as JSON and `target_sha256`. All of it is held in memory.

        Raises InputError as `layers`, or where nothing can be written, and ResourceError.
        """
        from safetensors.numpy import save

        path = Path(path)
        check_places([path], [self.path], force=force)
        tensors = {}
        for name, layer in self.layers.items():
            arrays = {
                "mask": layer.mask,
                "source": layer.source,
                "scale": layer.scale,
                "bias": layer.bias,
                "order": layer.order,
                "target_weight": layer.target_weight,
            }
            tensors.update({f"{name}.{k}": v for k, v in arrays.items() if v is not None})
        record = self._record
        metadata = {
            "seed": str(record.seed),
            "options": json.dumps(msgspec.to_builtins(record.options)),
            "target_sha256": record.target_sha256,
        }
        with atomic_write(path, force=force) as (stream,):
            stream.write(save(tensors, metadata))

    def to_torch(self) -> "TicketModule":
        """The ticket as a torch module that computes what onnxruntime does, to rounding.

        Its `layers` hold `source` and `scale` as frozen parameters and `mask` as a buffer; nothing
        else is a parameter. Inputs are the network's, in their order.

        Raises InputError as `layers`, where torch is not installed, and UnsupportedError for an
        operator that has no counterpart here, by name.
        """
        model, manifest = self._opened
        check_torch("to_torch")
        from lt_onnx.deployment.in_torch.module import TicketModule

        return TicketModule(self._file, model, manifest)

    @property
    def _record(self) -> Manifest:
        """What it says of itself as a ticket."""
        if self._manifest is None:
            raise InputError(f"{self.path}: is no ticket: it has no seed, and no masks")
        return self._manifest

    @cached_property
    def _opened(self) -> tuple[onnx.ModelProto, Manifest]:
        """The plain ticket. Raises InputError for a collapsed one."""
        _ = self._record
        return open_ticket(self._file)

    def __repr__(self) -> str:
        about = ", ".join(f"{name} {value}" for name, value in self._about().items())
        return f"<Network {about}>"

    def _repr_html_(self) -> str:
        return html_table(self._about())

    def _about(self) -> dict[str, str]:
        record = self._manifest
        if record is None:
            return {"file": str(self.path)}
        return {
            "ticket": str(self.path),
            "mode": record.options.mode.value,
            "layers": str(len(record.layers)),
            "kept": f"{sum(layer.kept + layer.kept_bias for layer in record.layers):,}",
            "seed": str(record.seed),
        }


def load(
    path: str | PathLike[str], *, target: str | PathLike[str] | None = None, device: str = "cpu"
) -> Network:
    """Open a ticket, in whatever form, or a pack of one.

    Args:
        path: an ONNX file, or a pack (.ltz). A network that is no ticket can only be run.
        target: the network that the ticket was made from, to have its weights beside the ticket's.
        device: `cpu` or `cuda`, where it is run.

    Raises:
        InputError: there is no such file, it is damaged, or the target is another.
    """
    return Network(Path(path), target=None if target is None else Path(target), device=device)
