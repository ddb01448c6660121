"""Interval arithmetic: what a tensor of the ticket stands for, and a bound on its error there.

Rounding follows the standard model, fl(a ∘ b) = (a ∘ b)(1 + δ) with |δ| ≤ u = 2⁻²⁴ in float32.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lt_onnx.errors import LtOnnxError

Doubles = NDArray[np.float64]

UNIT_ROUNDOFF = 2.0**-24  # u of float32
MAX_ROUNDINGS = 4.0  # of one elementwise float32 operation, generously
FUNCTION_ERROR = 1e-6  # absolute, of a runtime's Sigmoid, Tanh, Exp and their like, generously
OUTWARD = 1 + 1e-9  # covers the rounding of this package's own double precision


class UnboundedError(LtOnnxError):
    """No bound is known here: what is in the way."""


@dataclass(frozen=True)
class Slopes:
    """What univariate neurons make of x: `offset` + `up`·x where x ≥ 0, + `down`·x where x < 0.

    Arrays of the neurons' tensor [1, neurons, *S]; x of each lies in [`low`, `high`].
    """

    offset: Doubles
    up: Doubles
    down: Doubles
    low: Doubles
    high: Doubles


@dataclass(frozen=True)
class Range:
    """The target's value of a tensor of the ticket, in [`low`, `high`], and the ticket's `error`.

    Arrays of the tensor's shape with one sample. `error` bounds |ticket − target| entry by entry,
    rounding of both included. Neurons of a two-for-one block stand for their piecewise linear
    model, whose `slopes` go along.
    """

    low: Doubles
    high: Doubles
    error: Doubles
    slopes: Slopes | None = None

    @staticmethod
    def exact(low: Doubles, high: Doubles) -> "Range":
        """The same numbers in target and ticket."""
        return Range(low, high, np.zeros(np.broadcast_shapes(low.shape, high.shape)))

    @property
    def middle(self) -> Doubles:
        """Its value where its input x is in the middle of its interval."""
        slopes = self.slopes
        if slopes is None:
            return np.asarray((self.low + self.high) / 2)
        up, _, down, _ = parts(slopes.low, slopes.high)
        return np.asarray(slopes.offset + slopes.up * up - slopes.down * down)

    @property
    def largest(self) -> Doubles:
        """Greatest magnitude of the target's value."""
        return np.asarray(np.maximum(np.abs(self.low), np.abs(self.high)))

    def rounded(self, function: bool = False) -> "Range":
        """The same after one elementwise operation in float32, in both networks."""
        once = MAX_ROUNDINGS * UNIT_ROUNDOFF * (self.largest + self.error)
        once = once + FUNCTION_ERROR if function else once
        return replace(
            self,
            low=self.low - once * OUTWARD,
            high=self.high + once * OUTWARD,
            error=(self.error + 2 * once) * OUTWARD,
        )


def parts(low: Doubles, high: Doubles) -> tuple[Doubles, Doubles, Doubles, Doubles]:
    """Middle and radius of x⁺ = max(x, 0), then of x⁻ = max(−x, 0)."""
    up = np.maximum(low, 0), np.maximum(high, 0)
    down = np.maximum(-high, 0), np.maximum(-low, 0)
    return (
        (up[0] + up[1]) / 2,
        (up[1] - up[0]) / 2,
        (down[0] + down[1]) / 2,
        (down[1] - down[0]) / 2,
    )


def dot_error(terms: int) -> float:
    """γ_n = n u / (1 − n u): relative error of a float32 sum of n products, in any order.

    Raises UnboundedError where n u ≥ 1/2.
    """
    n = (terms + 4) * UNIT_ROUNDOFF
    if n >= 0.5:
        raise UnboundedError(f"a sum of {terms} products has no useful rounding bound")
    return n / (1 - n)
