"""The power of a tensor's variation over the inputs: Σ (t − mean)², summed batch by batch.

The mean of each place over the inputs is taken off: what a network adds to every input alike is no
signal. Where fewer than MIN_AVERAGED values would make a mean, that of each channel is (over all
axes but the second), or else one of all.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from lt_onnx.target import Array, Doubles

MIN_AVERAGED = 8  # values that make a mean


class Variation:
    """Running sums over one tensor."""

    def __init__(self) -> None:
        self._levels = (_Means(), _Means(), _Means())

    def add(self, values: Array, valid: NDArray[np.bool_] | None = None) -> None:
        """Add a batch [N, …] of any number of inputs; entries that are not `valid` are left out."""
        values = np.asarray(values, np.float64)
        valid = np.ones(values.shape, np.bool_) if valid is None else valid
        for level, axes in zip(self._levels, _averaged(values.ndim), strict=True):
            level.add(values, valid, axes)

    @property
    def power(self) -> float:
        """Σ over all entries of the squared distance from their mean."""
        fine = [level for level in self._levels if level.least_averaged >= MIN_AVERAGED]
        return (fine or self._levels[-1:])[0].power


def _averaged(ndim: int) -> Iterator[tuple[int, ...]]:
    """Axes that a mean is over: of each place, of each channel, of all."""
    yield (0,)
    yield tuple(axis for axis in range(ndim) if axis != 1)
    yield tuple(range(ndim))


class _Means:
    """Sums about the means of one kind, shifted by those of the first batch against cancellation.

    Batches of other shapes have means of their own.
    """

    def __init__(self) -> None:
        # by the shape of the means: shift, sum of what is beyond it, count of values
        self._cells: dict[tuple[int, ...], tuple[Doubles, Doubles, Doubles]] = {}
        self._squares = 0.0

    def add(self, values: Doubles, valid: NDArray[np.bool_], axes: tuple[int, ...]) -> None:
        count = valid.sum(axes, keepdims=True, dtype=np.float64)
        if count.shape not in self._cells:
            total = np.where(valid, values, 0).sum(axes, keepdims=True)
            shift = total / np.maximum(count, 1)
            self._cells[count.shape] = shift, np.zeros_like(shift), np.zeros_like(shift)
        shift, beyond, counts = self._cells[count.shape]
        distance = np.where(valid, values - shift, 0)
        beyond += distance.sum(axes, keepdims=True)
        counts += count
        self._squares += float(np.square(distance).sum())

    @property
    def least_averaged(self) -> float:
        """Values behind the mean of fewest; those of none apart."""
        counts = [counts[counts > 0] for _, _, counts in self._cells.values()]
        return min((float(some.min()) for some in counts if some.size), default=0.0)

    @property
    def power(self) -> float:
        means = (beyond**2 / np.maximum(n, 1) for _, beyond, n in self._cells.values())
        return max(self._squares - sum(float(part.sum()) for part in means), 0.0)
