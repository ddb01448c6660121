"""A pack's description, and the random layers of a ticket as packing and unpacking see them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated

import msgspec
import numpy as np
import onnx

from lt_onnx.manifest import LayerRecord, Manifest
from lt_onnx.options import Weights
from lt_onnx.source.layer import SourceLayer, draw_bias, scaled_rows
from lt_onnx.target import Floats
from lt_onnx.verification.tensors import is_external
from lt_onnx.writing.storage import SOURCE_FIELDS, Form, Initializer, name_of

SUFFIX = ".ltz"
PACK_FORMAT = 1
MAX_GRAPH_BYTES = 256 << 20  # without its random tensors


class PackedFile(msgspec.Struct, frozen=True):
    """A file of the ticket."""

    name: str
    size: Annotated[int, msgspec.Meta(ge=0)] = msgspec.field(name="bytes")
    sha256: str


class About(msgspec.Struct, frozen=True):
    """The content of `pack.json`."""

    format: int
    name: str = ""
    files: tuple[PackedFile, ...] = ()


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

    def rows(self, seed: int) -> Iterator[tuple[int, Floats]]:
        """The source's own rows, some [R, I·K] at a time, with the number of the first."""
        return scaled_rows(seed, self.spec, np.float32(self.record.sigma))

    def biases(self, seed: int) -> Floats:
        """The source's own biases, [O]."""
        return draw_bias(seed, self.spec) * np.float32(self.record.sigma)


def layers_of(manifest: Manifest) -> list[PackedLayer]:
    """The random layers of a ticket, in order."""
    return [PackedLayer.of(record) for record in manifest.layers]


def initializers_of(model: onnx.ModelProto) -> dict[str, Initializer]:
    """The initializers of a model by name; changing one changes the model."""
    graph = model.graph
    return {name_of(tensor): tensor for tensor in (*graph.initializer, *graph.sparse_initializer)}


def raw_tensors(tensor: Initializer) -> list[onnx.TensorProto]:
    """Those whose numbers lie in the model's file: values and places of a sparse one, or none."""
    if isinstance(tensor, onnx.SparseTensorProto):
        return [tensor.values, tensor.indices]
    return [] if is_external(tensor) else [tensor]
