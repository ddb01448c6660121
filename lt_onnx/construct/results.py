"""What the construction puts out, masked rows and then their layer, and what it counts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Annotated, Literal

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from lt_onnx.blueprint import Build, Expand
from lt_onnx.construct.fed_target import Layer
from lt_onnx.layout import Layout
from lt_onnx.manifest import BlockRecord
from lt_onnx.options import MAX_BASE_SIZE
from lt_onnx.target import Array, Doubles, Floats, Indices

EDGES = 10.0 ** np.arange(-7, 1.01, 0.25)  # of the histogram of |z - Σ|; what is beyond counts too


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
class Tally:
    """Counts over some of a layer's problems; tallies are added."""

    problems: int = 0
    misses: int = 0  # |z - Σ| above the tolerance
    elements: int = 0  # of all subsets
    error: float = 0.0  # sum of |z - Σ|
    kept: int = 0  # weights, those on constants too
    sizes: Indices = field(default_factory=lambda: np.zeros(MAX_BASE_SIZE + 1, np.int64))
    errors: Indices = field(default_factory=lambda: np.zeros(len(EDGES) - 1, np.int64))

    @staticmethod
    def of(z: Array, masks: Array, residuals: Array, *, tolerance: float) -> "Tally":
        """The tally of some problems, arrays of one shape; those that ask for zero do not count."""
        asked = z != 0
        sizes, error = np.bitwise_count(masks[asked]), np.abs(residuals[asked])
        return Tally(
            problems=int(asked.sum()),
            misses=int((error > tolerance).sum()),
            elements=int(sizes.sum()),
            error=float(error.sum(dtype=np.float64)),
            sizes=np.bincount(sizes, minlength=MAX_BASE_SIZE + 1),
            errors=np.histogram(np.clip(error, EDGES[0], EDGES[-1]), EDGES)[0],
        )

    def __add__(self, other: "Tally") -> "Tally":
        """Both together."""
        return Tally(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))


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
    price: Annotated[float | None, Meta(description="μ")] = None
    allowed: Annotated[
        float | None, Meta(description="error power over the output's that its budget expects")
    ] = None
    error: Annotated[
        float | None, Meta(description="the same, measured on inputs H is not made from")
    ] = None
    inherited: Annotated[
        float | None, Meta(description="what of it the deviation of the copies that it reads is")
    ] = None
    apart: Annotated[
        float | None, Meta(description="power over the output's by which its own copies deviate")
    ] = None
    marginal: Annotated[
        float | None, Meta(description="error power over the output's that one weight less adds")
    ] = None
    lam: Annotated[float | None, Meta(description="median lambda of the rows")] = None
    size_counts: Annotated[tuple[int, ...], Meta(description="problems by |S| = 0, 1, ...")] = ()
    error_counts: Annotated[  # between the EDGES
        tuple[int, ...],
        Meta(description="problems by |z - sum|, in quarter decades from 1e-7 to 10"),
    ] = ()


def sqnr(y: Sequence[Array], out: Sequence[Array], layout: Layout) -> float:
    """Signal to noise of a layer's first copies against the target, in dB.

    `y` [N, …] are the target's outputs batch by batch, `out` those of the ticket, in `layout`.
    """
    places = layout.find((c, 0) for c in range(layout.size))
    signal = noise = 0.0
    for wanted, reached in zip(y, out, strict=True):
        copy = np.take(reached, places, layout.axis) if layout.width > layout.size else reached
        signal += float(np.square(wanted, dtype=np.float64).sum())
        noise += float(np.square(wanted.astype(np.float64) - copy).sum())
    powers = np.nan_to_num([signal, noise], nan=1e300, posinf=1e300).clip(1e-300, 1e300)
    return 10 * float(np.subtract(*np.log10(powers)))


@dataclass(frozen=True)
class BuiltLayer:
    """A layer whose rows have all been put out."""

    step: Expand | Build
    bias: Floats | None  # masked
    tensors: Mapping[str, Array]  # scales and orders by name
    stats: LayerStats
    scale: Doubles | None = None  # [R], of a constructed layer before rounding
    offset: Doubles | None = None  # [R]  what its biases add to every sum
    mean: Layer | None = None  # what it is in place of the target's, in the mean of its copies
    block: BlockRecord | None = None  # of a univariate layer

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
    """A layer built before an interruption: all that is needed to repeat it without solving."""

    pieces: Mapping[int, tuple[tuple[int, ...], bytes]]  # by first row: shape, packed masks
    scale: Doubles  # [R]
    offset: Doubles  # [R]
    stats: LayerStats

    def kept(self, start: int) -> NDArray[np.bool_]:
        """The mask of the rows from `start` on, [R, I·K]."""
        shape, packed = self.pieces[start]
        bits = np.unpackbits(np.frombuffer(packed, np.uint8), count=int(np.prod(shape)))
        return bits.reshape(shape).astype(bool)
