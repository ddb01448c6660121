"""A pack's description, and the random layers of a ticket as packing and unpacking see them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
import onnx

from lt_onnx.manifest import BlockRecord, LayerRecord, Manifest
from lt_onnx.options import Weights
from lt_onnx.packing.grouping import Grouping
from lt_onnx.source.layer import SourceLayer, draw_bias, scaled_rows
from lt_onnx.target import Floats
from lt_onnx.verification.tensors import is_external
from lt_onnx.writing.storage import SOURCE_FIELDS, Form, Initializer, name_of

PACK_FORMAT = 3
MAX_BLOCKS = 16  # before a layer that it may read


class PackedFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the ticket."""

    name: str
    size: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="bytes")
    sha256: str


class Stated(msgspec.Struct, frozen=True):
    """The format that a `pack.json` says to be of, whatever else it says."""

    format: int


class About(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The content of `pack.json`."""

    format: int
    name: str = ""
    files: tuple[PackedFile, ...] = ()

    def to_json(self) -> bytes:
        """It as it is written."""
        return json.dumps(msgspec.to_builtins(self), sort_keys=True).encode()


@dataclass(frozen=True)
class PackedLayer:
    """A random layer of a ticket, and how it lies there."""

    record: LayerRecord
    form: Form
    spec: SourceLayer

    @staticmethod
    def of(r: LayerRecord) -> "PackedLayer":
        """The layer that a manifest describes."""
        fields = {name: getattr(r, name) for name in SOURCE_FIELDS}
        return PackedLayer(r, Form.of(r), SourceLayer(r.weight, bias=r.bias is not None, **fields))

    @property
    def names(self) -> list[str]:
        """The initializers that can be drawn again."""
        masks = [self.form.mask] if self.form.stored is Weights.MASKED else []
        biases = [] if self.record.bias is None else [self.record.bias]
        return [self.form.numbers, *masks, *biases]

    @property
    def derived(self) -> list[str]:
        """The initializers that follow from the record of a univariate layer: scales, order."""
        block = self.record.block
        return [] if block is None else [self.record.scale, block.order]

    def rows(self, seed: int) -> Iterator[tuple[int, Floats]]:
        """Rows of the source in units of σ, some [R, I·K] at a time; the number of the first."""
        return scaled_rows(seed, self.spec, np.float32(1))

    def scaled(self, drawn: Floats) -> Floats:
        """The source's own numbers, of those in units of σ."""
        return drawn * np.float32(self.record.sigma)

    def biases(self, seed: int) -> Floats:
        """The source's own biases, [O]."""
        return draw_bias(seed, self.spec) * np.float32(self.record.sigma)


def layers_of(manifest: Manifest) -> list[PackedLayer]:
    """The random layers of a ticket, in order."""
    return [PackedLayer.of(record) for record in manifest.layers]


def groupings(
    layers: Sequence[PackedLayer], tensors: Mapping[str, Initializer]
) -> list[Grouping | None]:
    """Where the base sets of each layer lie: behind the nearest block that it fits; None: nowhere.

    Univariate layers have none.
    """
    found: list[Grouping | None] = []
    blocks: list[tuple[BlockRecord, int]] = []  # the last ones, and the places of their order
    for layer in layers:
        block = layer.record.block
        if block is not None:
            order = tensors.get(block.order)
            dims = list(order.dims) if isinstance(order, onnx.TensorProto) else []
            blocks = [*blocks, (block, dims[0])][-MAX_BLOCKS:] if len(dims) == 1 else blocks
            found.append(None)
            continue
        fits = (Grouping.of(layer.record, b, size) for b, size in reversed(blocks))
        found.append(next((grouping for grouping in fits if grouping is not None), None))
    return found


def initializers_of(model: onnx.ModelProto) -> dict[str, Initializer]:
    """The initializers of a model by name; changing one changes the model."""
    graph = model.graph
    return {name_of(tensor): tensor for tensor in (*graph.initializer, *graph.sparse_initializer)}


def raw_tensors(tensor: Initializer) -> list[onnx.TensorProto]:
    """Those whose numbers lie in the model's file: values and places of a sparse one, or none."""
    if isinstance(tensor, onnx.SparseTensorProto):
        return [tensor.values, tensor.indices]
    return [] if is_external(tensor) else [tensor]
