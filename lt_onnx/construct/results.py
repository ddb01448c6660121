"""What the construction puts out: rows of masked weights as they come, then their layer's rest."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from lt_onnx.blueprint import Build, Expand
from lt_onnx.target import Array, Floats


@dataclass(frozen=True)
class MaskedRows:
    """Some rows of a layer's weight, masked."""

    step: Expand | Build
    start: int  # first of the rows
    weight: Floats  # [R, I·K]

    def scaled(self, sigma: np.float32) -> "MaskedRows":
        """The same in a source of another σ."""
        return replace(self, weight=self.weight * sigma)


@dataclass(frozen=True)
class LayerStats:
    """What the construction of one layer came to."""

    name: str
    kind: Literal["one-for-one", "two-for-one", "univariate"]
    op: str
    target_weights: int
    kept: Annotated[int, Meta(description="random weights kept, biases and constants included")]
    source_weights: int
    scales: int
    problems: Annotated[int, Meta(description="subset-sum problems")] = 0
    misses: Annotated[int, Meta(description="problems further than the tolerance off")] = 0
    mean_size: Annotated[float, Meta(description="mean |S|")] = 0.0
    mean_error: Annotated[float, Meta(description="mean |z - sum|")] = 0.0
    sqnr_db: Annotated[float | None, Meta(description="on the construction's inputs")] = None
    base_size: Annotated[int, Meta(description="m")] = 0
    lam: Annotated[float | None, Meta(description="median lambda of the rows")] = None
    size_counts: Annotated[tuple[int, ...], Meta(description="problems by |S| = 0, 1, ...")] = ()
    error_counts: Annotated[  # between the edges of `tally.EDGES`
        tuple[int, ...],
        Meta(description="problems by |z - sum|, in quarter decades from 1e-7 to 10"),
    ] = ()


@dataclass(frozen=True)
class BuiltLayer:
    """A layer whose rows have all been put out."""

    step: Expand | Build
    bias: Floats | None  # masked
    tensors: Mapping[str, Array]  # scales and orders by name
    stats: LayerStats
    scale: NDArray[np.float64] | None = None  # [R], of a constructed layer before rounding
    offset: NDArray[np.float64] | None = None  # [R]  what its biases add to every sum

    def scaled(self, sigma: np.float32) -> "BuiltLayer":
        """The same in a source of another σ, which the scales take back."""
        scale = (self.tensors[self.step.scale] / np.float64(sigma)).astype(np.float32)
        return replace(
            self,
            bias=None if self.bias is None else self.bias * sigma,
            tensors={**self.tensors, self.step.scale: scale},
        )


@dataclass(frozen=True)
class SavedLayer:
    """What of a constructed layer cannot be had again without constructing it."""

    pieces: Mapping[int, tuple[tuple[int, ...], bytes]]  # by first row: shape, packed masks
    scale: NDArray[np.float64]  # [R]
    offset: NDArray[np.float64]  # [R]
    stats: LayerStats

    def kept(self, start: int) -> NDArray[np.bool_]:
        """The mask of the rows from `start` on, [R, I·K]."""
        shape, packed = self.pieces[start]
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=int(np.prod(shape)))
        return bits.reshape(shape).astype(bool)
