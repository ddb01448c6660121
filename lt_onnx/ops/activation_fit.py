"""The local model of an activation (Assumption 2.3), fitted to the function itself.

    φ(x) ≈ m₊ x + d  for 0 ≤ x ≤ a,      φ(x) ≈ m₋ x + d  for -a ≤ x < 0

It says how a univariate neuron must be used to hand on its input (two-for-one blocks only):

- `SPLIT`   φ is piecewise linear with d = 0 up to a: neurons with λ > 0 carry φ(x), those with
            λ < 0 carry φ(-x), and x = r (φ(x) − φ(−x)) with r = 1/(m₊ + m₋); inputs that are never
            negative need φ(x) = m₊ x only.
- `ODD`     d = 0 and m₊ = m₋ near zero (tanh): every neuron carries m λ x, for small λx.
- `MIRROR`  anything else (d ≠ 0, curved): looks-linear pairs carry φ(λx) − φ(−λx) ≈ (m₊ + m₋) λx.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from lt_onnx.target import Floats

Function = Callable[[Floats], Floats]
Doubles = NDArray[np.float64]

TOLERANCE = 1e-5  # relative error of the local model that passes for exact
REACHES = 2.0 ** np.arange(-14, 7)  # candidate ranges a


class Use(StrEnum):
    """How a neuron hands on its input."""

    SPLIT = "split"
    ODD = "odd"
    MIRROR = "mirror"


@dataclass(frozen=True)
class LocalModel:
    """Slopes, the range in which they hold, and how to use them; `error` is relative to a."""

    use: Use
    positive: float  # m₊
    negative: float  # m₋
    offset: float  # d
    reach: float  # a; infinite where the model is exact everywhere
    error: float

    @property
    def slope(self) -> float:
        """Gain of one neuron (SPLIT: of φ(λx) towards φ(x); else towards x)."""
        mirrored = self.positive + self.negative
        return {Use.SPLIT: 1.0, Use.ODD: self.positive, Use.MIRROR: mirrored}[self.use]


def fit(function: Function) -> LocalModel | None:
    """Fit `function`, elementwise on float32; None if it cannot hand on its input (m₊ + m₋ = 0).

    MIRROR and ODD balance the curvature's error, which grows with a, against float32 rounding of
    φ near d, which grows with 1/a.
    """
    # off the dyadic grid, where float32 would round too kindly; the last one is the slope's
    t = np.append(np.arange(1, 64) * 0.6180339887 % 1, 1.0)
    offset = float(function(np.zeros(1, np.float32))[0])

    def sides(a: float) -> tuple[Doubles, Doubles, float, float]:
        """φ on both sides of zero, and the slopes there."""
        x = (a * t).astype(np.float32)
        up, down = function(x).astype(np.float64), function(-x).astype(np.float64)
        return up, down, float((up[-1] - offset) / a), float((offset - down[-1]) / a)

    def split_error(a: float) -> float:
        up, down, plus, minus = sides(a)
        wrong = np.maximum(abs(up - plus * a * t), abs(down + minus * a * t)).max()
        return float(wrong / (a * (abs(plus) + abs(minus)))) if plus + minus else np.inf

    def mirror_error(a: float) -> float:
        up, down, plus, minus = sides(a)
        if abs(plus + minus) < 1e-3:
            return np.inf
        return float(abs((up - down) / (plus + minus) - a * t).max() / a)

    if offset == 0:
        exact = [a for a in REACHES if a >= 1 and split_error(a) < 1e-6]
        *_, plus, minus = sides(1.0)
        if exact and abs(plus + minus) > 1e-3 and plus > 0:
            reach = np.inf if len(exact) == len(REACHES[REACHES >= 1]) else max(exact)
            return LocalModel(Use.SPLIT, plus, minus, 0.0, float(reach), 0.0)
        *_, plus, minus = sides(2.0**-12)
        if abs(plus - minus) < 1e-4 * abs(plus):
            good = [a for a in REACHES if split_error(a) < TOLERANCE / 10]
            if good:
                a = max(good)
                *_, plus, _ = sides(a)
                return LocalModel(Use.ODD, plus, plus, 0.0, float(a), split_error(a))
    errors = np.array([mirror_error(a) for a in REACHES])
    if not np.isfinite(errors).any():
        return None
    best = int(errors.argmin())
    good = [i for i, e in enumerate(errors) if e <= max(TOLERANCE, 2 * errors[best])]
    a = REACHES[max(good)]
    *_, plus, minus = sides(a)
    return LocalModel(Use.MIRROR, plus, minus, offset, float(a), float(errors[max(good)]))
