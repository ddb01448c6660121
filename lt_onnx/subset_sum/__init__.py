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

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lt_onnx.options import Device
from lt_onnx.subset_sum.cpu import largest, write_masked
from lt_onnx.subset_sum.device import Kernels, kernels, resolve
from lt_onnx.subset_sum.problem import (
    EXACT,
    HUGE,
    LARGEST,
    DeviceError,
    Drawn,
    RangeError,
    Result,
    Rows,
    Rule,
    Solution,
    size_limit,
)

__all__ = [
    "EXACT",
    "LARGEST",
    "Device",
    "DeviceError",
    "Drawn",
    "RangeError",
    "Result",
    "Rows",
    "Rule",
    "Solution",
    "resolve",
    "size_limit",
    "solve",
    "solve_rows",
    "write_masked",
]


def solve(
    x: ArrayLike,
    z: ArrayLike,
    *,
    tolerance: float | None = None,
    weight: ArrayLike | None = None,
    penalty: ArrayLike | None = None,
    device: Device | str = Device.CPU,
) -> Solution:
    """Solve B independent problems.

    Args:
        x: base sets, [B, M] with 1 ≤ M ≤ 32.
        z: targets, [B].
        tolerance: with it and nothing else the smallest subset within it is wanted.
        weight: price a of the squared error, [B] or a number; default 1.
        penalty: price p of each element, [B, M] or [M]; default 0.
        device: `cpu`, `cuda` or `auto`; the answer is the same.

    Raises:
        ValueError: shapes that do not match, M out of range, NaN, infinity or magnitudes above
            10^17, or a tolerance together with the full objective.
        DeviceError: `cuda` where no GPU can be used, or one without memory for a single problem.
    """
    base, goal = _numbers(x, "x"), _numbers(z, "z")
    if base.ndim != 2 or goal.shape != base.shape[:1]:
        raise ValueError(
            f"x must be [B, M] and z [B]; got {list(base.shape)} and {list(goal.shape)}"
        )
    count, m = base.shape
    if not 1 <= m <= LARGEST:
        raise ValueError(f"a base set has 1 to {LARGEST} elements, not {m}")
    missed = np.zeros(count, np.uint8)
    if tolerance is not None:
        if weight is not None or penalty is not None:
            raise ValueError("give a tolerance (smallest subset) or weight and penalty, not both")
        if not 0 <= tolerance < np.inf:
            raise ValueError(f"tolerance must be finite and not negative, not {tolerance}")
        within = np.float32(tolerance)
        alone = Rows.plain(np.arange(m, dtype=np.int32)[None], np.ones((1, m), np.float32))
        masks, residuals = kernels(device).solve_smallest(
            base, goal[:, None], alone, within, size_limit(m)
        )
        mask, residual = masks[:, 0], residuals[:, 0]
        missed = np.where(np.abs(residual) > within, Result.MISS, Result.FOUND).astype(np.uint8)
    else:
        a = _numbers(1 if weight is None else weight, "weight", count)
        p = _numbers(0 if penalty is None else penalty, "penalty", *base.shape)
        if (a < 0).any() or (p < 0).any():
            raise ValueError("weight and penalty must not be negative")
        p = p + np.float32(0)  # no negative zero
        mask, residual = kernels(device).solve_full(base, goal, a, p, size_limit(m))
    return Solution(mask, residual, missed)


def solve_rows(
    base: NDArray[np.float32] | Drawn,
    z: NDArray[np.float32],
    rows: Rows,
    rule: Rule,
    tolerance: float,
    device: Device | str = Device.CPU,
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Solve R rows of N problems, in parallel over rows, in order within a row.

    After a problem with error e at position t its row's remaining targets move by
    z_rest −= (e / U_tt) · U_t,rest  (optimal brain quantisation), one problem after another. A
    target that starts at exactly zero stays an absent weight: its subset is empty, its error is
    passed on.

    Args:
        base: random weights, [R, L], or `Drawn`, which kernels draw as they go.
        z: targets, [R, N].
        rows: what the rows share.
        rule: objective; SMALLEST uses `tolerance`, BEST ignores noise and price.
        tolerance: largest |error| that SMALLEST accepts.
        device: `cpu`, `cuda` or `auto`; the answer is the same.

    Returns:
        masks [R, N] and residuals [R, N] against the targets as they were when solved.

    Raises:
        ValueError: M out of range, or shapes that do not match.
        DeviceError: as for `solve`.
    """
    n, m = rows.index.shape
    if z.shape != (len(base), n) or not 1 <= m <= LARGEST:
        raise ValueError(f"rows of {n} problems with {m} elements do not fit z {list(z.shape)}")
    limit = size_limit(m)
    if rule is not Rule.SMALLEST:
        if rule is Rule.BEST:
            plain = Rows.plain(rows.index, rows.gain)
            rows = replace(plain, order=rows.order, upper=rows.upper)
        return kernels(device).solve_rows(base, z, rows, limit)
    within = np.float32(tolerance)
    if rows.upper is None:
        return kernels(device).solve_smallest(base, z, rows, within, limit)
    return _smallest_with_feedback(base, z, rows, within, limit, kernels(device))


def _smallest_with_feedback(
    base: NDArray[np.float32] | Drawn,
    z: NDArray[np.float32],
    rows: Rows,
    tolerance: np.float32,
    limit: int,
    on: Kernels,
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """One problem of all rows at a time: the search fills its tiles with rows."""
    masks, residuals = np.zeros(z.shape, np.uint32), np.zeros(z.shape, np.float32)
    assert rows.upper is not None
    rest = z[:, rows.order]
    for t, k in enumerate(rows.order):
        alone = Rows.plain(rows.index[k : k + 1], rows.gain[k : k + 1])
        asked = z[:, k] != 0
        goal = np.where(asked, rest[:, t], 0)[:, None]
        mask, left = on.solve_smallest(base, goal, alone, tolerance, limit)
        masks[:, k] = mask[:, 0]
        residuals[:, k] = np.where(asked, left[:, 0], rest[:, t])
        share = residuals[:, k] / rows.upper[t, t]
        rest[:, t + 1 :] -= share[:, None] * rows.upper[t, t + 1 :]
    return masks, residuals


def _numbers(values: ArrayLike, name: str, *shape: int) -> NDArray[np.float32]:
    """Values as contiguous float32, broadcast to `shape` where one is given."""
    array = np.asarray(values, np.float32)
    array = np.ascontiguousarray(array)
    if not largest(array.reshape(-1)) <= HUGE:
        raise RangeError(f"{name} must be finite and at most {HUGE:g} in magnitude")
    return np.ascontiguousarray(np.broadcast_to(array, shape)) if shape else array
