"""The random source network f_0: any weight of it from (seed, layer, position) alone.

The weight at the flat position p of its layer's [out, in, tap] tensor is float32(σ) · u(p), rounded
once, with u(p) uniform on [-1, 1) from `philox`.

`stream` is 0 for weights and 1 for the biases of a layer that opens a path (Assumption 2.1: the
source has biases in its first layer only). σ is fixed by the initialisation scheme.

Looks-linear layers (Appendix D) are drawn by halves: with `mirror_rows` = h, rows h…2h-1 are the
negatives of rows 0…h-1; `mirror_columns` does the same for input channels.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lt_onnx.options import Init
from lt_onnx.source.philox import fill_all, gather
from lt_onnx.target import Floats, Indices

WEIGHTS, BIASES = 0, 1
WEIGHTS_AT_ONCE = 1 << 20  # held while all of a layer is drawn


@dataclass(frozen=True)
class SourceLayer:
    """One random layer: where it is drawn from and how its initializer is called in the graph."""

    name: str
    index: int
    shape: tuple[int, ...]  # [O, I, *K], I counted per group
    bias: bool = False
    mirror_rows: int = 0
    mirror_columns: int = 0
    transposed: bool = False  # stored [I, O], as MatMul wants it

    @property
    def size(self) -> int:
        """Number of weights, biases apart."""
        return math.prod(self.shape)

    @property
    def count(self) -> int:
        """Number of weights and biases."""
        return self.size + (self.shape[0] if self.bias else 0)

    @property
    def row_size(self) -> int:
        """Weights per output channel."""
        return math.prod(self.shape[1:])

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """The initializer's."""
        return self.shape[::-1] if self.transposed else self.shape

    def sigma(self, init: Init) -> np.float32:
        """σ of the uniform distribution: the scheme's standard deviation times √3."""
        fan_in, fan_out = self.row_size, self.shape[0] * math.prod(self.shape[2:])
        variance = {
            Init.UNIT: 1 / 3,
            Init.KAIMING: 2 / fan_in,
            Init.XAVIER: 2 / (fan_in + fan_out),
            Init.LECUN: 1 / fan_in,
        }[init]
        return np.float32(math.sqrt(3 * variance))


def draw_rows(seed: int, layer: SourceLayer, *, start: int, stop: int) -> Floats:
    """Unit weights u of the output channels start…stop-1, of shape [stop-start, I, *K]."""
    half = layer.mirror_rows
    out = np.empty((stop - start, *layer.shape[1:]), np.float32)
    for begin, end, shift in ((0, half, 0), (half, 2 * half, half), (2 * half, layer.shape[0], 0)):
        low, high = max(start, begin), min(stop, end)
        if low < high:
            block = out[low - start : high - start]
            flat = block.reshape(-1)  # a view: rows are contiguous
            fill_all(flat, (low - shift) * layer.row_size, np.uint64(seed), layer.index, WEIGHTS)
            if shift:
                np.negative(block, out=block)
    if layer.mirror_columns:
        half = layer.mirror_columns
        np.negative(out[:, :half], out=out[:, half : 2 * half])
    return out


def scaled_rows(seed: int, layer: SourceLayer, sigma: np.float32) -> Iterator[tuple[int, Floats]]:
    """All weights σ·u, some rows [R, I·K] at a time, each with the number of its first row."""
    count = max(1, WEIGHTS_AT_ONCE // max(layer.row_size, 1))
    for start in range(0, layer.shape[0], count):
        drawn = draw_rows(seed, layer, start=start, stop=min(start + count, layer.shape[0]))
        yield start, drawn.reshape(len(drawn), -1) * sigma


def draw_at(seed: int, layer: SourceLayer, *, rows: Indices, columns: Indices) -> Floats:
    """Unit weights at some output channels and flat [in, tap] columns, [rows, columns].

    `columns` are the same for all rows, [C], or those of each, [rows, C].
    """
    taps = math.prod(layer.shape[2:])
    row, row_sign = _unmirrored(rows, layer.mirror_rows)
    column, column_sign = _unmirrored(columns, layer.mirror_columns * taps)
    places = row[:, None] * layer.row_size + column
    out = np.empty(places.shape, np.float32)
    gather(out.reshape(-1), places.reshape(-1), np.uint64(seed), layer.index, WEIGHTS)
    return out * (row_sign[:, None] * column_sign).astype(np.float32)


def _unmirrored(numbers: Indices, half: int) -> tuple[Indices, Indices]:
    """Where mirror images are drawn from, and their signs."""
    image = (numbers >= half) & (numbers < 2 * half)
    return np.where(image, numbers - half, numbers), np.where(image, -1, 1)


def draw_bias(seed: int, layer: SourceLayer) -> Floats:
    """Unit biases of a layer with `bias`, of shape [O]."""
    out = np.empty(layer.shape[0], np.float32)
    fill_all(out, 0, np.uint64(seed), layer.index, BIASES)
    half = layer.mirror_rows
    np.negative(out[:half], out=out[half : 2 * half])
    return out
