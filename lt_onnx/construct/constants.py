"""Constants: channels that are the same number everywhere, from which biases are built.

The source has biases in the layers that open a path alone (Assumption 2.1). There some neurons
become constants; every layer after it passes constants on, and builds its biases from them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lt_onnx.layout import CONSTANT, Layout
from lt_onnx.ops.activations import Activation, response
from lt_onnx.planning.requirements import RESERVE
from lt_onnx.target import Array, Floats, Target

CONSTANCY = 1e-4  # relative spread under which a channel counts as constant
SIZES = 0.625 * 2.0 ** (np.arange(RESERVE) % 6)  # wanted sizes of constants, in units of λ


@dataclass(frozen=True)
class Response:
    """What an activation makes of constants: pre-activations h and values φ(h)."""

    h: Floats
    value: Floats

    @staticmethod
    def of(activation: Activation | None, target: Target) -> "Response":
        """The response of an activation; None: constants pass unchanged."""
        return Response(*response(activation, target))

    def drive(self, size: Array, sign: Array) -> NDArray[np.float64]:
        """Pre-activations of the given signs after which constants come closest to ±`size`."""
        out = np.empty(len(sign))
        for i, wanted in enumerate(size):
            side = (self.h > 0) == (sign[i] >= 0)
            out[i] = self.h[side][np.abs(np.abs(self.value[side]) - wanted).argmin()]
        return out

    def side(self, size: Array) -> float:
        """The sign of pre-activations, 1 or -1, by which constants come closer to `size`."""
        off = []
        for sign in (1.0, -1.0):
            reached = np.abs(self.value[np.sign(self.h) == sign])[:, None]
            ratio = np.log(np.maximum(reached, 1e-30) / size)
            off.append(float(np.abs(ratio).min(0).sum()))
        return 1.0 if off[0] <= off[1] * 1.001 else -1.0


@dataclass(frozen=True)
class Reserve:
    """The constants that one group builds its biases from: flat columns, exact values."""

    column: NDArray[np.int64]
    value: NDArray[np.float64]
    unit: float  # gain in which the layer is measured

    @property
    def level(self) -> NDArray[np.float64]:
        """The values as a row with λ = 1 sees them."""
        return self.value / self.unit


def constant_values(layout: Layout, x: list[Array], axis: int) -> tuple[NDArray[np.int64], Floats]:
    """Places and values of the channels that really are constant and not zero."""
    places = np.flatnonzero(layout.channel == CONSTANT)
    if not len(places):
        return places, np.zeros(0, np.float32)
    low, high = [], []
    for value in x:
        some = np.take(value, places, axis)
        others = tuple(i for i in range(some.ndim) if i != axis)
        low.append(some.min(axis=others))
        high.append(some.max(axis=others))
    least, most = np.min(low, 0), np.max(high, 0)
    good = (most - least <= CONSTANCY * np.abs(most)) & (most != 0)
    return places[good], ((least + most) / 2)[good]
