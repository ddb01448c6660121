"""What a layer's columns and rows are copies of, found in its masks.

In: the first rows of a layer in mode `l+1`. Out: how far from one another the copies of its input
channels stand in a row, and those of its output channels among the rows. A pack has no plan that
would say so: `pack` finds out and tells.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from lt_onnx.packing.grouping import Grouping, Mask
from lt_onnx.target import Array, Floats

STRIDES, ROWS, SETS = 256, 32, 128  # that are tried, and what they are tried on
MAX_ECHO = 1 << 23  # problems of the rows that lie between a row and its copy
ALIKE = 0.5  # correlation of the sums of copies


@dataclass(frozen=True)
class Copies:
    """Copies in the columns and rows of a layer."""

    members: int = 0  # copies of each column; 0: none
    stride: int = 0  # columns from one copy to the next
    lag: int = 0  # rows from one copy to the next; 0: none


def find_stride(kept: Mask, shape: tuple[int, ...], copies: int) -> int:
    """The columns from one copy to the next in some rows of a layer [O, I, *K]; 0: any or none.

    That at which subsets are most alike in size.
    """
    most, variances = shape[1] // copies, dict[int, float]()
    columns = kept[:ROWS].reshape(-1, shape[1], kept.shape[1] // shape[1])
    for stride in range(most, max(most - STRIDES, 0), -1):
        sets = columns[:, : copies * stride].reshape(len(columns), copies, stride, -1)
        variances[stride] = float(sets.sum(1).var())
    return min(variances, key=lambda stride: variances[stride], default=0)


def find_lag(
    rows: Iterable[tuple[int, Floats, Mask]], grouping: Grouping, *, count: int, copies: int
) -> int:
    """The rows from one copy to the next in a layer of `count` rows; 0: there are no copies.

    `rows` are its rows from the first on, some at a time: number, source, which are kept.
    """
    sums, wanted = list[Array](), 2 * (count // copies) + copies
    for start, drawn, kept in rows:
        sets = grouping.sets(np.where(kept, drawn, np.float32(0)))
        sums.append(sets[:, :: -(-sets.shape[1] // SETS)].sum(2))
        if start + len(drawn) >= wanted:
            break
    most = min(count // copies, MAX_ECHO // grouping.problems)
    return _lag(np.concatenate(sums)[:wanted], most)


def _lag(sums: Array, most: int) -> int:
    """The number of rows after which the sums of base sets [R, N] are alike; 0: there is none."""
    alike = {}
    for lag in range(1, min(most, len(sums) - 1) + 1):
        first, second = sums[:-lag].reshape(-1), sums[lag:].reshape(-1)
        power = float(np.sqrt(np.square(first).sum() * np.square(second).sum()))
        alike[lag] = float(first @ second) / max(power, 1e-30)
    best = max(alike, key=lambda lag: alike[lag], default=0)
    return best if best and alike[best] > ALIKE else 0
