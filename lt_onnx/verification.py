"""Prove from a ticket file alone that it is a masked copy of its random source.

Shares with the construction the written specification of the generator (see `source`) and nothing
else: this file has its own Philox, in plain NumPy, and its own reading of the manifest.

Proved: every stored weight is +0 or, bit for bit, the weight that the seed gives at its position;
biases likewise, and only where the manifest says that a layer has them; kept weights are as many as
recorded; every other float tensor is a scale that only a Mul reads, or a parameter of the target
that the manifest names; integer tensors are indices and shapes.
"""

import json
import math
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from lt_onnx.errors import InputError

KEY = "lt_onnx"
GENERATORS = ("philox4x32-10/1",)
CHUNK = 1 << 17  # weights that one thread checks at a time; what NumPy makes of them fits a cache
LINEAR = ("Conv", "Gemm", "MatMul")
LARGEST_LAYER = 1 << 36  # weights; a manifest that asks for more is forged


@dataclass
class Proof:
    """Outcome: `failures` is empty when the ticket is genuine; counts are of what was checked."""

    layers: int = 0
    kept: int = 0
    source: int = 0
    scales: int = 0
    parameters: int = 0
    dense: int = 0
    seed: int = 0
    failures: list[str] = field(default_factory=list)

    @property
    def genuine(self) -> bool:
        """Whether everything was proved."""
        return not self.failures


def verify(path: Path, target_sha256: str | None = None) -> Proof:
    """Check the ticket at `path`; with `target_sha256` also that it was made from that target.

    Raises InputError for a file that is no ticket at all; everything else is in `Proof.failures`.
    """
    model, tensors, sparse = _open(path)
    manifest = _manifest(path, model)
    proof = Proof(seed=manifest["seed"], dense=len(manifest["dense"]))
    if target_sha256 is not None and manifest["target_sha256"] != target_sha256:
        proof.failures.append("the ticket was made from another target (SHA-256 differs)")
    claimed: set[str] = set()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for layer in manifest["layers"]:
            _check_layer(layer, manifest["seed"], {**tensors, **sparse}, claimed, proof, pool)
    _check_rest(model, manifest, tensors, claimed, proof)
    for name in sparse.keys() - claimed:
        proof.failures.append(f"sparse tensor '{name}' is no layer's weight")
    return proof


@dataclass(frozen=True)
class _Tensor:
    """An initializer: inline, or a place in a file of which only pieces are ever read."""

    proto: onnx.TensorProto
    file: Path | None
    offset: int

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.proto.dims)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(helper.tensor_dtype_to_np_dtype(self.proto.data_type))

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def array(self) -> NDArray[Any]:
        """All of it."""
        if self.file is None:
            return np.asarray(numpy_helper.to_array(self.proto))
        return np.fromfile(self.file, self.dtype, self.size, offset=self.offset).reshape(self.shape)

    def reader(self, transposed: bool) -> "_Reader":
        """Access by rows, or by columns of a tensor stored as [I, O], whose rows lie scattered."""
        held = self.array() if self.file is None else None
        if transposed and self.file is not None:
            held = np.memmap(self.file, self.dtype, "r", self.offset, self.shape)
        return _Reader(self, transposed, held)


@dataclass(frozen=True)
class _Reader:
    tensor: _Tensor
    transposed: bool
    held: NDArray[Any] | None

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Rows start…stop-1 of the layer's weight, flat."""
        tensor = self.tensor
        if self.held is not None:
            part = self.held[:, start:stop].T if self.transposed else self.held[start:stop]
            return np.ascontiguousarray(part).reshape(-1)
        assert tensor.file is not None
        width = tensor.size // tensor.shape[0]
        at = tensor.offset + start * width * tensor.dtype.itemsize
        return np.fromfile(tensor.file, tensor.dtype, (stop - start) * width, offset=at)


@dataclass(frozen=True)
class _Sparse:
    """A sparse initializer: what is not in it is zero."""

    name: str
    shape: tuple[int, ...]
    places: NDArray[np.int64]  # flat, rising
    values: NDArray[Any]

    @property
    def dtype(self) -> np.dtype[Any]:
        return self.values.dtype

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    def reader(self, transposed: bool) -> "_SparseReader":
        """Access by rows, or by columns of a tensor stored as [I, O]."""
        width, places, values = self.size // self.shape[0], self.places, self.values
        if transposed:
            count = self.shape[1]
            width = self.shape[0]
            places = places % count * width + places // count
            order = np.argsort(places, kind="stable")
            places, values = places[order], values[order]
        return _SparseReader(width, places, values)


@dataclass(frozen=True)
class _SparseReader:
    width: int
    places: NDArray[np.int64]
    values: NDArray[Any]

    def rows(self, start: int, stop: int) -> NDArray[Any]:
        """Rows start…stop-1 of the layer's weight, flat."""
        low, high = np.searchsorted(self.places, [start * self.width, stop * self.width])
        out = np.zeros((stop - start) * self.width, self.values.dtype)
        out[self.places[low:high] - start * self.width] = self.values[low:high]
        return out


def _open(path: Path) -> tuple[onnx.ModelProto, dict[str, _Tensor], dict[str, _Sparse]]:
    """The graph and its initializers, external data left where it is. Raises InputError."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        raise InputError(f"{path}: not an ONNX model (truncated, or another format)") from None
    graph = model.graph
    tensors = {proto.name: _located(path, proto) for proto in graph.initializer}
    return model, tensors, {s.values.name: _sparse(path, s) for s in graph.sparse_initializer}


def _sparse(path: Path, proto: onnx.SparseTensorProto) -> _Sparse:
    """A sparse initializer, proven to be one. Raises InputError."""
    where = f"{path}: sparse tensor '{proto.values.name}'"
    shape = tuple(proto.dims)
    values = _located(path, proto.values).array()
    places = _located(path, proto.indices).array()
    fits = (
        places.dtype == np.int64 and places.shape == values.shape and places.ndim == 1
        and len(shape) > 0 and min(shape) > 0 and math.prod(shape) <= LARGEST_LAYER
    )  # fmt: skip
    if not fits or (len(places) and (places[0] < 0 or places[-1] >= math.prod(shape))):
        raise InputError(f"{where}: its indices do not fit its shape {list(shape)}")
    if (np.diff(places) <= 0).any():
        raise InputError(f"{where}: its indices do not rise")
    return _Sparse(proto.values.name, shape, places, values)


def _located(path: Path, proto: onnx.TensorProto) -> _Tensor:
    """Where an initializer's numbers are, proven to be there. Raises InputError."""
    where = f"{path}: tensor '{proto.name}'"
    try:
        size = math.prod(proto.dims) * helper.tensor_dtype_to_np_dtype(proto.data_type).itemsize
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{where}: of unknown type {proto.data_type}") from None
    if proto.data_location != onnx.TensorProto.EXTERNAL:
        return _Tensor(proto, None, 0)
    entries = {entry.key: entry.value for entry in proto.external_data}
    location = PurePosixPath(entries.get("location", ""))
    file = path.parent / location
    inside = not location.is_absolute() and ".." not in location.parts and not file.is_symlink()
    if not inside or not file.is_file():
        raise InputError(f"{where}: external data '{location}' is not a file in its folder")
    try:
        offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
    except ValueError:
        offset = length = -1
    if offset < 0 or length != size or offset + size > file.stat().st_size:
        raise InputError(f"{where}: external data '{location}' is truncated or misplaced")
    return _Tensor(proto, file, offset)


def _manifest(path: Path, model: onnx.ModelProto) -> dict[str, Any]:
    """The manifest, with its types checked. Raises InputError."""
    entry = {p.key: p.value for p in model.metadata_props}.get(KEY)
    if entry is None:
        raise InputError(
            f"{path}: not a ticket: it has no '{KEY}' metadata; was it made by convert?"
        )
    try:
        manifest = json.loads(entry)
        if manifest["format"] != 3 or manifest["generator"] not in GENERATORS:
            raise InputError(f"{path}: a ticket of another version; update lt-onnx")
        seed = manifest["seed"]
        if not isinstance(seed, int) or not 0 <= seed < 2**64:
            raise ValueError("seed")
        for layer in manifest["layers"]:
            shape = layer["shape"]
            if not shape or not all(isinstance(d, int) and d > 0 for d in shape):
                raise ValueError("shape")
            if math.prod(shape) > LARGEST_LAYER or not math.isfinite(layer["sigma"]):
                raise ValueError("size")
            for key, kind in (
                ("weight", str), ("index", int), ("kept", int), ("transposed", bool),
                ("mirror_rows", int), ("mirror_columns", int), ("kept_bias", int),
                ("scale", str), ("half", bool),
            ):  # fmt: skip
                if not isinstance(layer[key], kind):
                    raise ValueError(key)
            if layer["stored"] not in ("folded", "masked", "sparse"):
                raise ValueError("stored")
            for half, size in (("mirror_rows", shape[0]), ("mirror_columns", shape[1])):
                if not 0 <= 2 * layer[half] <= size:
                    raise ValueError(half)
        for key in ("dense", "parameters", "order"):
            if not isinstance(manifest[key], list):
                raise ValueError(key)
        str(manifest["target_sha256"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: its '{KEY}' metadata is damaged ({error})") from None
    return dict(manifest)


def _check_layer(
    layer: dict[str, Any], seed: int, tensors: Mapping[str, _Tensor | _Sparse],
    claimed: set[str], proof: Proof, pool: ThreadPoolExecutor,
) -> None:  # fmt: skip
    """One layer's weights and biases against the source."""
    shape, name = tuple(layer["shape"]), layer["weight"]
    stored_name, masked = _numbers(layer), layer["stored"] == "masked"
    dtype = np.dtype(np.float16 if layer["half"] else np.float32)
    bits = np.uint16 if layer["half"] else np.uint32
    names = [stored_name]
    if masked:
        names.append(f"{name}/mask")
    if layer["bias"] is not None:
        names.append(layer["bias"])
    for tensor in [*names, layer["scale"]]:
        if tensor not in tensors:
            proof.failures.append(f"tensor '{tensor}' is missing")
            return
    claimed.update(names)
    stored = tensors[stored_name]
    turned = layer["transposed"]
    sparse = isinstance(stored, _Sparse)
    if (
        stored.shape != (shape[::-1] if turned else shape) or stored.dtype != dtype
        or sparse != (layer["stored"] == "sparse")
    ):  # fmt: skip
        proof.failures.append(f"tensor '{stored_name}' is {stored.dtype} {list(stored.shape)}, "
                              f"not {layer['stored']} {dtype} {list(shape)}")  # fmt: skip
        return
    sigma = np.float32(layer["sigma"])
    reader = stored.reader(turned)

    def check(rows: tuple[int, int]) -> tuple[int, str]:
        """Kept weights among some rows, and what is wrong with them."""
        part = reader.rows(*rows).view(bits)
        drawn = _weights(seed, layer, shape, *rows, sigma).astype(dtype)
        good = part == drawn.view(bits)
        if not masked:
            good |= part == 0
        if good.all():
            return int(np.count_nonzero(part)), ""
        bad = int(np.argmin(good))
        index = [int(i) for i in np.unravel_index(rows[0] * math.prod(shape[1:]) + bad, shape)]
        return 0, (
            f"tensor '{stored_name}' at {index[::-1] if turned else index} is "
            f"{part.view(dtype)[bad]!r}, the source has {drawn[bad]!r}"
        )

    kept = 0
    for count, wrong in pool.map(check, _pieces(layer, shape)):
        kept += count
        if wrong:
            proof.failures.append(wrong)
            return
    if masked:
        mask = tensors[f"{name}/mask"]
        fits = mask.dtype == np.uint8 and mask.shape == stored.shape
        masks = mask.reader(turned)
        kept = 0
        for start, stop in _pieces(layer, shape) if fits else []:
            part = masks.rows(start, stop)
            fits &= not (part > 1).any()
            kept += int(part.sum(dtype=np.int64))
        if not fits:
            proof.failures.append(f"tensor '{name}/mask' is not a mask of zeros and ones")
            return
    if kept != layer["kept"]:
        proof.failures.append(f"tensor '{name}' keeps {kept} weights, its record says "
                              f"{layer['kept']}")  # fmt: skip
    if layer["bias"] is not None:
        bias = tensors[layer["bias"]]
        assert isinstance(bias, _Tensor)
        kept += _check_bias(layer, seed, bias.array(), sigma, proof)
    proof.layers += 1
    proof.kept += kept
    proof.source += stored.size + (shape[0] if layer["bias"] is not None else 0)


def _check_bias(
    layer: dict[str, Any], seed: int, stored: NDArray[Any], sigma: np.float32, proof: Proof
) -> int:
    """Biases of a layer that opens a path; returns how many are kept."""
    drawn = _uniform(seed, layer["index"], 1, 0, layer["shape"][0])
    half = layer["mirror_rows"]
    drawn[half : 2 * half] = -drawn[:half]
    drawn = (sigma * drawn).astype(np.float32)
    if stored.shape != drawn.shape or stored.dtype != np.float32:
        proof.failures.append(f"tensor '{layer['bias']}' does not fit its layer")
        return 0
    bits = np.ascontiguousarray(stored).view(np.uint32)
    good = (bits == 0) | (bits == drawn.view(np.uint32))
    if not good.all():
        at = int(np.argmin(good))
        proof.failures.append(f"tensor '{layer['bias']}' at [{at}] is {stored[at]!r}, the source "
                              f"has {drawn[at]!r}")  # fmt: skip
    kept = int(np.count_nonzero(bits))
    if kept != layer["kept_bias"]:
        proof.failures.append(f"tensor '{layer['bias']}' keeps {kept} biases, its record says "
                              f"{layer['kept_bias']}")  # fmt: skip
    return kept


def _check_rest(
    model: onnx.ModelProto, manifest: dict[str, Any], tensors: dict[str, _Tensor],
    claimed: set[str], proof: Proof,
) -> None:  # fmt: skip
    """Nothing dense hides: scales, named parameters and indices are all that is left."""
    readers: dict[str, list[tuple[str, int]]] = {}
    for node in model.graph.node:
        for position, name in enumerate(node.input):
            readers.setdefault(name, []).append((node.op_type, position))
        for attribute in node.attribute:
            if attribute.HasField("t") or attribute.HasField("g") or attribute.tensors:
                proof.failures.append(f"node '{node.name}' hides a tensor in its attribute "
                                      f"'{attribute.name}'")  # fmt: skip
    if model.functions:
        proof.failures.append("the graph holds functions")
    makers = {name: node for node in model.graph.node for name in node.output}
    scales = {layer["scale"] for layer in manifest["layers"]}
    parameters = set(manifest["parameters"])
    for layer in manifest["layers"]:
        uses = readers.get(layer["weight"], [])
        if len(uses) != 1 or uses[0][0] not in LINEAR or uses[0][1] != 1:
            proof.failures.append(f"tensor '{layer['weight']}' is not the weight of one layer")
        if not _is_made(layer, makers, readers):
            proof.failures.append(f"tensor '{layer['weight']}' is not made of its source and mask")
    for name, value in tensors.items():
        if name in claimed:
            continue
        if name in scales:
            width = max(value.shape, default=1)
            if any(op != "Mul" for op, _ in readers.get(name, [])) or value.size != width:
                proof.failures.append(f"tensor '{name}' is not one scale per channel")
            proof.scales += int(np.count_nonzero(value.array()))
        elif name in parameters and value.dtype == np.float32:
            proof.parameters += value.size
        elif value.dtype == np.float32 or not np.issubdtype(value.dtype, np.integer):
            proof.failures.append(
                f"tensor '{name}' ({value.dtype}, {value.size} values) is neither source, scale, "
                "index nor a named parameter"
            )


def _numbers(layer: dict[str, Any]) -> str:
    """The initializer that holds a layer's random numbers."""
    if layer["stored"] == "masked":
        return f"{layer['weight']}/source"
    return f"{layer['weight']}/half" if layer["half"] else str(layer["weight"])


def _is_made(
    layer: dict[str, Any], makers: Mapping[str, onnx.NodeProto],
    readers: Mapping[str, list[tuple[str, int]]],
) -> bool:  # fmt: skip
    """Whether the weight is the initializer, or that times its mask, in float32 at the end."""
    name, masked = layer["weight"], layer["stored"] == "masked"

    def made(tensor: str, op: str, count: int) -> list[str] | None:
        node = makers.get(tensor)
        fits = node is not None and node.op_type == op and len(node.input) == count
        return list(node.input) if node is not None and fits and not node.domain else None

    if layer["half"]:
        inputs = made(name, "Cast", 1)
        name = inputs[0] if inputs else ""
    if masked:
        inputs = made(name, "Mul", 2)
        if inputs is None or made(inputs[1], "Cast", 1) != [f"{layer['weight']}/mask"]:
            return False
        name = inputs[0]
    numbers = _numbers(layer)
    read = [numbers, f"{layer['weight']}/mask"] if masked else [numbers]
    once = all(len(readers.get(tensor, [])) == 1 for tensor in read)
    return name == numbers and name not in makers and once


def _pieces(layer: dict[str, Any], shape: tuple[int, ...]) -> Iterator[tuple[int, int]]:
    """The layer's rows in pieces of about CHUNK weights, mirror images apart."""
    row, half = math.prod(shape[1:]), layer["mirror_rows"]
    step = max(1, CHUNK // row)
    for low, high in pairwise(sorted({0, half, 2 * half, shape[0]})):
        for start in range(low, high, step):
            yield start, min(start + step, high)


def _weights(
    seed: int, layer: dict[str, Any], shape: tuple[int, ...], start: int, stop: int,
    sigma: np.float32,
) -> NDArray[np.float32]:  # fmt: skip
    """The weights σ·u of some rows, flat; all of them mirror images, or none."""
    row, half, columns = math.prod(shape[1:]), layer["mirror_rows"], layer["mirror_columns"]
    image = half <= start < 2 * half
    origin = start - half if image else start
    unit = _uniform(seed, layer["index"], 0, origin * row, (origin + stop - start) * row)
    if image:
        unit = -unit
    if columns:
        unit = unit.reshape(stop - start, *shape[1:])
        unit[:, columns : 2 * columns] = -unit[:, :columns]
        unit = unit.reshape(-1)
    return (sigma * unit).astype(np.float32)


def _uniform(seed: int, layer: int, stream: int, start: int, stop: int) -> NDArray[np.float32]:
    """Unit values of positions start…stop-1: Philox4x32-10, counter (block, layer, stream)."""
    first, last = start // 4, (stop + 3) // 4
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    blocks = np.arange(first, last, dtype=np.uint64)
    c0, c1 = blocks & low, blocks >> shift
    c2, c3 = np.full_like(c0, layer), np.full_like(c0, stream)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        c0 *= np.uint64(0xD2511F53)
        c2 *= np.uint64(0xCD9E8D57)
        new0, new2 = c2 >> shift, c0 >> shift
        new0 ^= c1
        new2 ^= c3
        new0 ^= np.uint64(k0)
        new2 ^= np.uint64(k1)
        c2 &= low
        c0 &= low
        c0, c1, c2, c3 = new0, c2, new2, c0
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    words = np.empty((len(blocks), 4), np.int32)
    for lane, word in enumerate((c0, c1, c2, c3)):
        words[:, lane] = word.astype(np.uint32).view(np.int32)
    words >>= 8
    unit = words.reshape(-1).astype(np.float32)
    unit *= np.float32(2.0**-23)
    return unit[start - 4 * first : stop - 4 * first]
