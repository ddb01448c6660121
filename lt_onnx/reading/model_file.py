"""ONNX files on the disk: loaded with their digest, asked for their metadata, opened to be run.

Comes in: a path, or a model in memory. Goes out: a parsed model whose weights are all in it, the
manifest in its metadata, a session, or the path of a temporary file.
"""

import contextlib
import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

import onnx

from lt_onnx.errors import InputError, UnsupportedError
from lt_onnx.manifest import DEPLOYED_KEY, Manifest, parse_manifest
from lt_onnx.reading.external_data import read_external
from lt_onnx.reading.float32 import in_float32
from lt_onnx.reading.protobuf import (
    all_tensors,
    hash_files,
    metadata_of,
    parse_file,
    serialized_bytes,
)
from lt_onnx.reading.torch_export import export_module, is_torch_module
from lt_onnx.runtime import NoKernelError, Session

if TYPE_CHECKING:
    from torch.nn import Module

# a torch module too, of which this file knows no type
GivenModel: TypeAlias = "str | PathLike[str] | onnx.ModelProto | Module"

MAX_INLINE_BYTES = 1 << 30  # of a model in memory that is written as one file
MAX_NODES = 50_000
MAX_MADE_AHEAD = 1 << 21  # weights of a seeded ticket that are made once, when it is opened


def load(path: Path) -> tuple[onnx.ModelProto, str]:
    """The model with its external data, and the SHA-256 of the file followed by that data.

    Raises InputError for a file that is missing, truncated or no ONNX model, and UnsupportedError
    for one of too many nodes.
    """
    model, content = parse_file(path)
    digest = hashlib.sha256(content)
    if not model.graph.node or not model.opset_import:
        raise InputError(f"{path}: not an ONNX model, or one with an empty graph")
    if len(model.graph.node) > MAX_NODES:
        raise UnsupportedError(
            f"{path}: {len(model.graph.node):,} nodes; lt-onnx reads {MAX_NODES:,} at most"
        )
    hash_files(digest, read_external(path, model))
    return model, digest.hexdigest()


def read_manifest(path: Path) -> Manifest | None:
    """What the file at `path` says of itself as a ticket; None when it is none.

    Nothing is proved: that is `verification`'s. Raises InputError when the file is no ONNX model,
    or its manifest is damaged.
    """
    return parse_manifest(path, metadata_of(parse_file(path)[0]))


def open_session(
    path: Path,
    device: str = "cpu",
    *,
    tensors: Sequence[str] = (),
    threads: int = 0,
    spare: bool = False,
) -> Session:
    """A `Session` of the model at `path`, with the inner tensors `tensors` in view.

    `threads` are those that share a sum, 0: all there may be. To `spare` memory a large seeded
    ticket makes its weights in every run: a runtime that makes them once holds all that an eighth
    of them or more is made of until it is open, 1.5 kB for a weight.

    Where onnxruntime lacks kernels for the model's double precision, it runs in float32, which is
    the network that is converted. Raises InputError.
    """
    spare = spare and is_large_seeded(path)
    try:
        return Session(path, device, tensors=tensors, threads=threads, spare=spare)
    except NoKernelError:
        model = onnx.load(str(path))
        if not in_float32(model):
            raise
        content = model.SerializeToString()
        return Session(path, device, tensors=tensors, content=content, threads=threads)


def is_large_seeded(path: Path) -> bool:
    """Whether a file is a ticket that makes more weights than MAX_MADE_AHEAD. Raises InputError."""
    metadata = metadata_of(parse_file(path)[0])
    manifest = parse_manifest(path, metadata) if DEPLOYED_KEY in metadata else None
    return manifest is not None and sum(layer.kept for layer in manifest.layers) > MAX_MADE_AHEAD


def model_files(path: Path) -> Iterator[Path]:
    """The file at `path` and, where it is a model, the data files that it names, unchecked."""
    yield path
    try:
        tensors = all_tensors(parse_file(path)[0])
    except InputError:
        return
    for name in {e.value for t in tensors for e in t.external_data if e.key == "location"}:
        yield path.parent / str(name)


def is_path(model: object) -> TypeGuard[str | PathLike[str]]:
    """Whether a model is given as a path. Raises InputError for what no model is."""
    if isinstance(model, str | PathLike):
        return True
    if isinstance(model, onnx.ModelProto) or is_torch_module(model):
        return False
    raise InputError(
        f"a {type(model).__name__} is no model: give a path, an onnx.ModelProto or a torch module"
    )


@contextlib.contextmanager
def on_disk(model: GivenModel, example_inputs: object = None) -> Iterator[Path]:
    """The path of a model; one in memory is written to a file that lives as long as the block.

    `example_inputs` are those of a torch module. Raises InputError.
    """
    if is_path(model):
        yield Path(model)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "target.onnx"
        if is_torch_module(model):
            if example_inputs is None:
                raise InputError("a torch module needs `example_inputs`, as its `forward` takes")
            export_module(model, example_inputs, path)
            yield path
            return
        assert isinstance(model, onnx.ModelProto)
        external = serialized_bytes(model) > MAX_INLINE_BYTES
        onnx.save(model, str(path), save_as_external_data=external)
        yield path
