"""What the construction of a layer is counted and measured by."""

import math
from dataclasses import dataclass

import numpy as np

from lt_onnx.blueprint import Build
from lt_onnx.target import Array


@dataclass
class Tally:
    """Running counts over a layer's problems."""

    problems: int = 0
    misses: int = 0
    elements: int = 0
    error: float = 0.0
    kept: int = 0

    def add(self, z: Array, masks: Array, residuals: Array, tolerance: float) -> None:
        """Count some problems; those that ask for zero are none."""
        asked = z != 0
        self.problems += int(asked.sum())
        self.misses += int((np.abs(residuals[asked]) > tolerance).sum())
        self.elements += int(np.bitwise_count(masks[asked]).sum())
        self.error += float(np.abs(residuals[asked]).sum(dtype=np.float64))


def sqnr(y: list[Array], out: list[Array], step: Build) -> float:
    """Signal to noise of the layer's first copies against the target, in dB."""
    layout = step.out_layout
    places = layout.find((c, 0) for c in range(layout.size))
    signal = noise = 0.0
    for true, made in zip(y, out, strict=True):
        taken = np.take(made, places, layout.axis) if layout.width > layout.size else made
        signal += float(np.square(true, dtype=np.float64).sum())
        noise += float(np.square(true.astype(np.float64) - taken).sum())
    return 10 * math.log10(max(signal, 1e-300) / max(noise, 1e-300))
