"""The random source again, after its written specification (see `source`), in plain NumPy.

In: a seed and a layer's record. Out: its weights σ·u and biases, float32, at any positions.
Philox4x32-10 with the key (seed) and the counter (block, layer, stream): block b holds the unit
values of positions 4b…4b+3. Mirror images are drawn from where their originals are.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from lt_onnx.manifest import LayerRecord
from lt_onnx.target import Floats

CHUNK = 1 << 17  # weights that one thread checks at a time; what NumPy makes of them fits a cache
WEIGHTS, BIASES = 0, 1  # streams
_LOW, _SHIFT = np.uint64(0xFFFFFFFF), np.uint64(32)


def pieces(layer: LayerRecord) -> Iterator[tuple[int, int]]:
    """The layer's rows in pieces of about CHUNK weights, mirror images apart."""
    half = layer.mirror_rows
    step = max(1, CHUNK // math.prod(layer.shape[1:]))
    for low, high in pairwise(sorted({0, half, 2 * half, layer.shape[0]})):
        for start in range(low, high, step):
            yield start, min(start + step, high)


def weights(seed: int, layer: LayerRecord, rows: tuple[int, int]) -> Floats:
    """The weights of the rows from … up to, flat; all of them mirror images, or none."""
    start, stop = rows
    row, half, columns = math.prod(layer.shape[1:]), layer.mirror_rows, layer.mirror_columns
    image = half <= start < 2 * half
    origin = start - half if image else start
    last = origin + stop - start
    unit = uniform(seed, layer.index, WEIGHTS, start=origin * row, stop=last * row)
    if image:
        unit = -unit
    if columns:
        unit = unit.reshape(stop - start, *layer.shape[1:])
        unit[:, columns : 2 * columns] = -unit[:, :columns]
        unit = unit.reshape(-1)
    return (np.float32(layer.sigma) * unit).astype(np.float32)


def weights_at(seed: int, layer: LayerRecord, places: NDArray[np.int64]) -> Floats:
    """The weights at flat positions of [O, I, *K], each drawn alone."""
    row_size, taps = math.prod(layer.shape[1:]), math.prod(layer.shape[2:])
    row, column = places // row_size, places % row_size
    channel = column // taps
    turned = (row >= layer.mirror_rows) & (row < 2 * layer.mirror_rows)
    swapped = (channel >= layer.mirror_columns) & (channel < 2 * layer.mirror_columns)
    row = np.where(turned, row - layer.mirror_rows, row)
    column = np.where(swapped, column - layer.mirror_columns * taps, column)
    origin = (row * row_size + column).astype(np.uint64)
    words = _philox(seed, layer.index, WEIGHTS, origin >> np.uint64(2))
    unit = _unit(np.choose((origin & np.uint64(3)).astype(np.int64), words))
    unit = np.where(turned ^ swapped, -unit, unit)
    return (np.float32(layer.sigma) * unit).astype(np.float32)


def biases(seed: int, layer: LayerRecord) -> Floats:
    """The biases of a layer, [O]."""
    drawn = uniform(seed, layer.index, BIASES, start=0, stop=layer.shape[0])
    half = layer.mirror_rows
    drawn[half : 2 * half] = -drawn[:half]
    return (np.float32(layer.sigma) * drawn).astype(np.float32)


def uniform(seed: int, layer: int, stream: int, *, start: int, stop: int) -> Floats:
    """Unit values u, uniform on [-1, 1), of positions start…stop-1."""
    first, last = start // 4, (stop + 3) // 4
    lanes = _philox(seed, layer, stream, np.arange(first, last, dtype=np.uint64))
    words = np.empty((last - first, 4), np.uint32)
    for lane, word in enumerate(lanes):
        words[:, lane] = word
    return _unit(words.reshape(-1))[start - 4 * first : stop - 4 * first]


def deviation(init: str, shape: Sequence[int]) -> np.float32:
    """σ of the scheme `init`: √3 times its standard deviation."""
    taps = math.prod(shape[2:])
    fan_in, fan_out = shape[1] * taps, shape[0] * taps
    variance = {
        "unit": 1 / 3,
        "kaiming": 2 / fan_in,
        "xavier": 2 / (fan_in + fan_out),
        "lecun": 1 / fan_in,
    }
    return np.float32(math.sqrt(3 * variance[init]))


def _unit(words: NDArray[np.uint32]) -> Floats:
    """The upper 24 bits as a signed number below 1."""
    unit = (words.view(np.int32) >> 8).astype(np.float32)
    unit *= np.float32(2.0**-23)
    return unit


def _philox(
    seed: int, layer: int, stream: int, blocks: NDArray[np.uint64]
) -> tuple[NDArray[np.uint32], ...]:
    """The four words of every block."""
    c0, c1 = blocks & _LOW, blocks >> _SHIFT
    c2, c3 = np.full_like(c0, layer), np.full_like(c0, stream)
    k0, k1 = seed & 0xFFFFFFFF, seed >> 32
    for _ in range(10):
        c0 *= np.uint64(0xD2511F53)
        c2 *= np.uint64(0xCD9E8D57)
        new0, new2 = c2 >> _SHIFT, c0 >> _SHIFT
        new0 ^= c1
        new2 ^= c3
        new0 ^= np.uint64(k0)
        new2 ^= np.uint64(k1)
        c2 &= _LOW
        c0 &= _LOW
        c0, c1, c2, c3 = new0, c2, new2, c0
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return tuple(word.astype(np.uint32) for word in (c0, c1, c2, c3))
