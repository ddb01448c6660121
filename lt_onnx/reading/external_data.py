"""External data of a model: read from files that lie in its folder, and nowhere else."""

import math
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
from onnx import helper

from lt_onnx.errors import InputError
from lt_onnx.reading.protobuf import all_tensors

MAX_SHARING = 8  # tensors that may lie in one place of a data file, on the average


@dataclass(frozen=True)
class _Place:
    """Where a tensor lies in a data file."""

    tensor: onnx.TensorProto
    file: Path
    offset: int
    length: int


def read_external(path: Path, model: onnx.ModelProto) -> list[Path]:
    """Read external data into the model's tensors; the data files. Raises InputError."""
    places = [
        _place(path, tensor)
        for tensor in all_tensors(model)
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    ]
    files = {place.file: place.file.stat().st_size for place in places}
    if sum(place.length for place in places) > MAX_SHARING * sum(files.values()):
        raise InputError(
            f"{path}: external data: its tensors are {MAX_SHARING} times larger than its files"
        )
    for place in places:
        tensor = place.tensor
        with place.file.open("rb") as stream:
            stream.seek(place.offset)
            tensor.raw_data = stream.read(place.length)
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    return list(files)


def _place(path: Path, tensor: onnx.TensorProto) -> _Place:
    """The place of a tensor, proven to lie in the model's folder and to be as large as it."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    title = f"{path}: tensor '{tensor.name}': external data '{location}'"
    if not isinstance(location, str) or not location.isprintable():
        raise InputError(f"{title}: not the name of a file")
    pure = PurePosixPath(location)
    drive = "\\" in location or ":" in location
    if not location or pure.is_absolute() or ".." in pure.parts or drive:
        raise InputError(f"{title} lies outside the model's folder")
    file = path.parent / location
    if any((path.parent / part).is_symlink() for part in (pure, *pure.parents[:-1])):
        raise InputError(f"{title} is a link; put the data file itself beside the model")
    if not file.is_file():
        raise InputError(f"{title} is missing; put the data file beside the model")
    try:
        wanted = math.prod(tensor.dims) * _bits(tensor.data_type) // 8
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", wanted))
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{title}: its type, offset or length cannot be read") from None
    if min(tensor.dims, default=0) < 0 or offset < 0 or length != wanted:
        raise InputError(f"{title}: its length and its shape {list(tensor.dims)[:8]} disagree")
    if offset + length > file.stat().st_size:
        raise InputError(f"{title} is truncated: it ends before the tensor does")
    return _Place(tensor, file, offset, length)


def _bits(kind: int) -> int:
    """Bits of a number in a file. Raises KeyError for unknown types, TypeError for strings."""
    dtype: np.dtype[Any] = np.dtype(helper.tensor_dtype_to_np_dtype(kind))
    if dtype.hasobject:
        raise TypeError
    small = {onnx.TensorProto.INT4: 4, onnx.TensorProto.UINT4: 4}
    return small.get(kind, dtype.itemsize * 8)  # type: ignore[call-overload, no-any-return]
