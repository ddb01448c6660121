"""Second moments of a layer's inputs, and the error feedback that follows from them.

Letters: T sampled output positions, V features (virtual input channels), K kernel taps.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lt_onnx.target import Array, Floats, Linear

DAMPING = 0.01  # share of the mean diagonal added to H before it is inverted
LARGEST_BLOCK = 1152  # problems that share one H; bounds Cholesky work to O(n · block²)


def positions(
    shapes: Sequence[tuple[int, ...]], count: int, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Sample `count` output positions [T_b, 1 + spatial] of outputs [N, O, *S]."""
    sizes = [int(np.prod([s[0], *s[2:]])) for s in shapes]
    total = sum(sizes)
    flat = np.sort(rng.choice(total, count, replace=False)) if count < total else np.arange(total)
    picked, start = [], 0
    for shape, size in zip(shapes, sizes, strict=True):
        inside = flat[(flat >= start) & (flat < start + size)] - start
        picked.append(np.stack(np.unravel_index(inside, (shape[0], *shape[2:])), 1))
        start += size
    return picked


def patches(x: Floats, at: NDArray[np.int64], linear: Linear, pads: Sequence[int]) -> Floats:
    """Input patches of the sampled output positions: [T, V, K].

    `x` is [N, V, *S] for Conv, [N, V] for Gemm and [N, …, V] for MatMul.
    """
    if linear.op == "Gemm":
        return np.ascontiguousarray(x[at[:, 0]])[:, :, None]
    if linear.op == "MatMul":
        return np.ascontiguousarray(x[tuple(at.T)])[:, :, None]
    rank = len(linear.kernel)
    padded = np.pad(
        x, [(0, 0), (0, 0), *[(max(pads[i], 0), max(pads[i + rank], 0)) for i in range(rank)]]
    )
    strides, dilations = linear.spatial("strides", 1), linear.spatial("dilations", 1)
    taps = list(np.ndindex(*linear.kernel))
    out = np.empty((len(at), padded.shape[1], len(taps)), np.float32)
    for t, tap in enumerate(taps):
        index = tuple(at[:, 1 + i] * strides[i] + tap[i] * dilations[i] for i in range(rank))
        out[:, :, t] = padded[(at[:, 0], slice(None), *index)]
    return out


def covariance(patches: Floats) -> NDArray[np.float64]:
    """Covariance of the patches' entries, [V·K, V·K]; their mean is the biases' business."""
    a = patches.reshape(len(patches), -1)
    a = a - a.mean(0)
    return np.asarray((a.T @ a) / np.float32(len(a)), np.float64)


def feedback(H: NDArray[np.float64]) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Order and factor for error feedback along a row (as in OBQ and GPTQ).

    Args:
        H: moments E[x xᵀ] of the problems' features, [n, n].

    Returns:
        order: problems by falling diagonal, [n].
        upper: U with H⁻¹ = Uᵀ U after damping, in that order, [n, n].
        weight: price 1/U_tt² of a squared error, by problem (not by order), [n].
    """
    n = len(H)
    diagonal = np.diagonal(H)
    order = np.argsort(-diagonal, kind="stable")
    damped = H[np.ix_(order, order)].copy()
    damped[np.diag_indices(n)] += DAMPING * max(float(diagonal.mean()), 1e-30)
    inverse = np.linalg.inv(damped)
    upper = np.linalg.cholesky((inverse + inverse.T) / 2).T
    weight = np.empty(n, np.float32)
    weight[order] = np.diagonal(upper) ** -2.0
    return order, np.ascontiguousarray(upper, np.float32), weight


def channel_mean(values: Sequence[Array], axis: int) -> NDArray[np.float64]:
    """Mean per channel over all batches and positions."""
    total, count = 0.0, 0
    for value in values:
        others = tuple(i for i in range(value.ndim) if i != axis)
        total = total + value.sum(axis=others, dtype=np.float64)
        count += value.size // value.shape[axis]
    return np.asarray(total / count)


def slopes(
    x: Sequence[Array],
    rows: NDArray[np.int64],
    y: Sequence[Array],
    channels: NDArray[np.int64],
    axis: int,
) -> NDArray[np.float64]:
    """Per row r of `x`: the s with the least variance of y − s·x, y being its channel's values."""
    count, sums = 0, np.zeros((4, len(rows)))
    for made, true in zip(x, y, strict=True):
        a = np.moveaxis(made, axis, 0)[rows].reshape(len(rows), -1)
        b = np.moveaxis(true, axis, 0)[channels].reshape(len(rows), -1)
        count += a.shape[1]
        sums[0] += a.sum(1, dtype=np.float64)
        sums[1] += b.sum(1, dtype=np.float64)
        sums[2] += (a * a).sum(1, dtype=np.float64)
        sums[3] += (a * b).sum(1, dtype=np.float64)
    mean_x, mean_y, square, product = sums / max(count, 1)
    variance = square - mean_x**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((product - mean_x * mean_y) / variance)
