"""Problems and answers: what enters and leaves every kernel.

Letters in shapes: B problems of a flat batch; R rows of N problems each; M elements of a base set;
L random weights of a row.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Masks: TypeAlias = NDArray[np.uint32]
Floats: TypeAlias = NDArray[np.float32]
Places: TypeAlias = NDArray[np.int32]
Indices: TypeAlias = NDArray[np.int64]


class DeviceError(RuntimeError):
    """The device asked for cannot be used."""


class Rule(IntEnum):
    """Which setting of the objective decides; see the package."""

    NOISE = 0
    SMALLEST = 1
    BEST = 2


class Result(IntEnum):
    """Outcome of one problem."""

    FOUND = 0
    MISS = 1  # no subset within the tolerance: the closest one is given; raise M or the tolerance


@dataclass(frozen=True)
class Solution:
    """Answers to a flat batch: bit s of `mask` is set when element s is in the subset."""

    mask: Masks  # [B]
    residual: Floats  # [B]  z − Σ x over the subset
    result: NDArray[np.uint8]  # [B]  of Result

    @property
    def size(self) -> Indices:
        """Number of elements of every subset, [B]."""
        return np.bitwise_count(self.mask).astype(np.int64)


@dataclass(frozen=True)
class Drawn:
    """R rows of random weights that the kernels draw on their device; see `source.philox`.

    Row r is the `width` values of layer `layer` from position `numbers[r]` · `width` on.
    """

    seed: int
    layer: int
    numbers: Indices  # [R]
    width: int

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Rows:
    """What every row has in common: its N problems, of M elements or fewer (`index` is -1 there).

    Element s of problem k is x_s = gain[k, s] · base[r, index[k, s]]; its penalty is
    p_s = x_s² · noise[k, s] + price[k].
    """

    index: Places  # [N, M]  place of each element in its row of random weights, or -1
    gain: Floats  # [N, M]  0 where there is no element
    weight: Floats  # [N]  a of the objective
    noise: Floats  # [N, M]
    price: Floats  # [N]
    order: Indices  # [N]  problems in the order in which they are solved
    upper: Floats | None  # [N, N]  Cholesky factor of H⁻¹ in that order; None: no error feedback

    @staticmethod
    def plain(index: Places, gain: Floats) -> "Rows":
        """Independent problems without penalties."""
        n = len(index)
        ones, zeros = np.ones(n, np.float32), np.zeros(n, np.float32)
        return Rows(index, gain, ones, np.zeros_like(gain), zeros, np.arange(n), None)
