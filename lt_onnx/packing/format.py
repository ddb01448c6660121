"""The random layers of a ticket, as packing and unpacking both see them."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx

from lt_onnx.manifest import LayerRecord, Manifest
from lt_onnx.options import Weights
from lt_onnx.source.layer import SourceLayer, draw_bias, draw_rows
from lt_onnx.target import Array
from lt_onnx.writing.storage import Form

FORMAT = 1
LARGEST_GRAPH = 256 << 20  # bytes of a graph without its random tensors
ROWS = 1 << 20  # weights drawn at a time


@dataclass(frozen=True)
class PackedLayer:
    """A random layer of a ticket, and how it lies there."""

    record: LayerRecord
    form: Form
    spec: SourceLayer

    @staticmethod
    def all(manifest: Manifest) -> "list[PackedLayer]":
        """Those of a ticket, in order."""
        return [
            PackedLayer(
                r,
                Form(r.weight, r.stored, r.half),
                SourceLayer(
                    r.weight,
                    r.index,
                    r.shape,
                    r.bias is not None,
                    r.mirror_rows,
                    r.mirror_columns,
                    r.transposed,
                ),
            )
            for r in manifest.layers
        ]

    @property
    def names(self) -> list[str]:
        """The initializers that can be drawn again."""
        masks = [self.form.mask] if self.form.stored is Weights.MASKED else []
        return [self.form.numbers, *masks, *([self.record.bias] if self.record.bias else [])]

    def rows(self, seed: int) -> Iterator[tuple[int, Array]]:
        """The source's own rows, [R, I·K] at a time, with the number of the first."""
        spec = self.spec
        step = max(1, ROWS // max(spec.row_size, 1))
        for start in range(0, spec.shape[0], step):
            drawn = draw_rows(seed, spec, start, min(start + step, spec.shape[0]))
            yield start, drawn.reshape(len(drawn), -1) * np.float32(self.record.sigma)

    def biases(self, seed: int) -> Array:
        """The source's own biases, [O]."""
        return draw_bias(seed, self.spec) * np.float32(self.record.sigma)


@dataclass(frozen=True)
class Tensors:
    """The initializers of a graph by name."""

    dense: dict[str, onnx.TensorProto]
    sparse: dict[str, onnx.SparseTensorProto]

    @staticmethod
    def of(model: onnx.ModelProto) -> "Tensors":
        """Those of a model; changing one changes the model."""
        graph = model.graph
        return Tensors(
            {tensor.name: tensor for tensor in graph.initializer},
            {tensor.values.name: tensor for tensor in graph.sparse_initializer},
        )
