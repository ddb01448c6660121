"""The interval of a tensor and the bound on the ticket's error in it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lt_onnx.errors import LtOnnxError

Doubles = NDArray[np.float64]

UNIT = 2.0**-24  # unit roundoff of float32
STEPS = 4.0  # roundings of one elementwise float32 operation, generously
FUNCTION = 1e-6  # absolute error of a runtime's Sigmoid, Tanh, Exp and their like, generously
OUTWARD = 1 + 1e-9  # covers the rounding of this package's own double precision


class UnboundedError(LtOnnxError):
    """No bound is known here: what is in the way."""


@dataclass(frozen=True)
class Slopes:
    """What univariate neurons make of x: `offset` + `up`·x where x ≥ 0, + `down`·x where x < 0.

    Arrays of the neurons' tensor; `low` and `high` are the interval of the x that each listens to.
    """

    offset: Doubles
    up: Doubles
    down: Doubles
    low: Doubles
    high: Doubles


@dataclass(frozen=True)
class Range:
    """What a tensor of the ticket stands for, in [`low`, `high`], and how far it may be off.

    Arrays of the tensor's shape with one sample. `error` bounds |ticket − target| entry by entry,
    rounding of both included. Neurons of a two-for-one block stand for their piecewise linear
    model, whose `slopes` they bring along.
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
        """Its value where what it listens to is in the middle of its interval."""
        slopes = self.slopes
        if slopes is None:
            return np.asarray((self.low + self.high) / 2)
        up, _, down, _ = parts(slopes.low, slopes.high)
        return np.asarray(slopes.offset + slopes.up * up - slopes.down * down)

    @property
    def largest(self) -> Doubles:
        """Greatest magnitude of the target's value."""
        return np.asarray(np.maximum(np.abs(self.low), np.abs(self.high)))

    def moved(self, move: Callable[[Doubles], Doubles]) -> "Range":
        """The same after its entries were rearranged."""
        slopes = self.slopes
        if slopes is not None:
            slopes = Slopes(
                *(move(v) for v in (slopes.offset, slopes.up, slopes.down, slopes.low, slopes.high))
            )
        return Range(move(self.low), move(self.high), move(self.error), slopes)

    def rounded(self, function: bool = False) -> "Range":
        """The same after one elementwise operation in float32, in both networks."""
        once = STEPS * UNIT * (self.largest + self.error) + (FUNCTION if function else 0.0)
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
    """γ_n: relative error of a float32 sum of n products, in any order. Raises UnboundedError."""
    n = (terms + 4) * UNIT
    if n >= 0.5:
        raise UnboundedError(f"a sum of {terms} products has no useful rounding bound")
    return n / (1 - n)
