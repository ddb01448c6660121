"""Batches of tiny real-valued subset-sum problems; knows nothing of ONNX.

One problem is a base set x ∈ R^M and a target z. Every rule is a setting of one objective,

    minimise over S ⊆ [M]:   a · (z − Σ_{s∈S} x_s)²  +  Σ_{s∈S} p_s        (`weight` a, `penalty` p)

- noise-aware: p_s is what element s costs (its noise, a price per kept weight);
- `best`: a = 1, p = 0;
- `smallest` (the paper's rule, Algorithms 1 and 2): fewest elements with |z − Σ x| ≤ tolerance.

Two entry points share the kernels: `solve`, a flat batch of independent problems, and `solve_rows`,
rows of problems solved in order, each passing its error on to the rest of its row.

Exactness: up to `EXACT` = 20 elements all subsets compete; beyond, all subsets of at most
`size_limit(M)` elements. Ties go to the lowest bit mask (full objective) or to the first subset in
lexicographic order among the fewest elements (smallest). All arithmetic is float32 in a fixed order
(see `reference`), so that every device gives the same bits.
"""

from dataclasses import dataclass
from enum import IntEnum
from math import comb

import numpy as np
from numpy.typing import ArrayLike, NDArray

EXACT = 20
LARGEST = 32


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


def size_limit(m: int) -> int:
    """Largest subset that is searched in a base set of m elements: m itself up to `EXACT`."""
    if m <= EXACT:
        return m
    total, size = 1, 0
    while total + comb(m, size + 1) <= 1 << EXACT:
        size += 1
        total += comb(m, size)
    return size


def solve(
    x: ArrayLike,
    z: ArrayLike,
    *,
    tolerance: float | None = None,
    weight: ArrayLike | None = None,
    penalty: ArrayLike | None = None,
) -> Solution:
    """Solve B independent problems.

    Args:
        x: base sets, [B, M] with 1 ≤ M ≤ 32.
        z: targets, [B].
        tolerance: with it and nothing else the smallest subset within it is wanted.
        weight: price a of the squared error, [B] or a number; default 1.
        penalty: price p of each element, [B, M] or [M]; default 0.

    Raises:
        ValueError: shapes that do not match, M out of range, NaN or infinity, or a tolerance
            together with the full objective.
    """
    from lt_onnx.subset_sum import cpu

    base, goal = _check(x, z)
    count, m = base.shape
    if tolerance is not None:
        if weight is not None or penalty is not None:
            raise ValueError("give a tolerance (smallest subset) or weight and penalty, not both")
        if not 0 <= tolerance < np.inf:
            raise ValueError(f"tolerance must be finite and not negative, not {tolerance}")
        mask, residual = cpu.smallest(base, goal, np.float32(tolerance), size_limit(m))
        missed = np.abs(residual) > np.float32(tolerance)
    else:
        a = np.broadcast_to(np.asarray(1 if weight is None else weight, np.float32), count)
        p = np.broadcast_to(np.asarray(0 if penalty is None else penalty, np.float32), base.shape)
        if not (np.isfinite(a).all() and np.isfinite(p).all()):
            raise ValueError("weight and penalty must be finite")
        if (a < 0).any() or (p < 0).any():
            raise ValueError("weight and penalty must not be negative")
        mask, residual = cpu.full(
            base, goal, np.ascontiguousarray(a), np.ascontiguousarray(p), size_limit(m)
        )
        missed = np.zeros(count, bool)
    return Solution(mask, residual, missed.astype(np.uint8))


def _check(x: ArrayLike, z: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    base = np.ascontiguousarray(x, np.float32)
    goal = np.ascontiguousarray(z, np.float32)
    if base.ndim != 2 or goal.shape != base.shape[:1]:
        raise ValueError(
            f"x must be [B, M] and z [B]; got {list(base.shape)} and {list(goal.shape)}"
        )
    if not 1 <= base.shape[1] <= LARGEST:
        raise ValueError(f"a base set has 1 to {LARGEST} elements, not {base.shape[1]}")
    if not (np.isfinite(base).all() and np.isfinite(goal).all()):
        raise ValueError("x and z must be finite")
    return base, goal


@dataclass(frozen=True)
class Rows:
    """What the N problems of every row share (M elements at most, fewer where `index` is -1)."""

    index: NDArray[np.int32]  # [N, M]  place of each element in its row of random weights, or -1
    gain: NDArray[np.float32]  # [N, M]  x_s = gain · random weight
    weight: NDArray[np.float32]  # [N]  price a of the squared error
    noise: NDArray[np.float32]  # [N, M]  element s costs x_s² · noise …
    price: NDArray[np.float32]  # [N]  … plus price
    order: NDArray[np.int64]  # [N]  problems in the order they are solved
    upper: NDArray[np.float32] | None  # [N, N]  Cholesky factor of H⁻¹ in that order; None: apart


def solve_rows(
    base: NDArray[np.float32],
    z: NDArray[np.float32],
    rows: Rows,
    rule: Rule,
    tolerance: float,
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Solve R rows of N problems, in parallel over rows, in order within a row.

    After a problem with error e at position t its row's remaining targets move by
    z_rest −= (e / U_tt) · U_t,rest  (optimal brain quantisation). A target that starts at exactly
    zero stays an absent weight: its subset is empty, its error is passed on.

    Args:
        base: random weights, [R, L].
        z: targets, [R, N].
        rows: what the rows share.
        rule: objective; SMALLEST uses `tolerance`, BEST ignores noise and price.
        tolerance: largest |error| that SMALLEST accepts.

    Returns:
        masks [R, N] and residuals [R, N] against the targets as they were when solved.

    Raises:
        ValueError: M out of range, or shapes that do not match.
    """
    from lt_onnx.subset_sum import cpu

    n, m = rows.index.shape
    if z.shape != (len(base), n) or not 1 <= m <= LARGEST:
        raise ValueError(f"rows of {n} problems with {m} elements do not fit z {list(z.shape)}")
    upper = rows.upper if rows.upper is not None else np.empty((0, 0), np.float32)
    masks, residuals = cpu.rows(
        base, z, rows.index, rows.gain, rows.weight, rows.noise, rows.price, rows.order, upper,
        int(rule), np.float32(tolerance), size_limit(m),
    )  # fmt: skip
    return masks, residuals
