"""The two entry points: checks, and which kernels answer.

`solve` takes a flat batch of independent problems; `solve_rows` takes rows of problems that are
solved in order, each passing its error on to the rest of its row. The objective and its settings
are in the package's docstring.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from lt_onnx.options import MAX_BASE_SIZE, Device
from lt_onnx.subset_sum.device import Kernels, kernels
from lt_onnx.subset_sum.limits import check, check_sign, size_limit
from lt_onnx.subset_sum.problem import Drawn, Floats, Masks, Rows, Rule, Solution


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
        tolerance: with it, and nothing else, the rule is `smallest`.
        weight: a of the objective, [B] or a number; default 1.
        penalty: p of the objective, [B, M] or [M]; default 0.
        device: `cpu`, `cuda` or `auto`; the answer is the same.

    Returns:
        masks, residuals and, under `smallest`, which problems no subset answers.

    Raises:
        ValueError: shapes that do not match, M out of range, NaN, infinity or magnitudes above
            10^17, or a tolerance together with the full objective.
        DeviceError: `cuda` where no GPU can be used, or one without memory for a single problem.
    """
    base, goal = _float32(x), _numbers(z, "z")
    if base.ndim != 2 or goal.shape != base.shape[:1]:
        raise ValueError(
            f"x must be [B, M] and z [B]; got {list(base.shape)} and {list(goal.shape)}"
        )
    count, m = base.shape
    if not 1 <= m <= MAX_BASE_SIZE:
        raise ValueError(f"a base set has 1 to {MAX_BASE_SIZE} elements, not {m}")
    on, limit, missed = kernels(device), size_limit(m), np.zeros(count, np.uint8)
    if tolerance is not None:
        if weight is not None or penalty is not None:
            raise ValueError("give a tolerance (smallest subset) or weight and penalty, not both")
        if not 0 <= tolerance < np.inf:
            raise ValueError(f"tolerance must be finite and not negative, not {tolerance}")
        within = np.float32(tolerance)
        place = np.arange(m, dtype=np.int32)
        alone = Rows.plain(place[None, None], np.ones((1, 1, m), np.float32))
        masks, residuals = on.solve_smallest(
            base, goal[:, None], rows=alone, tolerance=within, limit=limit
        )
        mask, residual = masks[:, 0], residuals[:, 0]
        missed = ((residual > within) | (residual < -within)).view(np.uint8)  # True: Result.MISS
    else:
        a = _numbers(1 if weight is None else weight, "weight")
        p = _float32(0 if penalty is None else penalty)
        check_sign(a.min(initial=0), "weight")
        a, p = _shaped(a, count), _shaped(p, count if p.ndim > 1 else 1, m)
        mask, residual = on.solve_full(base, goal, weight=a, penalty=p, limit=limit)
    return Solution(mask, residual, missed)


def solve_rows(
    base: Floats | Drawn,
    z: Floats,
    *,
    rows: Rows,
    rule: Rule,
    tolerance: float,
    device: Device | str = Device.CPU,
) -> tuple[Masks, Floats]:
    """Solve R rows of N problems, in parallel over rows, in order within a row.

    After a problem with error e at position t its row's remaining targets move by
    z_rest −= (e / U_tt) · U_t,rest  (optimal brain quantisation), one problem after another. A
    target that starts at exactly zero stays an absent weight: its subset is empty, its error is
    passed on.

    Args:
        base: random weights, [R, L], or `Drawn`, which kernels draw as they go.
        z: targets, [R, N].
        rows: what rows have in common.
        rule: setting of the objective; BEST ignores `weight`, `noise` and `price` of `rows`.
        tolerance: largest |error| that SMALLEST accepts; the others ignore it.
        device: `cpu`, `cuda` or `auto`; the answer is the same. Rows with a `step` are always
            solved on the CPU, under NOISE alone.

    Returns:
        masks [R, N] and residuals [R, N] against the targets as they were when solved.

    Raises:
        ValueError: M out of range, or shapes that do not match.
        RangeError: targets, weights or prices too large for float32, or not finite.
        DeviceError: as for `solve`.
    """
    _, n, m = rows.index.shape
    if z.shape != (len(base), n) or not 1 <= m <= MAX_BASE_SIZE:
        raise ValueError(f"rows of {n} problems with {m} elements do not fit z {list(z.shape)}")
    for name, numbers in (("z", z), ("weight", rows.weight), ("price", rows.price)):
        _numbers(numbers, name)
    limit, within = size_limit(m), np.float32(tolerance)
    on = kernels(Device.CPU if rows.step is not None else device)
    if rule is Rule.SMALLEST and rows.upper is None:
        return on.solve_smallest(base, z, rows=rows, tolerance=within, limit=limit)
    if rule is Rule.SMALLEST:
        return _smallest_with_feedback(base, z, rows=rows, tolerance=within, on=on)
    if rule is Rule.BEST:
        plain = Rows.plain(rows.index, rows.gain)
        rows = replace(plain, order=rows.order, upper=rows.upper, group=rows.group)
    return on.solve_rows(base, z, rows=rows, limit=limit)


def _smallest_with_feedback(
    base: Floats | Drawn, z: Floats, *, rows: Rows, tolerance: np.float32, on: Kernels
) -> tuple[Masks, Floats]:
    """One problem of all rows at a time: the search fills its tiles with rows."""
    masks, residuals = np.zeros(z.shape, np.uint32), np.zeros(z.shape, np.float32)
    assert rows.upper is not None
    group, limit = rows.groups(len(z)), size_limit(rows.index.shape[2])
    rest = np.take_along_axis(z, rows.order[group], 1)
    for t, k in enumerate(rows.order.T):  # of every group
        one = np.arange(len(k))[:, None], k[:, None]
        alone = replace(Rows.plain(rows.index[one], rows.gain[one]), group=group)
        at, upper = (np.arange(len(z)), k[group]), rows.upper[group, t]
        asked = z[at] != 0
        goal = np.where(asked, rest[:, t], 0)[:, None]
        mask, left = on.solve_smallest(base, goal, rows=alone, tolerance=tolerance, limit=limit)
        masks[at] = mask[:, 0]
        residuals[at] = np.where(asked, left[:, 0], rest[:, t])
        rest[:, t + 1 :] -= (residuals[at] / upper[:, t])[:, None] * upper[:, t + 1 :]
    return masks, residuals


def _float32(values: ArrayLike) -> Floats:
    """Values as kernels take them; themselves, if they are so already."""
    return np.require(values, np.float32, ["C", "W"])


def _numbers(values: ArrayLike, name: str) -> Floats:
    """The same. Raises RangeError."""
    array = _float32(values)
    check(np.maximum(array.max(initial=0), -array.min(initial=0)), name)
    return array


def _shaped(values: Floats, *shape: int) -> Floats:
    """Values repeated to a shape that they do not have."""
    return values if values.shape == shape else np.broadcast_to(values, shape).copy()
