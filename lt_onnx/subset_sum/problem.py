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
    """What the rows of each of G groups have in common: N problems, of M elements or fewer.

    Of a row r of group g, element s of problem k is x_s = gain[g, k, s] · base[r, index[g, k, s]];
    its penalty is p_s = x_s² · noise[g, k, s] + price[g, k].
    """

    index: Places  # [G, N, M]  place of each element in its row of random weights, or -1
    gain: Floats  # [G, N, M]  0 where there is no element
    weight: Floats  # [G, N]  a of the objective
    noise: Floats  # [G, N, M]
    price: Floats  # [G, N]
    order: Indices  # [G, N]  problems in the order in which they are solved
    upper: Floats | None  # [G, N, N]  Cholesky factor of H⁻¹ in that order; None: no feedback
    group: Indices | None = None  # [R]  every row's, ascending; None: there is one
    step: Floats | None = (
        None  # [G, N]  targets are rounded to its multiples; None, or 0: not at all
    )

    def groups(self, count: int) -> Indices:
        """The group of each of `count` rows."""
        return np.zeros(count, np.int64) if self.group is None else self.group

    @staticmethod
    def plain(index: Places, gain: Floats) -> "Rows":
        """Independent problems without penalties."""
        shape = index.shape[:2]
        ones, zeros = np.ones(shape, np.float32), np.zeros(shape, np.float32)
        order = np.tile(np.arange(shape[1]), (shape[0], 1))
        return Rows(index, gain, ones, np.zeros_like(gain), zeros, order, None)
