"""A ticket without its random numbers: graph, seed, packed masks, scales. `unpack` draws the rest.

A pack (`.ltz`) is a zip file:

    pack.json     format, the ticket's name, SHA-256 and size of each of its files
    graph.onnx    the ticket, its random tensors emptied
    masks.bin     for every random tensor in order one bit per number, in rows of the source, set
                  where it is kept; padded to whole bytes
"""

import hashlib
import io
import json
import lzma
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import numpy_helper

from lt_onnx.errors import InputError, ResourceError
from lt_onnx.options import Weights
from lt_onnx.source import SourceLayer, draw_bias, draw_rows
from lt_onnx.storage import Form, RowTensor, SparseTensor
from lt_onnx.target import Array
from lt_onnx.ticket import LayerRecord, Manifest, parse_manifest

FORMAT = 1
ROWS = 1 << 20  # weights drawn at a time
LARGEST_GRAPH = 1 << 30  # bytes of a graph without its random tensors
LARGEST_LAYER = 1 << 36  # weights; more is forged
PRESET = 6


@dataclass(frozen=True)
class _Layer:
    """A random layer of a file, and how it lies there."""

    record: LayerRecord
    form: Form
    spec: SourceLayer

    @staticmethod
    def all(manifest: Manifest) -> "list[_Layer]":
        return [
            _Layer(
                r, Form(r.weight, Weights(r.stored), r.half),
                SourceLayer(
                    r.weight, r.index, tuple(r.shape), r.bias is not None, r.mirror_rows,
                    r.mirror_columns, r.transposed,
                ),
            )
            for r in manifest.layers
        ]  # fmt: skip

    def rows(self, seed: int) -> Iterator[tuple[int, Array]]:
        """The source's own rows, [R, I·K] at a time."""
        spec = self.spec
        step = max(1, ROWS // max(spec.row_size, 1))
        for start in range(0, spec.shape[0], step):
            drawn = draw_rows(seed, spec, start, min(start + step, spec.shape[0]))
            yield start, drawn.reshape(len(drawn), -1) * np.float32(self.record.sigma)

    def biases(self, seed: int) -> Array:
        """The source's own biases."""
        return draw_bias(seed, self.spec) * np.float32(self.record.sigma)


def pack(ticket: Path, output: Path) -> tuple[int, int]:
    """Write the pack of a ticket; its size and the ticket's, in bytes.

    Raises InputError when the ticket is none, is not genuine or cannot be read, or when nothing can
    be written.
    """
    model, manifest = _read(ticket)
    layers = _Layer.all(manifest)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    sparse = {tensor.values.name: tensor for tensor in model.graph.sparse_initializer}
    files = [ticket]
    masks = lzma.LZMACompressor(preset=PRESET)
    packed = io.BytesIO()
    for layer in layers:
        for kept in _kept(layer, manifest.seed, tensors, sparse, ticket):
            packed.write(masks.compress(np.packbits(kept).tobytes()))
    packed.write(masks.flush())
    data = {
        e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"
    }
    files += [ticket.with_name(name) for name in sorted(data)]
    for layer in layers:
        for name in _names(layer):
            _empty(tensors.get(name), sparse.get(name))
    about = {
        "format": FORMAT, "name": ticket.name,
        "files": [{"name": f.name, "bytes": f.stat().st_size, "sha256": _hash(f)} for f in files],
    }  # fmt: skip
    part = output.with_name(f".{output.name}.{os.getpid()}.part")
    try:
        with zipfile.ZipFile(part, "w") as archive:
            graph = model.SerializeToString(deterministic=True)
            _add(archive, "pack.json", json.dumps(about, sort_keys=True).encode())
            _add(archive, "graph.onnx", graph)
            _add(archive, "masks.bin", packed.getvalue(), zipfile.ZIP_STORED)
        os.replace(part, output)
    except OSError as error:
        raise InputError(f"{output}: cannot be written: {error.strerror}") from None
    finally:
        part.unlink(missing_ok=True)
    return output.stat().st_size, sum(file.stat().st_size for file in files)


def unpack(packed: Path, output: Path) -> list[Path]:
    """Write the ticket of a pack, byte for byte as it was; the files written.

    Raises InputError when it is no pack, or damaged: then nothing is written.
    """
    about, model, masks = _open(packed)
    manifest = parse_manifest(packed, model)
    if manifest is None:
        raise InputError(f"{packed}: its graph is no ticket")
    layers = _Layer.all(manifest)
    tensors = {tensor.name: tensor for tensor in model.graph.initializer}
    sparse = {tensor.values.name: tensor for tensor in model.graph.sparse_initializer}
    names = [output.name, *[f["name"] for f in about["files"][1:]]]
    if len(names) > 2 or (len(names) == 2 and names[1] != f"{about['name']}.data"):
        raise InputError(f"{packed}: names files that no ticket has")
    if len(names) == 2 and output.name != about["name"]:
        raise InputError(
            f"{packed}: the ticket has external data and keeps its name: give a folder, or a path "
            f"that ends in {about['name']}"
        )
    parts = [output.with_name(f".{name}.{os.getpid()}.part") for name in names]
    try:
        stream = parts[1].open("w+b") if len(parts) == 2 else None
        for layer in layers:
            _fill(layer, manifest.seed, tensors, sparse, masks, stream, packed)
        if _masks(masks, 1, packed):
            raise InputError(f"{packed}: has more masks than its layers need")
        if stream is not None:
            stream.close()
        parts[0].write_bytes(model.SerializeToString(deterministic=True))
        for part, file in zip(parts, about["files"], strict=True):
            if _hash(part) != file["sha256"]:
                raise InputError(f"{packed}: damaged: '{file['name']}' comes out otherwise")
        final = [output.with_name(name) for name in names]
        for part, path in reversed(list(zip(parts, final, strict=True))):
            os.replace(part, path)
        return final
    except OSError as error:
        if error.errno in (27, 28, 122):
            raise ResourceError(f"{output}: cannot be written: {error.strerror}") from None
        raise InputError(f"{output}: cannot be written: {error.strerror}") from None
    finally:
        for part in parts:
            part.unlink(missing_ok=True)


def named(packed: Path) -> str:
    """The name of a pack's ticket. Raises InputError."""
    return str(_open(packed)[0]["name"])


def _names(layer: _Layer) -> list[str]:
    """The initializers that can be drawn again."""
    names = [layer.form.numbers]
    if layer.form.stored is Weights.MASKED:
        names.append(layer.form.mask)
    if layer.record.bias is not None:
        names.append(layer.record.bias)
    return names


def _kept(
    layer: _Layer, seed: int, tensors: dict[str, onnx.TensorProto],
    sparse: dict[str, onnx.SparseTensorProto], ticket: Path,
) -> Iterator[Array]:  # fmt: skip
    """Which weights are kept, rows at a time, then which biases. Raises InputError."""
    form, spec = layer.form, layer.spec
    try:
        if form.stored is Weights.MASKED:
            stored = _array(tensors[form.mask], ticket)
        elif form.stored is Weights.SPARSE:
            stored = np.zeros(spec.size, form.dtype)
            values = sparse[form.numbers]
            stored[_array(values.indices, ticket)] = _array(values.values, ticket)
            stored = stored.reshape(list(values.dims))
        else:
            stored = _array(tensors[form.numbers], ticket)
        stored = (stored.T if spec.transposed else stored).reshape(spec.shape[0], -1)
        for start, drawn in layer.rows(seed):
            rows = stored[start : start + len(drawn)]
            kept = rows != 0
            if (
                form.stored is not Weights.MASKED
                and (rows[kept] != drawn.astype(form.dtype)[kept]).any()
            ):
                raise InputError(f"{ticket}: '{form.name}' does not match its source: run verify")
            yield kept
        if layer.record.bias is not None:
            bias = _array(tensors[layer.record.bias], ticket)
            yield bias != 0
    except (KeyError, ValueError, IndexError):
        raise InputError(f"{ticket}: tensors of '{form.name}' are missing: run verify") from None


def _fill(
    layer: _Layer, seed: int, tensors: dict[str, onnx.TensorProto],
    sparse: dict[str, onnx.SparseTensorProto], masks: BinaryIO, stream: BinaryIO | None,
    packed: Path,
) -> None:  # fmt: skip
    """Draw a layer's tensors and put them where they were."""
    form, spec = layer.form, layer.spec
    missing = [name for name in _names(layer) if name not in tensors and name not in sparse]
    if missing or not 0 < spec.size <= LARGEST_LAYER or min(spec.shape) < 1:
        raise InputError(f"{packed}: layer '{form.name}' is damaged")

    def tensor(name: str, dtype: np.dtype[Any]) -> RowTensor | SparseTensor:
        if form.stored is Weights.SPARSE:
            return SparseTensor(name, dtype, spec.shape, spec.transposed)
        outside = stream if tensors[name].data_location == onnx.TensorProto.EXTERNAL else None
        return RowTensor(name, dtype, spec.shape, spec.transposed, outside)

    numbers = tensor(form.numbers, form.dtype)
    bits = tensor(form.mask, np.dtype(np.uint8)) if form.stored is Weights.MASKED else None
    for start, drawn in layer.rows(seed):
        kept = _bits(masks, drawn.size, packed).reshape(drawn.shape)
        if bits is None:
            numbers.write(start, np.where(kept, drawn, np.float32(0)))
        else:
            numbers.write(start, drawn)
            bits.write(start, kept.astype(np.uint8))
    for made in (numbers, bits):
        if isinstance(made, SparseTensor):
            whole = made.proto()
            sparse[made.name].values.raw_data = whole.values.raw_data
            sparse[made.name].indices.raw_data = whole.indices.raw_data
        elif made is not None:
            known = tensors[made.name]
            proto = made.proto(next((e.value for e in known.external_data), ""))
            if proto.data_location != onnx.TensorProto.EXTERNAL:
                known.raw_data = proto.raw_data
    if layer.record.bias is not None:
        drawn = layer.biases(seed)
        kept = _bits(masks, drawn.size, packed)
        tensors[layer.record.bias].raw_data = np.where(kept, drawn, np.float32(0)).tobytes()


def _bits(masks: BinaryIO, count: int, packed: Path) -> Array:
    size = -(-count // 8)
    read = _masks(masks, size, packed)
    if len(read) != size:
        raise InputError(f"{packed}: its masks are truncated")
    return np.unpackbits(np.frombuffer(read, np.uint8), count=count).astype(bool)


def _masks(masks: BinaryIO, size: int, packed: Path) -> bytes:
    try:
        return masks.read(size)
    except (EOFError, lzma.LZMAError):
        raise InputError(f"{packed}: its masks are damaged") from None


def _empty(tensor: onnx.TensorProto | None, sparse: onnx.SparseTensorProto | None) -> None:
    """Take the numbers out of an initializer, leaving its shape and place."""
    for proto in [tensor] if sparse is None else [sparse.values, sparse.indices]:
        if proto is not None and proto.data_location != onnx.TensorProto.EXTERNAL:
            proto.raw_data = b""


def _array(proto: onnx.TensorProto, ticket: Path) -> Array:
    """A tensor's numbers; external ones are mapped, not read."""
    if proto.data_location != onnx.TensorProto.EXTERNAL:
        return np.asarray(numpy_helper.to_array(proto))
    place = {entry.key: entry.value for entry in proto.external_data}
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(proto.data_type))
    file, offset = ticket.parent / Path(place["location"]).name, int(place.get("offset", 0))
    mapped: Array = np.memmap(file, dtype, "r", offset, tuple(proto.dims))
    return mapped


def _read(ticket: Path) -> tuple[onnx.ModelProto, Manifest]:
    """A ticket that verifies. Raises InputError."""
    from lt_onnx.verification import verify

    proof = verify(ticket)
    if not proof.genuine:
        raise InputError(f"{ticket}: is not genuine: {proof.failures[0]}")
    model = onnx.load(str(ticket), load_external_data=False)
    manifest = parse_manifest(ticket, model)
    assert manifest is not None
    return model, manifest


def _open(packed: Path) -> tuple[dict[str, Any], onnx.ModelProto, BinaryIO]:
    """What a pack holds, its types checked. Raises InputError."""
    try:
        with zipfile.ZipFile(packed) as archive:
            about = json.loads(_entry(archive, "pack.json", 1 << 20))
            model = onnx.ModelProto()
            model.ParseFromString(_entry(archive, "graph.onnx", LARGEST_GRAPH))
            bits = io.BytesIO(_entry(archive, "masks.bin", LARGEST_GRAPH))
        if about["format"] != FORMAT:
            raise InputError(f"{packed}: a pack of another version; update lt-onnx")
        for file in about["files"]:
            name = file["name"]
            if not isinstance(name, str) or not name or Path(name).name != name:
                raise ValueError("names")
            if not isinstance(file["sha256"], str):
                raise ValueError("sha256")
        if not about["files"] or about["name"] != about["files"][0]["name"]:
            raise ValueError("files")
    except OSError as error:
        raise InputError(f"{packed}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, KeyError, TypeError, ValueError, DecodeError, lzma.LZMAError):
        raise InputError(f"{packed}: not a pack of lt-onnx, or damaged") from None
    return about, model, cast(BinaryIO, lzma.LZMAFile(bits))


def _entry(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    with archive.open(name) as stream:
        content = stream.read(most + 1)
    if len(content) > most:
        raise ValueError(name)
    return content


def _add(
    archive: zipfile.ZipFile, name: str, content: bytes, method: int = zipfile.ZIP_DEFLATED
) -> None:
    """Add an entry that is the same on every machine."""
    entry = zipfile.ZipInfo(name)
    entry.compress_type = method
    archive.writestr(entry, content)


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
