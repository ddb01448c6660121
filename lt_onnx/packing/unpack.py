"""From a pack to its ticket. A pack may come from anybody: all it says is checked."""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedRandom
from pathlib import Path

import msgspec
import numpy as np
import onnx
from google.protobuf.message import DecodeError

from lt_onnx import files
from lt_onnx.errors import InputError, LtOnnxError, ResourceError
from lt_onnx.files import atomic_write, check_places, check_suffix, data_of
from lt_onnx.manifest import BlockRecord, parse_manifest
from lt_onnx.options import Weights
from lt_onnx.packing.archive import SUFFIX, read_members
from lt_onnx.packing.format import (
    PACK_FORMAT,
    About,
    PackedFile,
    PackedLayer,
    Stated,
    groupings,
    initializers_of,
    layers_of,
    raw_tensors,
)
from lt_onnx.packing.grouping import Grouping
from lt_onnx.packing.subsets import Masks
from lt_onnx.reading.protobuf import metadata_of, too_many_parts
from lt_onnx.units import name_text, size_text
from lt_onnx.verification.flaw import Flaw
from lt_onnx.verification.univariate import Neurons, check_drawn, derived
from lt_onnx.writing.storage import ALIGNMENT, MIN_EXTERNAL_BYTES, LayerTensors, name_of
from lt_onnx.writing.ticket import put_doc_strings

MAX_KEPT_BYTES = 12  # of a kept weight in a sparse ticket
# of a pack: the masks of a real ticket cannot be told in so few, and what is drawn takes time
MAX_WEIGHTS_PER_BYTE = 1 << 15
MAX_KEPT_PER_BYTE = 64
MAX_ORDER = 64  # places for every neuron: a constant may stand at many


class _Pack:
    """What a pack holds, its types checked, and its masks as they are read.

    `files` are the ticket and its data if it has any, `tensors` those of `model`: changing one
    changes it. Raises InputError.
    """

    def __init__(self, path: Path) -> None:
        about, graph, masks = read_members(path, "pack.json", "graph.onnx", "masks.bin")
        self.path, self.model = path, onnx.ModelProto()
        if too_many_parts(graph):
            raise InputError(f"{path}: its graph is made of more parts than any network")
        try:
            self.model.ParseFromString(graph)
        except DecodeError:
            raise InputError(f"{path}: damaged: its graph is no ONNX model") from None
        if self.model.SerializeToString(deterministic=True) != graph:
            raise InputError(f"{path}: damaged: its graph says things twice or out of order")
        if any(node.doc_string for node in self.model.graph.node):  # they follow from the manifest
            raise InputError(f"{path}: damaged, or forged: its graph says what the ticket says")
        manifest = parse_manifest(path, metadata_of(self.model))
        if manifest is None:
            raise InputError(f"{path}: its graph is no ticket")
        self.files, self.tensors = _files(path, about), initializers_of(self.model)
        self.layers, self.seed = layers_of(manifest), manifest.seed
        self.manifest, self.groupings = manifest, groupings(self.layers, self.tensors)
        self.masks = Masks(masks, price_bits=manifest.options.price_bits)

    def put(self, tensor: onnx.TensorProto, numbers: bytes) -> None:
        """Give a tensor the numbers that follow from seed and masks. Raises InputError."""
        if tensor.raw_data or not tensor.HasField("raw_data"):
            raise self.damaged(f"tensor '{name_text(tensor.name)}' is not empty as pack leaves it")
        tensor.raw_data = numbers

    def damaged(self, why: str) -> InputError:
        """What to raise for a pack that contradicts itself."""
        return InputError(f"{self.path}: damaged, or forged: {why}")


def ticket_name(packed: Path) -> str:
    """The file name of a pack's ticket. Raises InputError."""
    return _files(packed, read_members(packed, "pack.json")[0])[0].name


@contextmanager
def unpacked_if_packed(path: Path) -> Iterator[Path]:
    """A ticket's own path; of a pack (.ltz) the ticket in it, written for as long as the block.

    Raises as `unpack`; errors that are raised within and name the ticket name the pack.
    """
    if path.suffix != SUFFIX:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        ticket = Path(folder) / ticket_name(path)
        try:
            yield unpack(path, ticket)[0]
        except LtOnnxError as error:
            error.args = (str(error).replace(str(ticket), str(path)),)
            raise


def unpack(packed: Path, output: Path, *, force: bool = False) -> list[Path]:
    """Write the ticket of a pack, byte for byte as it was; the files written.

    Raises InputError when it is no pack, or damaged, or when the ticket cannot be written (`force`
    lets it overwrite), and ResourceError when the disk is full: then nothing is written.
    """
    pack = _Pack(packed)
    if len(pack.files) == 2 and output.name != pack.files[0].name:
        raise InputError(
            f"{packed}: the ticket has external data and keeps its name: give a folder, or a path "
            f"that ends in {pack.files[0].name}"
        )
    paths = [output, data_of(output)][: len(pack.files)]
    check_places(paths, [packed], force=force)
    check_suffix(output, ".onnx")
    _check_sizes(pack, output)
    with atomic_write(*paths, force=force) as streams:
        for layer, grouping in zip(pack.layers, pack.groupings, strict=True):
            try:
                _fill(pack, layer, grouping, streams[1] if len(streams) == 2 else None)
            except ValueError as error:
                raise pack.damaged(str(error)) from None
        if not pack.masks.is_over:
            raise pack.damaged("it has more masks than its layers need")
        if pack.model.graph.doc_string:
            put_doc_strings(pack.model, pack.manifest)
        streams[0].write(pack.model.SerializeToString(deterministic=True))
        for stream, file in zip(streams, pack.files, strict=True):
            size = stream.seek(0, os.SEEK_END)
            stream.seek(0)
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            if (size, digest) != (file.size, file.sha256):
                raise pack.damaged(f"'{file.name}' comes out otherwise")
    return paths


def _check_sizes(pack: _Pack, output: Path) -> None:
    """Refuse what cannot be a ticket before anything is drawn or written."""
    inside = outside = 0
    room = pack.model.ByteSize() + ALIGNMENT * (len(pack.layers) + 1)  # around what layers hold
    for layer in pack.layers:
        is_sparse, numbers = layer.form.stored is Weights.SPARSE, layer.form.numbers
        for name in layer.names:
            kind = onnx.SparseTensorProto if is_sparse and name == numbers else onnx.TensorProto
            if not isinstance(pack.tensors.get(name), kind):
                raise pack.damaged(f"it has no tensor '{name[:80]}'")
        size = layer.spec.size * layer.form.dtype.itemsize
        if is_sparse:
            room += MAX_KEPT_BYTES * layer.record.kept
        elif not raw_tensors(pack.tensors[numbers]):
            outside += size
        else:
            inside += size
        room += 2 * layer.spec.size  # a mask, and biases
    claimed = [file.size for file in pack.files]
    most = 2 * files.INLINE_LIMIT + MIN_EXTERNAL_BYTES * len(pack.layers)
    fits = inside <= min(claimed[0], most) and outside <= sum(claimed[1:])
    packed = pack.path.stat().st_size
    fits &= sum(layer.spec.size for layer in pack.layers) <= MAX_WEIGHTS_PER_BYTE * packed
    fits &= sum(layer.record.kept for layer in pack.layers) <= MAX_KEPT_PER_BYTE * packed
    try:
        check_drawn(pack.manifest, packed)
    except Flaw as flaw:
        raise pack.damaged(str(flaw)) from None
    if not fits or sum(claimed) > inside + outside + room:
        raise pack.damaged("the sizes of its layers and of its files disagree")
    free = shutil.disk_usage(output.parent).free
    if sum(claimed) > free:
        raise ResourceError(
            f"{output}: about {size_text(sum(claimed))} are needed, {size_text(free)} are free"
        )


def _fill(
    pack: _Pack, layer: PackedLayer, grouping: Grouping | None, data: BufferedRandom | None
) -> None:
    """Draw a layer's tensors and put them where they were."""

    def stream_of(name: str, size: int) -> BufferedRandom | None:
        if raw_tensors(pack.tensors[name]):
            return None
        if data is None:
            raise pack.damaged(f"tensor '{name[:80]}' lies in a file that it does not name")
        return data

    filled = LayerTensors(layer.spec, layer.form, stream_of)
    neurons = None if layer.record.block is None else _derive(pack, layer, layer.record.block)
    masks = None if neurons is not None else pack.masks.layer(grouping, layer.spec.shape)
    for start, drawn in layer.rows(pack.seed):
        if masks is not None:
            kept = masks.coded(start, drawn, None)
        elif neurons is not None:
            kept, here = np.zeros(drawn.shape, bool), neurons.rows - start
            inside = (here >= 0) & (here < len(drawn))
            kept[here[inside], neurons.columns[inside]] = True
        filled.write(start, layer.scaled(drawn), kept)
        if filled.kept > layer.record.kept:
            raise pack.damaged(f"layer '{name_text(layer.spec.name)}' keeps more than it says")
    for proto in filled.protos(""):
        emptied = raw_tensors(pack.tensors[name_of(proto)])
        for held, drawn_again in zip(emptied, raw_tensors(proto), strict=True):
            pack.put(held, drawn_again.raw_data)
    if layer.record.bias is not None:
        drawn = layer.biases(pack.seed)
        if masks is not None:
            keeps = masks.biases(drawn.size, None)
        elif neurons is not None:
            keeps = np.isin(np.arange(drawn.size), neurons.biased)
        biases = np.where(keeps, drawn, np.float32(0))
        for held in raw_tensors(pack.tensors[layer.record.bias]):
            pack.put(held, biases.tobytes())


def _derive(pack: _Pack, layer: PackedLayer, block: BlockRecord) -> Neurons:
    """What follows from a univariate layer's record; its scales and order are put in their place.

    Raises InputError.
    """
    scale, order = (pack.tensors.get(name) for name in layer.derived)
    if not isinstance(scale, onnx.TensorProto) or not isinstance(order, onnx.TensorProto):
        raise pack.damaged(f"layer '{name_text(layer.spec.name)}' has no scales or no order")
    width = order.dims[0] if len(order.dims) == 1 else 0
    if not 0 < width <= MAX_ORDER * layer.spec.shape[0]:
        raise pack.damaged(f"the order of layer '{name_text(layer.spec.name)}' is none")
    try:
        kept = layer.record.kept
        neurons = derived(layer.record, block, pack.manifest, width=width, kept=kept)
    except Flaw as flaw:
        raise pack.damaged(str(flaw)) from None
    pack.put(scale, neurons.scale.tobytes())
    pack.put(order, neurons.order.tobytes())
    return neurons


def _files(packed: Path, content: bytes) -> tuple[PackedFile, ...]:
    """The files that a pack says it holds. Raises InputError."""
    try:
        stated = msgspec.json.decode(content, type=Stated).format
        if stated != PACK_FORMAT:
            mend = "update lt-onnx"
            if stated < PACK_FORMAT:
                mend = "convert and pack its target again"
            raise InputError(
                f"{packed}: is a pack of format {stated}; this version reads format {PACK_FORMAT}: "
                + mend
            )
        about = msgspec.json.decode(content, type=About)
        names = [file.name for file in about.files]
        plain = all(name.isprintable() and Path(name).name == name != "" for name in names)
        if (
            not plain
            or Path(about.name).suffix != ".onnx"
            or names not in ([about.name], [about.name, f"{about.name}.data"])
        ):
            raise ValueError("files")
        if about.to_json() != content:
            raise ValueError("written otherwise")
    except (ValueError, RecursionError):
        raise InputError(f"{packed}: not a pack of lt-onnx, or damaged") from None
    return about.files
