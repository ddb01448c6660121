"""Constants: channels that are the same number everywhere, from which biases are built.

The source has biases in the layers that open a path alone (Assumption 2.1). There some neurons
become constants; every layer after it passes constants on, and builds its biases from them.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lt_onnx.layout import CONSTANT, Layout
from lt_onnx.planning.requirements import RESERVE
from lt_onnx.target import Array, Doubles, Floats, Indices

MAX_SPREAD = 1e-4  # relative spread under which a channel counts as constant
PERIOD = 6  # sizes, in turn
ROUNDING, BENT = 1e-6, 1e30  # of φ(h) where it is h; how far off what is not that counts
SIZES = 0.625 * 2.0 ** (np.arange(RESERVE) % PERIOD)  # wanted of constants, in units of λ


@dataclass(frozen=True)
class Response:
    """What an activation makes of constants."""

    h: Floats  # [H]  pre-activations of many sizes, both signs
    value: Floats  # [H]  φ(h)

    def drive(self, size: Array, sign: Array, *, straight: bool = False) -> Doubles:
        """Pre-activations of the given signs after which constants come closest to ±`size`.

        With `straight` such as φ hands on as they are.
        """
        off = np.abs(np.abs(self.value) - size[:, None])
        off[(self.h > 0) != (sign >= 0)[:, None]] = np.inf
        if straight:
            bent = np.abs(self.value - self.h) > ROUNDING * np.abs(self.h)
            off[:, bent] = np.where(np.isfinite(off[:, bent]), BENT, np.inf)
        drive: Doubles = self.h[off.argmin(1)].astype(np.float64)
        return drive

    def side(self, size: Array) -> float:
        """The sign of pre-activations, 1 or -1, by which constants come closer to `size`."""
        values = [np.abs(self.value[np.sign(self.h) == sign])[:, None] for sign in (1.0, -1.0)]
        ratios = [np.abs(np.log(np.maximum(value, 1e-30) / size)) for value in values]
        off = [float(ratio.min(0).sum()) for ratio in ratios]
        return 1.0 if off[0] <= off[1] * 1.001 else -1.0


def constant_places(layout: Layout) -> Indices:
    """The channels of `layout` that should be constant."""
    return np.flatnonzero(layout.channel == CONSTANT)


def extremes(value: Array, axis: int) -> Array:
    """The least and the largest number of every channel on `axis`, [2, C]."""
    others = tuple(i for i in range(value.ndim) if i != axis)
    return np.stack([value.min(axis=others), value.max(axis=others)])


def constant_values(layout: Layout, seen: Sequence[Array]) -> tuple[Indices, Floats]:
    """The C channels of `layout` that really are constant and not zero: places [C], values [C].

    `seen` are the `extremes` of the channels that should be constant, in order, batch by batch.
    """
    places = constant_places(layout)
    if not len(places):
        return places, np.zeros(0, np.float32)
    low, high = np.min([low for low, _ in seen], 0), np.max([high for _, high in seen], 0)
    constant = (high - low <= MAX_SPREAD * np.abs(high)) & (high != 0)
    return places[constant], ((low + high) / 2)[constant]
