"""A ticket's file: parsed whatever its maker, its manifest, its seal.

In: a path. Out: the model, external data left where it is.
"""

import hashlib
from pathlib import Path

import onnx

from lt_onnx.errors import InputError
from lt_onnx.manifest import METADATA_KEY, SEAL_KEY, Manifest, parse_manifest
from lt_onnx.reading.protobuf import hash_files, metadata_of, parse_file, replace_items
from lt_onnx.verification.tensors import external_file, is_external

OTHER_TARGET = "the ticket was made from another target"
CHANGED = (
    "the file was changed after it was made; an optimiser (onnxsim, OnnxSlim, onnxruntime's) does "
    "so: prove the ticket as it was written, and compare the optimised copy by validate"
)


def read_model(path: Path) -> tuple[onnx.ModelProto, bool]:
    """The graph, and whether the file is as protobuf writes it.

    Of a file that says things twice, another runtime may read the other. Raises InputError.
    """
    model, content = parse_file(path)
    return model, model.SerializeToString(deterministic=True) == content


def manifest_of(path: Path, model: onnx.ModelProto) -> Manifest:
    """The manifest of the ticket at `path`. Raises InputError where there is none."""
    manifest = parse_manifest(path, metadata_of(model))
    if manifest is None:
        raise InputError(
            f"{path}: not a ticket: it has no '{METADATA_KEY}' metadata; was it made by convert? "
            "An optimiser may have dropped it: prove the ticket as it was written"
        )
    return manifest


def check_seal(path: Path, model: onnx.ModelProto) -> list[str]:
    """Why the seal does not hold, if so. Takes it off the model. Raises InputError."""
    seals = [entry for entry in model.metadata_props if entry.key == SEAL_KEY]
    if not seals:
        return [f"the seal '{SEAL_KEY}' is missing: {CHANGED}"]
    claimed = seals[0].value
    others = [entry for entry in model.metadata_props if entry.key != SEAL_KEY]
    replace_items(model.metadata_props, others)
    digest = hashlib.sha256(model.SerializeToString(deterministic=True))
    external = {external_file(path, t) for t in model.graph.initializer if is_external(t)}
    hash_files(digest, sorted(external))
    if claimed != digest.hexdigest():
        return [f"the seal '{SEAL_KEY}' is broken: {CHANGED}"]
    return []
