"""From a ticket to its pack."""

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lt_onnx.errors import InputError
from lt_onnx.files import atomic_write, check_file, check_places, check_suffix
from lt_onnx.options import Weights
from lt_onnx.packing.archive import MAX_GRAPH_BYTES, SUFFIX, write_members
from lt_onnx.packing.copies import Copies, find_lag, find_stride
from lt_onnx.packing.format import (
    PACK_FORMAT,
    About,
    PackedFile,
    PackedLayer,
    groupings,
    initializers_of,
    layers_of,
    raw_tensors,
)
from lt_onnx.packing.grouping import MAX_PROBLEMS, Grouping, Mask
from lt_onnx.packing.subsets import Masks
from lt_onnx.reading.model_file import model_files
from lt_onnx.target import Array, Floats
from lt_onnx.verification.tensors import Sparse, Tensor, Tensors, locate_tensors
from lt_onnx.verification.ticket_file import manifest_of, read_model
from lt_onnx.verification.verify import prove

Rows: TypeAlias = Iterator[tuple[int, Floats, Mask]]
TRIED = 48  # rows by which it is decided how a layer's masks are told


def pack(ticket: Path, output: Path, *, force: bool = False) -> tuple[int, int]:
    """Write the pack of a ticket; its size and the ticket's, in bytes.

    Raises InputError when the ticket is none, is not genuine or cannot be read, or when nothing can
    be written (`force` lets it overwrite), and ResourceError when the disk is full.
    """
    check_file(ticket)
    if ticket.suffix == SUFFIX:
        raise InputError(f"{ticket}: is a pack already")
    check_places([output], model_files(ticket), force=force)
    check_suffix(output, SUFFIX)
    proof = prove(ticket)
    if not proof.genuine:
        raise InputError(f"{ticket}: is not genuine: {proof.failures[0]}")
    model = read_model(ticket)[0]
    manifest, stored = manifest_of(ticket, model), locate_tensors(ticket, model)
    if any(layer.stored == Weights.SEEDED for layer in manifest.layers):
        raise InputError(
            f"{ticket}: holds no random numbers already: give the ticket that it was made from or, "
            "if it is not collapsed, what deploy makes of it with `weights=folded`"
        )
    masks = Masks(price_bits=manifest.options.price_bits)
    count, lags = manifest.construction().copies, set[int]()
    layers, protos = layers_of(manifest), initializers_of(model)
    for layer, grouping in zip(layers, groupings(layers, protos), strict=True):
        if layer.record.block is not None:
            continue  # it follows from its record
        rows = partial(kept_rows, layer, manifest.seed, stored, ticket)
        copies = Copies()
        if count > 1:
            copies = _copies_of(
                masks, layer.spec.shape, rows, copies=count, grouping=grouping, lags=lags
            )
            lags.add(copies.lag)
        coded = masks.layer(grouping, layer.spec.shape, copies)
        for start, drawn, kept in rows():
            coded.coded(start, drawn, kept)
        if layer.record.bias is not None:
            biases = stored[layer.record.bias]
            assert isinstance(biases, Tensor)
            coded.biases(layer.spec.shape[0], biases.array() != 0)
    data = {held.file for held in stored.values() if isinstance(held, Tensor) and held.file}
    files = [PackedFile(file.name, file.stat().st_size, _hash(file)) for file in (ticket, *data)]
    for layer in layers:
        emptied = [*layer.names, *layer.derived]
        for tensor in (t for name in emptied for t in raw_tensors(protos[name])):
            tensor.raw_data = b""
    for node in model.graph.node:
        node.ClearField("doc_string")  # it follows from the manifest
    graph = model.SerializeToString(deterministic=True)
    if len(graph) > MAX_GRAPH_BYTES:
        raise InputError(
            f"{ticket}: {len(graph) / 1e6:.0f} MB of it are parameters of the target; a pack holds "
            f"{MAX_GRAPH_BYTES >> 20} MiB: keep the ticket itself"
        )
    about = About(PACK_FORMAT, ticket.name, tuple(files)).to_json()
    members = {"pack.json": about, "graph.onnx": graph, "masks.bin": masks.content()}
    with atomic_write(output, force=force) as (stream,):
        write_members(stream, members)
    return output.stat().st_size, sum(file.size for file in files)


def _copies_of(
    masks: Masks,
    shape: tuple[int, ...],
    rows: Callable[[], Rows],
    *,
    copies: int,
    grouping: Grouping | None,
    lags: set[int],
) -> Copies:
    """What the columns and rows of a layer in mode `l+1` are copies of, as far as it pays.

    `lags` are those of the layers before: the layer may read copies of as many channels.
    """
    if grouping is not None:
        return Copies(lag=find_lag(rows(), grouping, count=shape[0], copies=copies))
    _, drawn, kept = next(rows())
    most, tried = shape[1] // copies, [Copies()]
    for stride in {find_stride(kept, shape, copies), *(most // lag * lag for lag in lags if lag)}:
        apart = Grouping.apart_of(shape, copies, stride)
        if 0 < apart.problems <= MAX_PROBLEMS:
            lag = find_lag(rows(), apart, count=shape[0], copies=copies)
            tried.append(Copies(copies, stride, lag))
    return min(tried, key=lambda copies: masks.trial(shape, copies, drawn[:TRIED], kept[:TRIED]))


def kept_rows(layer: PackedLayer, seed: int, tensors: Tensors, ticket: Path) -> Rows:
    """Some rows [R, I·K] at a time: number of the first, the source in units of σ, the kept."""
    masked = layer.form.stored is Weights.MASKED
    stored = _stored_rows(layer, tensors[layer.form.mask if masked else layer.form.numbers])
    for start, drawn in layer.rows(seed):
        rows = stored(start, start + len(drawn)).reshape(drawn.shape)
        kept = rows != 0
        # what verify proved with a generator of its own, this one must draw again
        if not masked and (rows != layer.scaled(drawn).astype(layer.form.dtype))[kept].any():
            raise InputError(f"{ticket}: '{layer.form.name}' does not match its source: run verify")
        yield start, drawn, kept


def _stored_rows(layer: PackedLayer, tensor: Tensor | Sparse) -> Callable[[int, int], Array]:
    """Reads the rows start…stop-1 of a layer's tensor."""
    transposed = layer.spec.transposed
    if isinstance(tensor, Tensor):
        return tensor.rows(transposed=transposed)
    dense = np.zeros(tensor.shape, tensor.dtype)
    dense.reshape(-1)[tensor.places] = tensor.values
    rows = dense.T if transposed else dense
    return lambda start, stop: rows[start:stop]


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
