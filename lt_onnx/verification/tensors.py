"""A ticket's tensors: where their numbers are, each checked to be all there, read in pieces.

External data is one file in the ticket's folder, named by its bare name, no link; tensors lie in it
one behind the other.
"""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from lt_onnx.errors import InputError
from lt_onnx.manifest import MAX_AXES, MAX_LAYER_WEIGHTS

ALIGNMENT = 4096  # of tensors in a data file; zeros stand between them
RowReader: TypeAlias = Callable[[int, int], NDArray[Any]]
PLAIN_NUMBER = re.compile(r"0|[1-9][0-9]{0,18}")
EXTERNAL = onnx.TensorProto.EXTERNAL
EXTERNAL_KEYS = ["location", "offset", "length"]  # in this order


@dataclass(frozen=True)
class Tensor:
    """An initializer: inline, or a place in a file of which only pieces are ever read."""

    proto: onnx.TensorProto
    dtype: np.dtype[Any]
    file: Path | None = None
    offset: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Its sizes."""
        return tuple(self.proto.dims)

    @property
    def size(self) -> int:
        """How many numbers it has."""
        return math.prod(self.shape)

    def array(self) -> NDArray[Any]:
        """All of it."""
        if self.file is None:
            return np.asarray(numpy_helper.to_array(self.proto))
        return np.fromfile(self.file, self.dtype, self.size, offset=self.offset).reshape(self.shape)

    def rows(self, *, transposed: bool) -> RowReader:
        """A function that reads the rows start … stop-1 of the layer's weight, flat.

        The rows of a `transposed` tensor, stored as [I, O], lie scattered.
        """
        file, width = self.file, self.size // self.shape[0]

        def read(start: int, stop: int) -> NDArray[Any]:
            assert file is not None
            at = self.offset + start * width * self.dtype.itemsize
            return np.fromfile(file, self.dtype, (stop - start) * width, offset=at)

        if file is not None and not transposed:
            return read
        whole = (
            self.array()
            if file is None
            else np.memmap(file, self.dtype, "r", self.offset, self.shape)
        )
        by_row = whole.T if transposed else whole
        return lambda start, stop: np.ascontiguousarray(by_row[start:stop]).reshape(-1)


@dataclass(frozen=True)
class Sparse:
    """A sparse initializer: what is not in it is zero."""

    shape: tuple[int, ...]
    places: NDArray[np.int64]  # flat, rising
    values: NDArray[Any]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of its numbers."""
        return self.values.dtype

    def array(self) -> NDArray[Any]:
        """All of it, made dense."""
        whole = np.zeros(self.shape, self.dtype)
        whole.reshape(-1)[self.places] = self.values
        return whole


Tensors: TypeAlias = Mapping[str, Tensor | Sparse]


def data_bytes(tensors: Tensors) -> int:
    """Bytes of the files of external data."""
    files = {t.file for t in tensors.values() if isinstance(t, Tensor) and t.file is not None}
    return sum(file.stat().st_size for file in files)


def locate_tensors(path: Path, model: onnx.ModelProto) -> dict[str, Tensor | Sparse]:
    """The initializers by name, each checked to be all there. Raises InputError."""
    dense = {t.name: _located(path, t) for t in model.graph.initializer}
    _check_places(path, [tensor for tensor in dense.values() if tensor.file])
    sparse = {s.values.name: _sparse(path, s) for s in model.graph.sparse_initializer}
    return {**dense, **sparse}


def _located(path: Path, proto: onnx.TensorProto) -> Tensor:
    """Where an initializer's numbers are. Raises InputError where they are not all there."""
    where = f"{path}: tensor '{proto.name}'"
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(proto.data_type))
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{where}: of unknown type {proto.data_type}") from None
    dims, numbers = list(proto.dims), math.prod(filter(None, proto.dims))
    too_large = len(dims) > MAX_AXES or numbers > MAX_LAYER_WEIGHTS  # empty ones, too
    if min(dims, default=0) < 0 or too_large or dtype.hasobject:
        raise InputError(f"{where}: its type and shape are none of a tensor")
    size = math.prod(proto.dims) * dtype.itemsize
    if not is_external(proto):
        if len(proto.raw_data) != size:
            raise InputError(f"{where}: its shape and its bytes disagree")
        if dtype == np.bool_ and max(proto.raw_data, default=0) > 1:
            raise InputError(f"{where}: a truth value in it is neither 0 nor 1")
        return Tensor(proto, dtype)
    file = external_file(path, proto)
    entries = {entry.key: entry.value for entry in proto.external_data}
    numbers = [entries["offset"], entries["length"]]
    if not all(PLAIN_NUMBER.fullmatch(number) for number in numbers):
        raise InputError(f"{where}: offset or length of its external data is no number")
    offset, length = map(int, numbers)
    if length != size or offset + size > file.stat().st_size:
        raise InputError(f"{where}: external data '{file.name}' is truncated or misplaced")
    return Tensor(proto, dtype, file, offset)


def is_external(proto: onnx.TensorProto) -> bool:
    """Whether an initializer's numbers are in a file of their own."""
    return bool(proto.data_location == EXTERNAL)


def external_file(path: Path, proto: onnx.TensorProto) -> Path:
    """The data file of a tensor, beside the ticket. Raises InputError."""
    entries = {entry.key: entry.value for entry in proto.external_data}
    where = f"{path}: tensor '{proto.name}': external data '{entries.get('location', '')}'"
    if [entry.key for entry in proto.external_data] != EXTERNAL_KEYS:
        raise InputError(
            f"{where} is not described by its {', '.join(EXTERNAL_KEYS)}, in this order"
        )
    name = str(entries.get("location", ""))
    if not name.isprintable() or set(name) & set("/\\:") or name.strip(". ") == "":
        raise InputError(f"{where} is not the bare name of a file beside the ticket")
    file = path.parent / name
    try:
        missing = file.is_symlink() or not file.is_file() or file.samefile(path)
    except OSError:  # a name that no file can have
        missing = True
    if missing:
        raise InputError(f"{where} is missing, a link or the ticket; put the data beside it")
    return file


def _check_places(path: Path, tensors: list[Tensor]) -> None:
    """Raise InputError unless the tensors fill their one data file, one behind the other."""
    if not tensors:
        return
    file = tensors[0].file
    assert file is not None
    if any(tensor.file != file for tensor in tensors):
        raise InputError(f"{path}: external data lies in several files; a ticket has one")
    spans = sorted((t.offset, t.offset + t.size * t.dtype.itemsize, t.proto.name) for t in tensors)
    for (_, end, first), (start, _, second) in pairwise([(0, 0, "the start"), *spans]):
        if start < end:
            raise InputError(f"{path}: tensors '{first}' and '{second}' overlap in '{file.name}'")
        gap = np.fromfile(file, np.uint8, min(start - end, ALIGNMENT), offset=end)
        if start - end >= ALIGNMENT or start % ALIGNMENT or gap.any():
            raise InputError(f"{path}: '{file.name}' holds bytes of no tensor before '{second}'")
    if file.stat().st_size != spans[-1][1]:
        raise InputError(f"{path}: '{file.name}' goes on behind the last tensor")


def _sparse(path: Path, proto: onnx.SparseTensorProto) -> Sparse:
    """A sparse initializer. Raises InputError where its indices contradict its shape."""
    where = f"{path}: sparse tensor '{proto.values.name}'"
    shape = tuple(proto.dims)
    if proto.indices.name != f"{proto.values.name}/places":
        raise InputError(f"{where}: its indices have a name of their own")
    if is_external(proto.values) or is_external(proto.indices):
        raise InputError(f"{where}: lies in external data, where no ticket has it")
    values, places = (_located(path, part).array() for part in (proto.values, proto.indices))
    fits = (
        places.dtype == np.int64
        and places.shape == values.shape
        and places.ndim == 1
        and len(shape) > 0
        and min(shape) > 0
        and math.prod(shape) <= MAX_LAYER_WEIGHTS
    )
    if not fits or (len(places) and (places[0] < 0 or places[-1] >= math.prod(shape))):
        raise InputError(f"{where}: its indices do not fit its shape {list(shape)[:8]}")
    if (np.diff(places) <= 0).any():
        raise InputError(f"{where}: its indices do not rise")
    return Sparse(shape, places, values)
