"""The power of a tensor's variation over the inputs: Σ (t − mean)², summed batch by batch.

The mean of each place over the inputs is taken off: what a network adds to every input alike is no
signal. Where fewer than MIN_AVERAGED values would make a mean, that of each channel is (over all
axes but the second), or else one of all.
"""

from collections.abc import Iterator
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lt_onnx.target import Array, Doubles

MIN_AVERAGED = 8  # values that make a mean
# by the shape of the means: shift, sum of what is beyond it, count of values
Means: TypeAlias = dict[tuple[int, ...], tuple[Doubles, Doubles, Doubles]]


class Variation:
    """Running sums over one tensor.

    Distances are from the means of the first batch, against cancellation. Batches of other shapes
    have means of their own.
    """

    def __init__(self) -> None:
        self._means: tuple[Means, ...] = ({}, {}, {})  # of places, of channels, of all
        self._squares = [0.0, 0.0, 0.0]

    def add(self, values: Array, valid: NDArray[np.bool_] | None = None) -> None:
        """Add a batch [N, …] of any number of inputs; entries that are not `valid` are left out."""
        values = np.asarray(values, np.float64)
        valid = np.ones(values.shape, np.bool_) if valid is None else valid
        for level, axes in enumerate(_averaged(values.ndim)):
            means = self._means[level]
            count = valid.sum(axes, keepdims=True, dtype=np.float64)
            if count.shape not in means:
                total = np.where(valid, values, 0).sum(axes, keepdims=True)
                zeros = np.zeros_like(total), np.zeros_like(total)
                means[count.shape] = total / np.maximum(count, 1), *zeros
            shift, beyond, counts = means[count.shape]
            distance = np.where(valid, values - shift, 0)
            beyond += distance.sum(axes, keepdims=True)
            counts += count
            self._squares[level] += float(np.square(distance).sum())

    @property
    def power(self) -> float:
        """Σ over all entries of the squared distance from their mean."""
        power = 0.0
        for means, squares in zip(self._means, self._squares, strict=True):
            parts = (beyond**2 / np.maximum(n, 1) for _, beyond, n in means.values())
            power = max(squares - sum(float(part.sum()) for part in parts), 0.0)
            averaged = [n[n > 0].min(initial=np.inf) for _, _, n in means.values()]
            if min(averaged, default=np.inf) >= MIN_AVERAGED:
                break
        return power


def _averaged(ndim: int) -> Iterator[tuple[int, ...]]:
    """Axes that a mean is over: of each place, of each channel, of all."""
    yield (0,)
    yield tuple(axis for axis in range(ndim) if axis != 1)
    yield tuple(range(ndim))
