"""The solver's oracle in plain NumPy: every allowed subset, in the arithmetic of `subset_sum`.

In: problems. Out: masks and errors, which every device has to give bit for bit.
"""

import numpy as np

from lt_onnx.subset_sum.limits import MAX_EXHAUSTIVE_SIZE, size_limit, subsets_up_to
from lt_onnx.subset_sum.problem import Floats, Indices, Masks

MAX_SUMS = 1 << 22  # held at a time


def smallest(x: Floats, z: Floats, tolerance: np.float32) -> tuple[Masks, Floats]:
    """First subset in order of (size, lexicographic) within the tolerance, else the closest one.

    x is [B, M], z [B]; the same for masks and errors.
    """
    m = x.shape[1]
    subsets = subsets_up_to(size_limit(m), m=m, by_size=True)

    def place(x: Floats, z: Floats) -> tuple[Indices, Floats]:
        error = _taken(x, z, subsets)
        within = np.abs(error) <= tolerance
        first = np.where(within.any(1), within.argmax(1), np.abs(error).argmin(1))
        return first, error

    return _answers(place, subsets, x, z)


def full(x: Floats, z: Floats, a: Floats, p: Floats) -> tuple[Masks, Floats]:
    """Subset of the lowest objective; ties go to the lowest mask. a is [B], p [B, M]."""
    m = x.shape[1]
    half = m // 2
    subsets = subsets_up_to(size_limit(m), m=m)

    def place(x: Floats, z: Floats, a: Floats, p: Floats) -> tuple[Indices, Floats]:
        if m <= MAX_EXHAUSTIVE_SIZE:
            low, high = subsets, subsets >> np.uint32(half)
            error = (z[:, None] - _sums(x[:, half:], high)) - _sums(x[:, :half], low)
            cost = _sums(p[:, half:], high) + _sums(p[:, :half], low)
        else:
            error, cost = _taken(x, z, subsets), _sums(p, subsets)
        return (a[:, None] * (error * error) + cost).argmin(1), error

    return _answers(place, subsets, x, z, a, p)


def _answers(place, subsets: Masks, *problems: Floats) -> tuple[Masks, Floats]:  # type: ignore[no-untyped-def]
    """Masks and errors of the subsets that `place` chooses, some problems at a time."""
    masks, errors = [], []
    step = max(1, MAX_SUMS // len(subsets))
    for start in range(0, len(problems[0]), step):
        chosen, error = place(*(values[start : start + step] for values in problems))
        masks.append(subsets[chosen])
        errors.append(error[np.arange(len(chosen)), chosen])
    return np.concatenate(masks), np.concatenate(errors)


def _sums(values: Floats, subsets: Masks) -> Floats:
    """Sums of the subsets of every row of `values` [B, M], ascending: [B, subsets]."""
    total = np.zeros((len(values), len(subsets)), np.float32)
    for s in range(values.shape[1]):
        np.add(total, values[:, s, None], out=total, where=(subsets >> np.uint32(s)) & 1 == 1)
    return total


def _taken(x: Floats, z: Floats, subsets: Masks) -> Floats:
    """What is left of z when the elements are taken from it, ascending: [B, subsets]."""
    left = np.repeat(z[:, None], len(subsets), 1)
    for s in range(x.shape[1]):
        np.subtract(left, x[:, s, None], out=left, where=(subsets >> np.uint32(s)) & 1 == 1)
    return left
