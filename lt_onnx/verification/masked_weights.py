"""Every stored number of a random layer against its source, bit for bit.

In: the manifest and the tensors. Out: what was compared, and the layers that fail. A weight is +0
or what the seed gives at its position; −0 and denormal numbers are neither. Tensors are read in
pieces; of a sparse one only the kept positions are drawn.
"""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lt_onnx.cores import core_count
from lt_onnx.manifest import LayerRecord, Manifest
from lt_onnx.target import Array, Indices
from lt_onnx.verification.flaw import Flaw
from lt_onnx.verification.generator import CHUNK, biases, deviation, pieces, weights, weights_at
from lt_onnx.verification.tensors import Sparse, Tensor, Tensors
from lt_onnx.verification.univariate import check_drawn, check_univariate

MIN_EXTERNAL_BYTES = 1024  # of a tensor in external data, if there is any


def source_tensor(layer: LayerRecord) -> str:
    """The initializer that holds a layer's random numbers, masked or whole."""
    if layer.stored == "masked":
        return f"{layer.weight}/source"
    return f"{layer.weight}/half" if layer.half else layer.weight


def stored_tensors(layer: LayerRecord) -> list[str]:
    """The initializers that hold a layer's numbers, mask and biases."""
    mask = [f"{layer.weight}/mask"] if layer.stored == "masked" else []
    return [source_tensor(layer), *mask, *([layer.bias] if layer.bias is not None else [])]


def check_masked_weights(
    manifest: Manifest, tensors: Tensors, *, size: int
) -> tuple[dict[str, int], list[str]]:
    """Counts of what was proved, and what is wrong: one line for each layer that fails.

    `size` is that of the ticket's files, in bytes.
    """
    counts: list[tuple[int, int, int]] = []
    failures = [*_misplaced(manifest, tensors)]
    try:
        check_drawn(manifest, size)
    except Flaw as flaw:
        return {"layers": 0, "kept": 0, "source": 0, "draws": 0}, [str(flaw)]
    with ThreadPoolExecutor(core_count()) as pool:
        for layer in manifest.layers:
            try:
                counts.append(_check_layer(layer, manifest, tensors, pool))
            except Flaw as flaw:
                failures.append(str(flaw))
    kept, source, draws = (sum(count[place] for count in counts) for place in (0, 1, 2))
    return {"layers": len(counts), "kept": kept, "source": source, "draws": draws}, failures


def _misplaced(manifest: Manifest, tensors: Tensors) -> Iterator[str]:
    """Tensors that are in external data where others like them are not, or the other way round."""
    held = {
        name: tensor
        for layer in manifest.layers
        for name in stored_tensors(layer)
        if isinstance(tensor := tensors.get(name), Tensor)
    }
    biases = {layer.bias for layer in manifest.layers}
    apart = any(tensor.file is not None for tensor in held.values())
    for name, tensor in held.items():
        large = tensor.size * tensor.dtype.itemsize >= MIN_EXTERNAL_BYTES and name not in biases
        if (tensor.file is not None) != (apart and large):
            yield f"tensor '{name}' is not in external data as the others are, or alone is"


def _check_layer(
    layer: LayerRecord, manifest: Manifest, tensors: Tensors, pool: ThreadPoolExecutor
) -> tuple[int, int, int]:
    """Kept and source weights and biases of one layer, and independent ones. Raises Flaw."""
    for name in [*stored_tensors(layer), layer.scale]:
        if name not in tensors:
            raise Flaw(f"tensor '{name}' is missing")
    sigma = deviation(manifest.options.init, layer.shape)
    if np.float32(layer.sigma) != sigma or float(np.float32(layer.sigma)) != layer.sigma:
        raise Flaw(
            f"layer '{layer.weight}' has σ = {layer.sigma!r}; "
            f"'{manifest.options.init}' gives it {float(sigma)!r}"
        )
    name, stored = source_tensor(layer), tensors[source_tensor(layer)]
    dtype = np.dtype(np.float16 if layer.half else np.float32)
    shape = tuple(layer.shape[::-1] if layer.transposed else layer.shape)
    sparse = isinstance(stored, Sparse)
    if stored.shape != shape or stored.dtype != dtype or sparse != (layer.stored == "sparse"):
        raise Flaw(
            f"tensor '{name}' is {stored.dtype} {list(stored.shape)[:8]}, not {layer.stored} "
            f"{dtype} {list(shape)}"
        )
    if isinstance(stored, Sparse):
        kept = _check_sparse(layer, manifest.seed, stored)
    else:
        kept = _check_dense(layer, manifest.seed, stored, pool)
    if layer.stored == "masked":
        kept = _check_mask(layer, tensors[f"{layer.weight}/mask"], shape)
    if kept != layer.kept:
        raise Flaw(f"tensor '{layer.weight}' keeps {kept} weights, its record says {layer.kept}")
    size, own_rows = math.prod(layer.shape), layer.shape[0] - layer.mirror_rows
    draws = own_rows * (layer.shape[1] - layer.mirror_columns) * math.prod(layer.shape[2:])
    if layer.bias is not None:
        kept += _check_bias(layer, manifest.seed, tensors[layer.bias])
        size, draws = size + layer.shape[0], draws + own_rows
    if layer.block is not None:
        places = kept_places(layer, tensors)
        check_univariate(layer, layer.block, kept=places, manifest=manifest, tensors=tensors)
    return kept, size, draws


def kept_places(layer: LayerRecord, tensors: Tensors) -> Indices:
    """Flat positions of the kept weights in [O, I, *K], rising."""
    masked = layer.stored == "masked"
    stored = tensors[f"{layer.weight}/mask" if masked else source_tensor(layer)]
    if isinstance(stored, Sparse):
        places = stored.places
        return np.sort(_untransposed(layer, places)) if layer.transposed else places
    rows_of, row = stored.rows(transposed=layer.transposed), math.prod(layer.shape[1:])
    return np.concatenate(
        [np.flatnonzero(rows_of(*rows)) + rows[0] * row for rows in pieces(layer)]
    )


def _untransposed(layer: LayerRecord, places: Indices) -> Indices:
    """Flat positions in [O, I] of those in [I, O]."""
    moved: Indices = places % layer.shape[0] * layer.shape[1] + places // layer.shape[0]
    return moved


def _check_dense(layer: LayerRecord, seed: int, stored: Tensor, pool: ThreadPoolExecutor) -> int:
    """Weights that are stored with their zeros; how many are kept. Raises Flaw."""
    rows_of, row = stored.rows(transposed=layer.transposed), math.prod(layer.shape[1:])
    name, zeros = source_tensor(layer), layer.stored != "masked"

    def check(rows: tuple[int, int]) -> int:
        drawn = weights(seed, layer, rows).astype(stored.dtype)
        at = lambda bad: _index(layer, rows[0] * row + bad)  # noqa: E731
        return _kept(name, rows_of(*rows), drawn, zeros=zeros, at=at)

    return sum(pool.map(check, pieces(layer)))


def _check_sparse(layer: LayerRecord, seed: int, stored: Sparse) -> int:
    """Weights of which only the kept ones are stored; how many those are. Raises Flaw."""
    name, kept = source_tensor(layer), 0
    for start in range(0, len(stored.places), CHUNK):
        places, part = (held[start : start + CHUNK] for held in (stored.places, stored.values))
        if layer.transposed:
            places = _untransposed(layer, places)
        drawn = weights_at(seed, layer, places).astype(stored.dtype)
        at = lambda bad, here=places: _index(layer, int(here[bad]))  # noqa: E731
        kept += _kept(name, part, drawn, zeros=False, at=at)
    if kept < len(stored.places):
        raise Flaw(f"sparse tensor '{name}' stores a zero")
    return kept


def _check_mask(layer: LayerRecord, mask: Tensor | Sparse, shape: tuple[int, ...]) -> int:
    """A mask of zeros and ones beside the source; how many are kept. Raises Flaw."""
    wrong = Flaw(f"tensor '{layer.weight}/mask' is not a mask of zeros and ones")
    if isinstance(mask, Sparse) or mask.dtype != np.uint8 or mask.shape != shape:
        raise wrong
    rows_of, kept = mask.rows(transposed=layer.transposed), 0
    for rows in pieces(layer):
        part = rows_of(*rows)
        if (part > 1).any():
            raise wrong
        kept += int(part.sum(dtype=np.int64))
    return kept


def _check_bias(layer: LayerRecord, seed: int, tensor: Tensor | Sparse) -> int:
    """The biases of a layer; how many are kept. Raises Flaw."""
    fits = tensor.shape == (layer.shape[0],) and tensor.dtype == np.float32
    if isinstance(tensor, Sparse) or not fits:
        raise Flaw(f"tensor '{layer.bias}' does not fit its layer")
    name, drawn = str(layer.bias), biases(seed, layer)
    kept = _kept(name, tensor.array(), drawn, zeros=True, at=lambda bad: [bad])
    if kept != layer.kept_bias:
        raise Flaw(f"tensor '{layer.bias}' keeps {kept} biases, its record says {layer.kept_bias}")
    return kept


def _kept(
    name: str, stored: Array, drawn: Array, *, zeros: bool, at: Callable[[int], list[int]]
) -> int:
    """How many numbers are not +0, where all are as drawn, or +0 if there may be `zeros`.

    Raises Flaw, which says by `at` where the first one is that is another.
    """
    bits = np.uint16 if stored.dtype == np.float16 else np.uint32
    held = stored.view(bits)
    good = held == drawn.view(bits)
    if zeros:  # what is drawn as -0 is as good as left out, and +0 then
        good = (good & (stored != 0)) | (held == 0)
    if not good.all():
        bad = int(np.argmin(good))
        raise Flaw(
            f"tensor '{name}' at {at(bad)} is {stored[bad]!r}, the source has {drawn[bad]!r}"
        )
    return int(np.count_nonzero(held))


def _index(layer: LayerRecord, place: int) -> list[int]:
    """A flat place of [O, I, *K] as it is in the stored tensor."""
    index = [int(i) for i in np.unravel_index(place, tuple(layer.shape))]
    return index[::-1] if layer.transposed else index
