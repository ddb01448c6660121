"""From a pack to its ticket. A pack may come from anybody: nothing in it is believed."""

import hashlib
import io
import json
import lzma
import shutil
import tempfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from lt_onnx import files
from lt_onnx.errors import InputError, ResourceError
from lt_onnx.files import atomic_write, check_file, check_place
from lt_onnx.manifest import Manifest, parse_manifest
from lt_onnx.options import Weights
from lt_onnx.packing.format import FORMAT, LARGEST_GRAPH, PackedLayer, Tensors
from lt_onnx.reading.model_file import metadata_of
from lt_onnx.target import Array
from lt_onnx.units import size_text
from lt_onnx.writing.storage import ALIGNMENT, RowTensor, SparseTensor
from lt_onnx.writing.ticket import data_of

SUFFIX = ".ltz"
LARGEST_MASKS = 1 << 30  # bytes of them, compressed
PLACED = 12  # bytes of a kept weight in a sparse ticket, at most
RAREST = 1024  # weights of a sparse ticket for a byte of its file: no ticket keeps as few
# what zipfile, zlib, lzma, json and protobuf raise for what is none of theirs
DAMAGED = (
    zipfile.BadZipFile,
    zipfile.LargeZipFile,
    NotImplementedError,
    RuntimeError,
    EOFError,
    lzma.LZMAError,
    ValueError,
    KeyError,
    TypeError,
    DecodeError,
    RecursionError,
    OverflowError,
    zlib.error,
)


@dataclass(frozen=True)
class _File:
    name: str
    size: int
    sha256: str


@dataclass(frozen=True)
class _Pack:
    """What a pack holds, its types checked."""

    path: Path
    files: list[_File]  # the ticket, and its data if it has any
    model: onnx.ModelProto
    manifest: Manifest
    masks: lzma.LZMAFile

    def damaged(self, why: str) -> InputError:
        """What to raise for a pack that contradicts itself."""
        return InputError(f"{self.path}: damaged, or forged: {why}")


def named(packed: Path) -> str:
    """The name of a pack's ticket. Raises InputError."""
    return _files(packed, _entries(packed, "pack.json")[0])[0].name


@contextmanager
def opened(path: Path) -> Iterator[Path]:
    """A ticket's own path; of a pack (.ltz) the ticket in it, written for as long as it is needed.

    Raises as `unpack`.
    """
    if path.suffix != SUFFIX:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        yield unpack(path, Path(folder) / named(path))[0]


def unpack(packed: Path, output: Path, *, force: bool = False) -> list[Path]:
    """Write the ticket of a pack, byte for byte as it was; the files written.

    Raises InputError when it is no pack, or damaged, or when the ticket cannot be written (`force`
    lets it overwrite), and ResourceError when the disk is full: then nothing is written.
    """
    pack = _open(packed)
    if len(pack.files) == 2 and output.name != pack.files[0].name:
        raise InputError(
            f"{packed}: the ticket has external data and keeps its name: give a folder, or a path "
            f"that ends in {pack.files[0].name}"
        )
    paths = [output, data_of(output)][: len(pack.files)]
    for path in paths:
        check_place(path, force=force)
    _check_sizes(pack, output)
    with atomic_write(*paths) as streams:
        tensors = Tensors.of(pack.model)
        for layer in PackedLayer.all(pack.manifest):
            _fill(pack, layer, tensors, streams[1] if len(streams) == 2 else None)
        if _read(pack, 1):
            raise pack.damaged("it has more masks than its layers need")
        streams[0].write(pack.model.SerializeToString(deterministic=True))
        for stream, file in zip(streams, pack.files, strict=True):
            stream.seek(0)
            if hashlib.file_digest(stream, "sha256").hexdigest() != file.sha256:
                raise pack.damaged(f"'{file.name}' comes out otherwise")
    return paths


def _check_sizes(pack: _Pack, output: Path) -> None:
    """Refuse what cannot be a ticket before anything is drawn or written."""
    tensors, inside, outside, rare = Tensors.of(pack.model), 0, 0, 0
    layers = PackedLayer.all(pack.manifest)
    room = pack.model.ByteSize() + ALIGNMENT * (len(layers) + 1)  # around what layers hold
    for layer in layers:
        sparse = layer.form.stored is Weights.SPARSE
        for name in layer.names:
            if name not in (
                tensors.sparse if sparse and name == layer.form.numbers else tensors.dense
            ):
                raise pack.damaged(f"it has no tensor '{name[:80]}'")
        size = layer.spec.size * layer.form.dtype.itemsize
        if sparse:
            rare += layer.spec.size
            room += PLACED * layer.record.kept
        elif tensors.dense[layer.form.numbers].data_location == onnx.TensorProto.EXTERNAL:
            outside += size
        else:
            inside += size
        room += 2 * layer.spec.size  # a mask, and biases
    claimed = [file.size for file in pack.files]
    fits = inside <= min(claimed[0], 2 * files.INLINE_LIMIT) and outside <= sum(claimed[1:])
    if not fits or rare > RAREST * claimed[0] or sum(claimed) > inside + outside + room:
        raise pack.damaged("the sizes of its layers and of its files disagree")
    free = shutil.disk_usage(output.parent).free
    if sum(claimed) > free:
        raise ResourceError(
            f"{output}: about {size_text(sum(claimed))} are needed, {size_text(free)} are free"
        )


def _fill(pack: _Pack, layer: PackedLayer, tensors: Tensors, stream: BufferedRandom | None) -> None:
    """Draw a layer's tensors and put them where they were."""
    form, spec, seed = layer.form, layer.spec, pack.manifest.seed

    def tensor(name: str, dtype: np.dtype[Any]) -> RowTensor | SparseTensor:
        if form.stored is Weights.SPARSE:
            return SparseTensor(name, dtype, spec.shape, spec.transposed)
        external = tensors.dense[name].data_location == onnx.TensorProto.EXTERNAL
        if external and stream is None:
            raise pack.damaged(f"tensor '{name[:80]}' lies in a file that it does not name")
        return RowTensor(name, dtype, spec.shape, spec.transposed, stream if external else None)

    numbers = tensor(form.numbers, form.dtype)
    bits = tensor(form.mask, np.dtype(np.uint8)) if form.stored is Weights.MASKED else None
    for start, drawn in layer.rows(seed):
        kept = _bits(pack, drawn.size).reshape(drawn.shape)
        if bits is None:
            numbers.write(start, np.where(kept, drawn, np.float32(0)))
        else:
            numbers.write(start, drawn)
            bits.write(start, kept.astype(np.uint8))
    for made in (numbers, bits):
        if isinstance(made, SparseTensor):
            whole_one = made.proto()
            tensors.sparse[made.name].values.raw_data = whole_one.values.raw_data
            tensors.sparse[made.name].indices.raw_data = whole_one.indices.raw_data
        elif made is not None:
            proto = made.proto("")
            if proto.data_location != onnx.TensorProto.EXTERNAL:
                tensors.dense[made.name].raw_data = proto.raw_data
    if layer.record.bias is not None:
        drawn = layer.biases(seed)
        kept = _bits(pack, drawn.size)
        tensors.dense[layer.record.bias].raw_data = np.where(kept, drawn, np.float32(0)).tobytes()


def _bits(pack: _Pack, count: int) -> Array:
    """The next `count` bits of the masks."""
    read = _read(pack, -(-count // 8))
    if len(read) != -(-count // 8):
        raise pack.damaged("its masks are truncated")
    return np.unpackbits(np.frombuffer(read, np.uint8), count=count).astype(bool)


def _read(pack: _Pack, size: int) -> bytes:
    try:
        return pack.masks.read(size)
    except (EOFError, lzma.LZMAError):
        raise pack.damaged("its masks are no masks") from None


def _open(packed: Path) -> _Pack:
    """A pack, its types checked. Raises InputError."""
    about, graph, masks = _entries(packed, "pack.json", "graph.onnx", "masks.bin")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(graph)
    except DAMAGED:
        raise InputError(f"{packed}: damaged: its graph is no ONNX model") from None
    manifest = parse_manifest(packed, metadata_of(model))
    if manifest is None:
        raise InputError(f"{packed}: its graph is no ticket")
    bits = lzma.open(io.BytesIO(masks))  # noqa: SIM115  (memory: nothing to close)
    return _Pack(packed, _files(packed, about), model, manifest, bits)


def _entries(packed: Path, *names: str) -> list[bytes]:
    """Members of the zip file. Raises InputError."""
    sizes = {"pack.json": 1 << 16, "graph.onnx": LARGEST_GRAPH, "masks.bin": LARGEST_MASKS}
    check_file(packed)
    contents = []
    try:
        with zipfile.ZipFile(packed) as archive:
            for name in names:
                with archive.open(name) as stream:
                    contents.append(stream.read(sizes[name] + 1))
                if len(contents[-1]) > sizes[name]:
                    raise ValueError(name)
    except OSError as error:
        raise InputError(f"{packed}: cannot be read: {error.strerror or error}") from None
    except DAMAGED:
        raise InputError(f"{packed}: not a pack of lt-onnx, or damaged") from None
    return contents


def _files(packed: Path, content: bytes) -> list[_File]:
    """The files that a pack says it holds. Raises InputError."""
    try:
        about = json.loads(content)
        if about["format"] != FORMAT:
            raise InputError(f"{packed}: a pack of another version; update lt-onnx")
        files = []
        for file in about["files"]:
            name, size, sha256 = file["name"], file["bytes"], file["sha256"]
            plain = isinstance(name, str) and name.isprintable() and Path(name).name == name != ""
            if not plain or type(size) is not int or size < 0 or not isinstance(sha256, str):
                raise ValueError("files")
            files.append(_File(name, size, sha256))
        first = about["name"]
        if [file.name for file in files] not in ([first], [first, f"{first}.data"]):
            raise ValueError("files")
    except DAMAGED:
        raise InputError(f"{packed}: not a pack of lt-onnx, or damaged") from None
    return files
