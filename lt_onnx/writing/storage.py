"""How a random layer's weights lie in a file: product, source and mask, or sparse.

    folded   <layer>                          the masked weights
    masked   <layer>/source, <layer>/mask     all of them, and zeros and ones (uint8)
    sparse   <layer> as a sparse initializer  the kept ones and their flat indices

With `half` the numbers are float16, rounded from the source's; a Cast makes them float32 again
before their layer, so that every runtime computes as before.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from lt_onnx.manifest import LayerRecord
from lt_onnx.options import Weights
from lt_onnx.source.layer import SourceLayer
from lt_onnx.target import Array, Floats, Node

ALIGNMENT = 4096  # of tensors in external data, so that runtimes can map them
MIN_EXTERNAL_BYTES = 1024  # of a tensor in external data

# of a layer's record in the manifest: what its source has too
SOURCE_FIELDS = ("index", "shape", "transposed", "mirror_rows", "mirror_columns")

Initializer: TypeAlias = onnx.TensorProto | onnx.SparseTensorProto


def name_of(tensor: Initializer) -> str:
    """What the graph calls an initializer."""
    held = tensor.values if isinstance(tensor, onnx.SparseTensorProto) else tensor
    return str(held.name)


@dataclass(frozen=True)
class Form:
    """How one layer, whose weight the graph calls `name`, is stored."""

    name: str
    stored: Weights
    half: bool

    @staticmethod
    def of(record: LayerRecord) -> "Form":
        """The form of a ticket's layer."""
        return Form(record.weight, record.stored, record.half)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the stored numbers."""
        return np.dtype(np.float16 if self.half else np.float32)

    @property
    def numbers(self) -> str:
        """The initializer that holds the numbers."""
        if self.stored is Weights.MASKED:
            return f"{self.name}/source"
        return f"{self.name}/half" if self.half else self.name

    @property
    def mask(self) -> str:
        """The initializer that holds zeros and ones, of the masked form."""
        return f"{self.name}/mask"

    def nodes(self) -> list[Node]:
        """What makes the layer's weight of its initializers."""
        name, product, nodes = self.name, self.numbers, []
        if self.stored is Weights.MASKED:
            cast = f"{name}/mask_cast"
            to = helper.np_dtype_to_tensor_dtype(self.dtype)
            product = f"{name}/product" if self.half else name
            nodes += [
                Node("Cast", cast, (self.mask,), (cast,), {"to": to}),
                Node("Mul", product, (self.numbers, cast), (product,)),
            ]
        if self.half:
            nodes.append(Node("Cast", name, (product,), (name,), {"to": onnx.TensorProto.FLOAT}))
        return nodes


class RowTensor:
    """A tensor of a file that is filled row by row.

    Held in memory, or written to `stream`, external data, at the next free place.
    """

    def __init__(
        self, name: str, dtype: np.dtype[Any], spec: SourceLayer, stream: BinaryIO | None
    ) -> None:
        self.name, self.dtype, self.spec = name, dtype, spec
        self.bytes = spec.size * dtype.itemsize
        self._stream = stream
        if stream is None:
            self._array = array = np.zeros(spec.stored_shape, dtype)
            self._rows = array.T if spec.transposed else array.reshape(len(array), -1)  # a view
            return
        self.offset = -(-stream.seek(0, os.SEEK_END) // ALIGNMENT) * ALIGNMENT
        stream.truncate(self.offset + self.bytes)

    def write(self, start: int, rows: Array) -> None:
        """Store the rows start, start+1, …; [R, I·K]."""
        if self._stream is None:
            self._rows[start : start + len(rows)] = rows
            return
        transposed, height = self.spec.transposed, self.spec.shape[0]
        blocks = rows.T if transposed else rows.reshape(1, -1)  # each lies in one piece
        for i, block in enumerate(np.ascontiguousarray(blocks, self.dtype)):
            place = i * height + start if transposed else start * rows.shape[1]
            self._stream.seek(self.offset + place * self.dtype.itemsize)
            self._stream.write(block.data.cast("B"))

    def proto(self, location: str) -> onnx.TensorProto:
        """The initializer; in external data it lies in the file `location`."""
        if self._stream is None:
            return numpy_helper.from_array(self._array, self.name)
        tensor = onnx.TensorProto(name=self.name, dims=self.spec.stored_shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(self.dtype)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, entry in (("location", location), ("offset", self.offset), ("length", self.bytes)):
            tensor.external_data.add(key=key, value=str(entry))
        return tensor


class SparseTensor:
    """A sparse initializer that is filled row by row; only what is kept is ever held."""

    def __init__(self, name: str, dtype: np.dtype[Any], spec: SourceLayer) -> None:
        self.name, self.dtype, self.spec = name, dtype, spec
        self._places: list[Array] = []
        self._values: list[Array] = []

    def write(self, start: int, rows: Array) -> None:
        """Store the rows start, start+1, …; [R, I·K]."""
        row, column = np.nonzero(rows)
        self._values.append(rows[row, column])
        row, height = row + start, self.spec.shape[0]
        flat = column * height + row if self.spec.transposed else row * rows.shape[1] + column
        self._places.append(flat.astype(np.int64))

    def proto(self, location: str) -> onnx.SparseTensorProto:
        """The initializer: values by rising flat index. It is never in external data."""
        places = np.concatenate([np.zeros(0, np.int64), *self._places])
        values = np.concatenate([np.zeros(0, self.dtype), *self._values])
        order = np.argsort(places, kind="stable")
        return onnx.SparseTensorProto(
            values=numpy_helper.from_array(values[order], self.name),
            indices=numpy_helper.from_array(places[order], f"{self.name}/places"),
            dims=self.spec.stored_shape,
        )


class LayerTensors:
    """The initializers of one random layer, filled row by row.

    `stream_of` tells, by a tensor's name and its bytes, the external data that it is written to;
    None: it is held in memory.
    """

    def __init__(
        self, spec: SourceLayer, form: Form, stream_of: Callable[[str, int], BinaryIO | None]
    ) -> None:
        self.form, self.kept = form, 0
        self._tensors: list[RowTensor | SparseTensor] = []  # the numbers, and the mask if any
        if form.stored is Weights.SPARSE:
            self._tensors.append(SparseTensor(form.numbers, form.dtype, spec))
            return
        masks = [(form.mask, np.dtype(np.uint8))] if form.stored is Weights.MASKED else []
        for name, dtype in ((form.numbers, form.dtype), *masks):
            stream = stream_of(name, spec.size * dtype.itemsize)
            self._tensors.append(RowTensor(name, dtype, spec, stream))

    def write(self, start: int, source: Floats, kept: NDArray[np.bool_]) -> None:
        """Store the rows start, start+1, … of the source, both [R, I·K], and which are kept."""
        if self.form.stored is Weights.MASKED:
            parts: list[Array] = [source, kept.astype(np.uint8)]
        else:  # in half precision some round to 0, or -0: of those none is kept
            values = source.astype(self.form.dtype, copy=False)
            parts = [np.where(kept & (values != 0), values, self.form.dtype.type(0))]
        for tensor, rows in zip(self._tensors, parts, strict=True):
            tensor.write(start, rows)
        self.kept += int(np.count_nonzero(parts[-1]))

    def protos(self, location: str) -> list[Initializer]:
        """The initializers; what is in external data lies in the file `location`."""
        return [tensor.proto(location) for tensor in self._tensors]
