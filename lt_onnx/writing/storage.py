"""How a random layer's weights lie in a file: product, source and mask, or sparse.

    folded   <layer>                          the masked weights
    masked   <layer>/source, <layer>/mask     all of them, and zeros and ones (uint8)
    sparse   <layer> as a sparse initializer  the kept ones and their flat indices

With `half` the numbers are float16, rounded from the source's; a Cast makes them float32 again
before their layer, so that every runtime computes as before.
"""

import math
import os
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import onnx
from onnx import helper, numpy_helper

from lt_onnx.options import Weights
from lt_onnx.target import Array, Node

ALIGNMENT = 4096  # of tensors in external data, so that runtimes can map them


@dataclass(frozen=True)
class Form:
    """How one layer, whose weight the graph calls `name`, is stored."""

    name: str
    stored: Weights
    half: bool

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
        name, made, nodes = self.name, self.numbers, []
        if self.stored is Weights.MASKED:
            cast = f"{name}/mask_cast"
            to = helper.np_dtype_to_tensor_dtype(self.dtype)
            made = f"{name}/product" if self.half else name
            nodes += [
                Node("Cast", cast, (self.mask,), (cast,), {"to": to}),
                Node("Mul", made, (self.numbers, cast), (made,)),
            ]
        if self.half:
            nodes.append(Node("Cast", name, (made,), (name,), {"to": onnx.TensorProto.FLOAT}))
        return nodes


class RowTensor:
    """A tensor of a file that is filled row by row; `transposed` ones are stored [I, O].

    Held in memory, or written to `stream`, external data, at the next free place.
    """

    def __init__(
        self,
        name: str,
        dtype: np.dtype[Any],
        shape: tuple[int, ...],
        transposed: bool,
        stream: BinaryIO | None,
    ) -> None:
        self.name, self.dtype, self.transposed = name, dtype, transposed
        self.shape = shape[::-1] if transposed else shape
        self.bytes = math.prod(shape) * dtype.itemsize
        self._stream = stream
        self._rows = shape[0]
        if stream is None:
            self._array = np.zeros((shape[0], math.prod(shape[1:])), dtype)
            return
        self.offset = -(-stream.seek(0, os.SEEK_END) // ALIGNMENT) * ALIGNMENT
        stream.truncate(self.offset + self.bytes)

    def write(self, start: int, rows: Array) -> None:
        """Store the rows start, start+1, …; [R, I·K]."""
        if self._stream is None:
            self._array[start : start + len(rows)] = rows
            return
        size = self.dtype.itemsize
        if not self.transposed:
            self._stream.seek(self.offset + start * rows.shape[1] * size)
            self._stream.write(np.ascontiguousarray(rows, self.dtype).data.cast("B"))
            return
        columns = np.ascontiguousarray(rows.T, self.dtype)
        for i, column in enumerate(columns):
            self._stream.seek(self.offset + (i * self._rows + start) * size)
            self._stream.write(column.data.cast("B"))

    def proto(self, location: str) -> onnx.TensorProto:
        """The initializer; in external data it lies in the file `location`."""
        if self._stream is None:
            array = self._array.T if self.transposed else self._array
            return numpy_helper.from_array(
                np.ascontiguousarray(array).reshape(self.shape), self.name
            )
        tensor = onnx.TensorProto(name=self.name, dims=self.shape)
        tensor.data_type = helper.np_dtype_to_tensor_dtype(self.dtype)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        for key, entry in (("location", location), ("offset", self.offset), ("length", self.bytes)):
            tensor.external_data.add(key=key, value=str(entry))
        return tensor


class SparseTensor:
    """A sparse initializer that is filled row by row; only what is kept is ever held."""

    def __init__(
        self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...], transposed: bool
    ) -> None:
        self.name, self.dtype, self.transposed, self.shape = name, dtype, transposed, shape
        self._places: list[Array] = []
        self._values: list[Array] = []

    def write(self, start: int, rows: Array) -> None:
        """Store the rows start, start+1, …; [R, I·K]."""
        row, column = np.nonzero(rows)
        self._values.append(rows[row, column].astype(self.dtype))
        row = row + start
        flat = column * self.shape[0] + row if self.transposed else row * rows.shape[1] + column
        self._places.append(flat.astype(np.int64))

    @property
    def bytes(self) -> int:
        """In the file."""
        return sum(part.nbytes for part in (*self._places, *self._values))

    def proto(self) -> onnx.SparseTensorProto:
        """The initializer: values by rising flat index."""
        places = np.concatenate([np.zeros(0, np.int64), *self._places])
        values = np.concatenate([np.zeros(0, self.dtype), *self._values])
        order = np.argsort(places, kind="stable")
        return onnx.SparseTensorProto(
            values=numpy_helper.from_array(values[order], self.name),
            indices=numpy_helper.from_array(places[order], f"{self.name}/places"),
            dims=self.shape[::-1] if self.transposed else self.shape,
        )
