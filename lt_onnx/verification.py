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
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from lt_onnx.errors import InputError
from lt_onnx.reader import load

KEY = "lt_onnx"
GENERATORS = ("philox4x32-10/1",)
CHUNK = 1 << 22
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
    model, _ = load(path)
    manifest = _manifest(path, model)
    tensors = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    proof = Proof(seed=manifest["seed"], dense=len(manifest["dense"]))
    if target_sha256 is not None and manifest["target_sha256"] != target_sha256:
        proof.failures.append("the ticket was made from another target (SHA-256 differs)")
    claimed: set[str] = set()
    for layer in manifest["layers"]:
        _check_layer(layer, manifest["seed"], tensors, claimed, proof)
    _check_rest(model, manifest, tensors, claimed, proof)
    return proof


def _manifest(path: Path, model: onnx.ModelProto) -> dict[str, Any]:
    """The manifest, with its types checked. Raises InputError."""
    entry = {p.key: p.value for p in model.metadata_props}.get(KEY)
    if entry is None:
        raise InputError(
            f"{path}: not a ticket: it has no '{KEY}' metadata; was it made by convert?"
        )
    try:
        manifest = json.loads(entry)
        if manifest["format"] != 1 or manifest["generator"] not in GENERATORS:
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
                ("scale", str), ("masked", bool),
            ):  # fmt: skip
                if not isinstance(layer[key], kind):
                    raise ValueError(key)
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
    layer: dict[str, Any], seed: int, tensors: dict[str, NDArray[Any]], claimed: set[str],
    proof: Proof,
) -> None:  # fmt: skip
    """One layer's weights and biases against the source."""
    shape, name = tuple(layer["shape"]), layer["weight"]
    stored_name = f"{name}/source" if layer["masked"] else name
    names = [stored_name]
    if layer["masked"]:
        names.append(f"{name}/mask")
    if layer["bias"] is not None:
        names.append(layer["bias"])
    for tensor in [*names, layer["scale"]]:
        if tensor not in tensors:
            proof.failures.append(f"tensor '{tensor}' is missing")
            return
    claimed.update(names)
    value = tensors[stored_name]
    value = value.T if layer["transposed"] else value
    if value.shape != shape or value.dtype != np.float32:
        proof.failures.append(f"tensor '{stored_name}' is {value.dtype} {list(value.shape)}, "
                              f"not float32 {list(shape)}")  # fmt: skip
        return
    sigma = np.float32(layer["sigma"])
    flat = np.ascontiguousarray(value).reshape(-1)
    kept = 0
    for start, drawn in _weights(seed, layer["index"], shape, layer, sigma):
        part = flat[start : start + len(drawn)].view(np.uint32)
        same = part == drawn.view(np.uint32)
        good = same if layer["masked"] else same | (part == 0)
        if not good.all():
            at = np.unravel_index(start + int(np.argmin(good)), shape)
            index = [int(i) for i in at]
            if layer["transposed"]:
                index.reverse()
            proof.failures.append(
                f"tensor '{stored_name}' at {index} is {flat[start + int(np.argmin(good))]!r}, "
                f"the source has {drawn[int(np.argmin(good))]!r}"
            )
            return
        kept += int(np.count_nonzero(part))
    if layer["masked"]:
        mask = tensors[f"{name}/mask"]
        if mask.dtype != np.uint8 or mask.shape != tensors[stored_name].shape or (mask > 1).any():
            proof.failures.append(f"tensor '{name}/mask' is not a mask of zeros and ones")
            return
        kept = int(mask.sum(dtype=np.int64))
    if kept != layer["kept"]:
        proof.failures.append(f"tensor '{name}' keeps {kept} weights, its record says "
                              f"{layer['kept']}")  # fmt: skip
    if layer["bias"] is not None:
        kept += _check_bias(layer, seed, tensors[layer["bias"]], sigma, proof)
    proof.layers += 1
    proof.kept += kept
    proof.source += flat.size + (shape[0] if layer["bias"] is not None else 0)


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
    model: onnx.ModelProto, manifest: dict[str, Any], tensors: dict[str, NDArray[Any]],
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
    if model.graph.sparse_initializer or model.functions:
        proof.failures.append("the graph holds sparse initializers or functions")
    scales = {layer["scale"] for layer in manifest["layers"]}
    parameters = set(manifest["parameters"])
    for layer in manifest["layers"]:
        uses = readers.get(layer["weight"], [])
        if len(uses) != 1 or uses[0][0] not in LINEAR or uses[0][1] != 1:
            proof.failures.append(f"tensor '{layer['weight']}' is not the weight of one layer")
    for name, value in tensors.items():
        if name in claimed:
            continue
        if name in scales:
            width = max(value.shape, default=1)
            if any(op != "Mul" for op, _ in readers.get(name, [])) or value.size != width:
                proof.failures.append(f"tensor '{name}' is not one scale per channel")
            proof.scales += int(np.count_nonzero(value))
        elif name in parameters and value.dtype == np.float32:
            proof.parameters += value.size
        elif value.dtype == np.float32 or not np.issubdtype(value.dtype, np.integer):
            proof.failures.append(
                f"tensor '{name}' ({value.dtype}, {value.size} values) is neither source, scale, "
                "index nor a named parameter"
            )


def _weights(
    seed: int, index: int, shape: tuple[int, ...], layer: dict[str, Any], sigma: np.float32
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """The layer's weights σ·u in chunks of whole rows, each with its flat start."""
    row = math.prod(shape[1:])
    half = layer["mirror_rows"]
    columns = layer["mirror_columns"]
    step = max(1, CHUNK // row)
    bounds = sorted({0, half, 2 * half, shape[0]})
    for low, high in pairwise(bounds):
        image = half > 0 and half <= low < 2 * half
        for start in range(low, high, step):
            stop = min(start + step, high)
            origin = start - half if image else start
            unit = _uniform(seed, index, 0, origin * row, (origin + stop - start) * row)
            if image:
                unit = -unit
            if columns:
                unit = unit.reshape(stop - start, *shape[1:])
                unit[:, columns : 2 * columns] = -unit[:, :columns]
                unit = unit.reshape(-1)
            yield start * row, (sigma * unit).astype(np.float32)


def _uniform(seed: int, layer: int, stream: int, start: int, stop: int) -> NDArray[np.float32]:
    """Unit values of positions start…stop-1: Philox4x32-10, counter (block, layer, stream)."""
    first, last = start // 4, (stop + 3) // 4
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    blocks = np.arange(first, last, dtype=np.uint64)
    c0, c1 = blocks & low, blocks >> shift
    c2, c3 = np.full_like(c0, layer), np.full_like(c0, stream)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c2 = (p1 >> shift) ^ c1 ^ np.uint64(k0), (p0 >> shift) ^ c3 ^ np.uint64(k1)
        c1, c3 = p1 & low, p0 & low
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    words = np.stack([c0, c1, c2, c3], 1).reshape(-1).astype(np.uint32).view(np.int32)
    unit = (words >> 8).astype(np.float32) * np.float32(2.0**-23)
    return unit[start - 4 * first : stop - 4 * first]
