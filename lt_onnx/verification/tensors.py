"""A ticket's file and its tensors, opened without belief and read in pieces.

External data is one file in the ticket's folder, named by its bare name, no link; tensors lie in it
one behind the other.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from lt_onnx.errors import InputError
from lt_onnx.files import check_file
from lt_onnx.manifest import MAX_AXES, MAX_LAYER_WEIGHTS, SEAL_KEY
from lt_onnx.reading.protobuf import MAX_PARTS, too_many_parts

PADDING = 4096  # bytes that may lie between two tensors of a data file, at most
EXTERNAL = onnx.TensorProto.EXTERNAL
PLACE = {"location", "offset", "length"}  # what external data is described by


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

    def reader(self, transposed: bool) -> "Reader":
        """Access by rows, or by columns of a tensor stored as [I, O], whose rows lie scattered."""
        held = self.array() if self.file is None else None
        if transposed and self.file is not None:
            held = np.memmap(self.file, self.dtype, "r", self.offset, self.shape)
        return Reader(self, transposed, held)


@dataclass(frozen=True)
class Reader:
    """Rows of a tensor; what lies in a file is read when it is asked for."""

    tensor: Tensor
    transposed: bool
    held: NDArray[Any] | None

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Rows start…stop-1 of the layer's weight, flat."""
        tensor = self.tensor
        if self.held is not None:
            part = self.held[:, start:stop].T if self.transposed else self.held[start:stop]
            return np.ascontiguousarray(part).reshape(-1)
        assert tensor.file is not None
        width = tensor.size // tensor.shape[0]
        at = tensor.offset + start * width * tensor.dtype.itemsize
        return np.fromfile(tensor.file, tensor.dtype, (stop - start) * width, offset=at)


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


Tensors: TypeAlias = Mapping[str, Tensor | Sparse]


def read_model(path: Path) -> tuple[onnx.ModelProto, bool]:
    """The graph, external data left where it is, and whether the file is as protobuf writes it.

    Raises InputError. Of a file that says things twice, runtimes may read the other.
    """
    check_file(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if too_many_parts(content):
        raise InputError(f"{path}: made of more than {MAX_PARTS:,} parts; no ticket is")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise InputError(f"{path}: not an ONNX model (truncated, or another format)") from None
    return model, model.SerializeToString(deterministic=True) == content


def broken_seal(path: Path, model: onnx.ModelProto) -> str | None:
    """Why the seal does not hold; None when it does. Takes it off the model. Raises InputError."""
    seals = [entry for entry in model.metadata_props if entry.key == SEAL_KEY]
    if not seals:
        return f"the seal '{SEAL_KEY}' is missing: the file was changed after it was made"
    claimed = seals[0].value
    for seal in seals:
        model.metadata_props.remove(seal)
    digest = hashlib.sha256(model.SerializeToString(deterministic=True))
    for file in sorted({_file(path, t) for t in model.graph.initializer if _is_external(t)}):
        with file.open("rb") as stream:
            while piece := stream.read(1 << 24):
                digest.update(piece)
    if claimed != digest.hexdigest():
        return f"the seal '{SEAL_KEY}' is broken: the file was changed after it was made"
    return None


def open_tensors(path: Path, model: onnx.ModelProto) -> dict[str, Tensor | Sparse]:
    """The initializers by name, each proven to be all there. Raises InputError."""
    found: dict[str, Tensor | Sparse] = {t.name: _located(path, t) for t in model.graph.initializer}
    _check_places(path, [t for t in found.values() if isinstance(t, Tensor) and t.file])
    for proto in model.graph.sparse_initializer:
        found[proto.values.name] = _sparse(path, proto)
    return found


def _located(path: Path, proto: onnx.TensorProto) -> Tensor:
    """Where an initializer's numbers are, proven to be there. Raises InputError."""
    where = f"{path}: tensor '{proto.name}'"
    try:
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(proto.data_type))
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{where}: of unknown type {proto.data_type}") from None
    if min(proto.dims, default=0) < 0 or len(proto.dims) > MAX_AXES or dtype.hasobject:
        raise InputError(f"{where}: its type and shape are none of a tensor")
    size = math.prod(proto.dims) * dtype.itemsize
    if not _is_external(proto):
        if len(proto.raw_data) != size:
            raise InputError(f"{where}: its shape and its bytes disagree")
        return Tensor(proto, dtype)
    file = _file(path, proto)
    entries = {entry.key: entry.value for entry in proto.external_data}
    numbers = [entries["offset"], entries["length"]]
    if not all(number.isascii() and number.isdigit() and len(number) < 20 for number in numbers):
        raise InputError(f"{where}: offset or length of its external data is no number")
    offset, length = map(int, numbers)
    if length != size or offset + size > file.stat().st_size:
        raise InputError(f"{where}: external data '{file.name}' is truncated or misplaced")
    return Tensor(proto, dtype, file, offset)


def _is_external(proto: onnx.TensorProto) -> bool:
    return bool(proto.data_location == EXTERNAL)


def _file(path: Path, proto: onnx.TensorProto) -> Path:
    """The data file of a tensor, beside the ticket. Raises InputError."""
    entries = {entry.key: entry.value for entry in proto.external_data}
    where = f"{path}: tensor '{proto.name}': external data '{entries.get('location', '')}'"
    if len(entries) != len(proto.external_data) or entries.keys() != PLACE:
        raise InputError(f"{where} is not described by its {', '.join(sorted(PLACE))}, once each")
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
        if start - end >= PADDING:
            raise InputError(f"{path}: '{file.name}' holds bytes of no tensor before '{second}'")
    if file.stat().st_size != spans[-1][1]:
        raise InputError(f"{path}: '{file.name}' goes on behind the last tensor")


def _sparse(path: Path, proto: onnx.SparseTensorProto) -> Sparse:
    """A sparse initializer, proven to be one. Raises InputError."""
    where = f"{path}: sparse tensor '{proto.values.name}'"
    shape = tuple(proto.dims)
    if _is_external(proto.values) or _is_external(proto.indices):
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
