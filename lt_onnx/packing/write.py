"""From a ticket to its pack."""

import hashlib
import io
import json
import lzma
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from lt_onnx.errors import InputError
from lt_onnx.files import atomic_write, check_file, check_place
from lt_onnx.manifest import Manifest, parse_manifest
from lt_onnx.options import Weights
from lt_onnx.packing.format import FORMAT, LARGEST_GRAPH, PackedLayer, Tensors
from lt_onnx.reading.model_file import metadata_of
from lt_onnx.target import Array

PRESET = 6  # of LZMA; higher ones gain nothing on random masks


def pack(ticket: Path, output: Path, *, force: bool = False) -> tuple[int, int]:
    """Write the pack of a ticket; its size and the ticket's, in bytes.

    Raises InputError when the ticket is none, is not genuine or cannot be read, or when nothing can
    be written (`force` lets it overwrite), and ResourceError when the disk is full.
    """
    check_file(ticket)
    check_place(output, force=force)
    model, manifest = _read(ticket)
    layers, tensors = PackedLayer.all(manifest), Tensors.of(model)
    masks, packed = lzma.LZMACompressor(preset=PRESET), io.BytesIO()
    for layer in layers:
        for kept in _kept(layer, manifest.seed, tensors, ticket):
            packed.write(masks.compress(np.packbits(kept).tobytes()))
    packed.write(masks.flush())
    data = {
        e.value for t in model.graph.initializer for e in t.external_data if e.key == "location"
    }
    files = [ticket, *[ticket.with_name(name) for name in sorted(data)]]
    for layer in layers:
        for name in layer.names:
            _empty(tensors, name)
    about = {
        "format": FORMAT,
        "name": ticket.name,
        "files": [{"name": f.name, "bytes": f.stat().st_size, "sha256": _hash(f)} for f in files],
    }
    graph = model.SerializeToString(deterministic=True)
    if len(graph) > LARGEST_GRAPH:
        raise InputError(
            f"{ticket}: {len(graph) / 1e6:.0f} MB of it are parameters of the target; a pack holds "
            f"{LARGEST_GRAPH >> 20} MiB: keep the ticket itself"
        )
    with atomic_write(output) as (stream,), zipfile.ZipFile(stream, "w") as archive:
        _add(archive, "pack.json", json.dumps(about, sort_keys=True).encode())
        _add(archive, "graph.onnx", graph)
        _add(archive, "masks.bin", packed.getvalue(), zipfile.ZIP_STORED)
    return output.stat().st_size, sum(file.stat().st_size for file in files)


def _read(ticket: Path) -> tuple[onnx.ModelProto, Manifest]:
    """A ticket that verifies. Raises InputError."""
    from lt_onnx.verification.verify import verify

    proof = verify(ticket)
    if not proof.genuine:
        raise InputError(f"{ticket}: is not genuine: {proof.failures[0]}")
    model = onnx.load(str(ticket), load_external_data=False)
    manifest = parse_manifest(ticket, metadata_of(model))
    assert manifest is not None
    return model, manifest


def _kept(layer: PackedLayer, seed: int, tensors: Tensors, ticket: Path) -> Iterator[Array]:
    """Which weights are kept, rows at a time, then which biases."""
    form, spec = layer.form, layer.spec
    if form.stored is Weights.MASKED:
        stored = _array(tensors.dense[form.mask], ticket)
    elif form.stored is Weights.SPARSE:
        stored = np.zeros(spec.size, form.dtype)
        values = tensors.sparse[form.numbers]
        stored[_array(values.indices, ticket)] = _array(values.values, ticket)
        stored = stored.reshape(list(values.dims))
    else:
        stored = _array(tensors.dense[form.numbers], ticket)
    stored = (stored.T if spec.transposed else stored).reshape(spec.shape[0], -1)
    for start, drawn in layer.rows(seed):
        rows = stored[start : start + len(drawn)]
        kept = rows != 0
        # what verify proved with a generator of its own, this one must draw again
        if form.stored is not Weights.MASKED and (rows != drawn.astype(form.dtype))[kept].any():
            raise InputError(f"{ticket}: '{form.name}' does not match its source: run verify")
        yield kept
    if layer.record.bias is not None:
        yield _array(tensors.dense[layer.record.bias], ticket) != 0


def _empty(tensors: Tensors, name: str) -> None:
    """Take the numbers out of an initializer, leaving its shape and place."""
    if name in tensors.sparse:
        protos = [tensors.sparse[name].values, tensors.sparse[name].indices]
    else:
        protos = [tensors.dense[name]]
    for proto in protos:
        if proto.data_location != onnx.TensorProto.EXTERNAL:
            proto.raw_data = b""


def _array(proto: onnx.TensorProto, ticket: Path) -> Array:
    """A tensor's numbers; external ones are mapped, not read."""
    if proto.data_location != onnx.TensorProto.EXTERNAL:
        return np.asarray(numpy_helper.to_array(proto))
    place = {entry.key: entry.value for entry in proto.external_data}
    dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(proto.data_type))
    file, offset = ticket.parent / place["location"], int(place.get("offset", 0))
    mapped: Array = np.memmap(file, dtype, "r", offset, tuple(proto.dims))
    return mapped


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
