"""A ticket's file: parsed whatever its maker, its manifest, its seal.

In: a path. Out: the model, external data left where it is.
"""

import hashlib
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from lt_onnx.errors import InputError
from lt_onnx.files import check_file
from lt_onnx.manifest import METADATA_KEY, SEAL_KEY, Manifest, parse_manifest
from lt_onnx.reading.protobuf import MAX_PARTS, too_many_parts
from lt_onnx.verification.tensors import external_file, is_external

CHUNK = 1 << 24  # bytes that are hashed at a time


def read_model(path: Path) -> tuple[onnx.ModelProto, bool]:
    """The graph, and whether the file is as protobuf writes it.

    Of a file that says things twice, another runtime may read the other. Raises InputError.
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


def manifest_of(path: Path, model: onnx.ModelProto) -> Manifest:
    """The manifest of the ticket at `path`. Raises InputError where there is none."""
    manifest = parse_manifest(path, {entry.key: entry.value for entry in model.metadata_props})
    if manifest is None:
        raise InputError(
            f"{path}: not a ticket: it has no '{METADATA_KEY}' metadata; was it made by convert?"
        )
    return manifest


def check_seal(path: Path, model: onnx.ModelProto) -> list[str]:
    """Why the seal does not hold, if so. Takes it off the model. Raises InputError."""
    seals = [entry for entry in model.metadata_props if entry.key == SEAL_KEY]
    if not seals:
        return [f"the seal '{SEAL_KEY}' is missing: the file was changed after it was made"]
    claimed = seals[0].value
    for seal in seals:
        model.metadata_props.remove(seal)
    digest = hashlib.sha256(model.SerializeToString(deterministic=True))
    for file in sorted({external_file(path, t) for t in model.graph.initializer if is_external(t)}):
        with file.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                digest.update(chunk)
    if claimed != digest.hexdigest():
        return [f"the seal '{SEAL_KEY}' is broken: the file was changed after it was made"]
    return []
