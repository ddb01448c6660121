"""External data of a model: read from files that lie in its folder, and nowhere else."""

import math
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
from onnx import helper

from lt_onnx.errors import InputError
from lt_onnx.reading.protobuf import all_tensors

MAX_SHARING = 8  # tensors that may lie in one place of a data file, on the average


def read_external(path: Path, model: onnx.ModelProto) -> list[Path]:
    """Read external data into the model's tensors; the data files. Raises InputError."""
    tensors = [t for t in all_tensors(model) if t.data_location == onnx.TensorProto.EXTERNAL]
    places = [_place(path, tensor) for tensor in tensors]
    files = {file: file.stat().st_size for file, _, _ in places}
    if sum(length for _, _, length in places) > MAX_SHARING * sum(files.values()):
        raise InputError(
            f"{path}: external data: its tensors are {MAX_SHARING} times larger than its files"
        )
    for tensor, (file, offset, length) in zip(tensors, places, strict=True):
        with file.open("rb") as stream:
            stream.seek(offset)
            tensor.raw_data = stream.read(length)
        del tensor.external_data[:]
        tensor.data_location = onnx.TensorProto.DEFAULT
    return list(files)


def _place(path: Path, tensor: onnx.TensorProto) -> tuple[Path, int, int]:
    """The file, offset and length in bytes of a tensor, which is as large and in that folder."""
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = entries.get("location", "")
    title = f"{path}: tensor '{tensor.name}': external data '{location}'"
    if not isinstance(location, str) or not location.isprintable():
        raise InputError(f"{title}: not the name of a file")
    pure = PurePosixPath(location)
    if not location or pure.is_absolute() or ".." in pure.parts or {*location} & {*"\\:"}:
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
    return file, offset, length


def _bits(kind: int) -> int:
    """Bits of a number in a file. Raises KeyError for unknown types, TypeError for strings."""
    dtype: np.dtype[Any] = np.dtype(helper.tensor_dtype_to_np_dtype(kind))
    if dtype.hasobject:
        raise TypeError
    small = {onnx.TensorProto.INT4: 4, onnx.TensorProto.UINT4: 4}
    return small.get(kind, dtype.itemsize * 8)  # type: ignore[call-overload, no-any-return]
