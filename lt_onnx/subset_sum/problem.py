"""The words of the contract: rules, results, limits, and rows of problems."""

from dataclasses import dataclass
from enum import IntEnum
from math import comb

import numpy as np
from numpy.typing import NDArray

EXACT = 20  # up to here all subsets compete; beyond, those of at most `size_limit` elements
LARGEST = 32
HUGE = 1e17  # largest magnitude of a number, so that squares of sums stay finite


class DeviceError(RuntimeError):
    """The device asked for cannot be used."""


class RangeError(ValueError):
    """Numbers that are not finite, or too large to be summed."""


class Rule(IntEnum):
    """Which subset is wanted."""

    NOISE = 0
    SMALLEST = 1
    BEST = 2


class Result(IntEnum):
    """What became of one problem."""

    FOUND = 0
    MISS = 1  # no subset within the tolerance: the closest one is given; raise M or the tolerance


@dataclass(frozen=True)
class Solution:
    """Answers to a batch of B problems: `mask` bit s is set when element s is in the subset."""

    mask: NDArray[np.uint32]  # [B]
    residual: NDArray[np.float32]  # [B]  z − Σ x over the subset
    result: NDArray[np.uint8]  # [B]  of Result

    @property
    def size(self) -> NDArray[np.int64]:
        """Number of elements of every subset, of shape [B]."""
        return np.bitwise_count(self.mask).astype(np.int64)


@dataclass(frozen=True)
class Drawn:
    """R rows of random weights that the kernels draw themselves, on whatever device they run.

    Row r is the `width` values of layer `layer` from position `numbers[r]` · `width` on; see
    `philox`.
    """

    seed: int
    layer: int
    numbers: NDArray[np.int64]  # [R]
    width: int

    def __len__(self) -> int:
        return len(self.numbers)


@dataclass(frozen=True)
class Rows:
    """What the N problems of every row share (M elements at most, fewer where `index` is -1)."""

    index: NDArray[np.int32]  # [N, M]  place of each element in its row of random weights, or -1
    gain: NDArray[np.float32]  # [N, M]  x_s = gain · random weight; 0 where there is no element
    weight: NDArray[np.float32]  # [N]  price a of the squared error
    noise: NDArray[np.float32]  # [N, M]  element s costs x_s² · noise …
    price: NDArray[np.float32]  # [N]  … plus price
    order: NDArray[np.int64]  # [N]  problems in the order they are solved
    upper: NDArray[np.float32] | None  # [N, N]  Cholesky factor of H⁻¹ in that order; None: apart

    @staticmethod
    def plain(index: NDArray[np.int32], gain: NDArray[np.float32]) -> "Rows":
        """Problems with the error as their whole objective, each for itself."""
        n = len(index)
        ones, zeros = np.ones(n, np.float32), np.zeros(n, np.float32)
        return Rows(index, gain, ones, np.zeros_like(gain), zeros, np.arange(n), None)


def size_limit(m: int) -> int:
    """Largest subset that is searched in a base set of m elements: m itself up to `EXACT`."""
    if m <= EXACT:
        return m
    total, size = 1, 0
    while total + comb(m, size + 1) <= 1 << EXACT:
        size += 1
        total += comb(m, size)
    return size
