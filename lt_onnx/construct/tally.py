"""What the construction of a layer is counted and measured by."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lt_onnx.blueprint import Build
from lt_onnx.options import MAX_BASE_SIZE
from lt_onnx.target import Array

EDGES = 10.0 ** np.arange(-7, 1.01, 0.25)  # of the histogram of |z - Σ|; what is beyond counts too


@dataclass
class Tally:
    """Running counts over a layer's problems."""

    problems: int = 0
    misses: int = 0
    elements: int = 0
    error: float = 0.0
    kept: int = 0
    sizes: NDArray[np.int64] = field(default_factory=lambda: np.zeros(MAX_BASE_SIZE + 1, np.int64))
    errors: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(EDGES) - 1, np.int64))

    def add(self, z: Array, masks: Array, residuals: Array, tolerance: float) -> None:
        """Count some problems; those that ask for zero are none."""
        asked = z != 0
        self.problems += int(asked.sum())
        self.misses += int((np.abs(residuals[asked]) > tolerance).sum())
        sizes, error = np.bitwise_count(masks[asked]), np.abs(residuals[asked])
        self.elements += int(sizes.sum())
        self.sizes += np.bincount(sizes, minlength=len(self.sizes))
        self.error += float(error.sum(dtype=np.float64))
        self.errors += np.histogram(np.clip(error, EDGES[0], EDGES[-1]), EDGES)[0]


def sqnr(y: list[Array], out: list[Array], step: Build) -> float:
    """Signal to noise of the layer's first copies against the target, in dB."""
    layout = step.out_layout
    places = layout.find((c, 0) for c in range(layout.size))
    signal = noise = 0.0
    for true, made in zip(y, out, strict=True):
        taken = np.take(made, places, layout.axis) if layout.width > layout.size else made
        signal += float(np.square(true, dtype=np.float64).sum())
        noise += float(np.square(true.astype(np.float64) - taken).sum())
    powers = np.nan_to_num([signal, noise], nan=1e300, posinf=1e300).clip(1e-300, 1e300)
    return 10 * float(np.subtract(*np.log10(powers)))
