"""Second moments of a layer's inputs, and the error feedback that follows from them.

Letters: T sampled output positions, V features (virtual input channels), K kernel taps.
"""

import math
from collections.abc import Sequence
from functools import partial

import numpy as np

from lt_onnx.ops.conv_padding import pads_for
from lt_onnx.runtime import by_batch
from lt_onnx.target import Array, Doubles, Floats, Indices, Linear

MANY_POSITIONS = 50  # for each entry of a patch, from which on chance plays no part in H
MEAN_SHARE = 0.01  # of the mean's power that counts in H as what varies does, where biases are
MAX_AT_ONCE = 1 << 20  # numbers of rows that are looked at together
SMALL = 32  # of a matrix that is inverted at once
DAMPING = 0.01  # share of the mean diagonal added to H before it is inverted


def output_shapes(y: Sequence[Array], linear: Linear) -> list[tuple[int, ...]]:
    """Shapes of a layer's outputs, batch by batch, as `positions` has them: [N, O, *S]."""
    shapes = [value.shape for value in y]
    if linear.op == "MatMul":  # its channels lie on the last axis
        return [(shape[0], shape[-1], *shape[1:-1]) for shape in shapes]
    return shapes


def positions(
    shapes: Sequence[tuple[int, ...]], count: int, *, rng: np.random.Generator
) -> list[Indices]:
    """Sample `count` output positions of outputs shaped [N, O, *S]: [T_b, 1 + spatial] of each.

    All positions where there are fewer; `rng` is drawn from.
    """
    sizes = [int(np.prod([s[0], *s[2:]])) for s in shapes]
    total = sum(sizes)
    flat = np.sort(rng.choice(total, count, replace=False)) if count < total else np.arange(total)
    picked, start = [], 0
    for shape, size in zip(shapes, sizes, strict=True):
        inside = flat[(flat >= start) & (flat < start + size)] - start
        picked.append(np.stack(np.unravel_index(inside, (shape[0], *shape[2:])), 1))
        start += size
    return picked


def sample_numbers(at: Sequence[Indices]) -> Indices:
    """Which input each of some `positions` is of, numbered through all batches, [T]."""
    counts = [int(batch[-1, 0]) + 1 if len(batch) else 0 for batch in at]
    starts = np.cumsum([0, *counts[:-1]])
    return np.concatenate([batch[:, 0] + start for batch, start in zip(at, starts, strict=True)])


def patches(x: Sequence[Floats], at: Sequence[Indices], *, linear: Linear) -> Floats:
    """What a layer's kernel sees at sampled output positions of every batch: [T, V, K].

    `x` are [N, V, *S] for Conv, [N, V] for Gemm and [N, …, V] for MatMul, `at` their `positions`.
    """
    return np.concatenate([_patches(*batch, linear) for batch in zip(x, at, strict=True)])


def _patches(x: Floats, at: Indices, linear: Linear) -> Floats:
    """Those of one batch."""
    if linear.op != "Conv":
        return np.ascontiguousarray(x[tuple(at.T)])[:, :, None]
    rank, pads = len(linear.kernel), pads_for(linear, x.shape[2:])
    around = [(max(pads[i], 0), max(pads[i + rank], 0)) for i in range(rank)]
    padded = np.pad(x, [(0, 0), (0, 0), *around])
    strides, dilations = linear.spatial("strides", 1), linear.spatial("dilations", 1)
    out = np.empty((len(at), padded.shape[1], math.prod(linear.kernel)), np.float32)
    for t, tap in enumerate(np.ndindex(*linear.kernel)):
        index = tuple(at[:, 1 + i] * strides[i] + tap[i] * dilations[i] for i in range(rank))
        out[:, :, t] = padded[(at[:, 0], slice(None), *index)]
    return out


def covariance(patches: Floats, groups: int, samples: Indices, *, biased: bool = True) -> Doubles:
    """Covariance of the entries of patches [T, G·V, K] in each group, [G, V·K, V·K], shrunk.

    Their mean is left to the biases, but for a small share: a bias reaches no further than a row's
    constants, and where inputs vary little about a large mean, errors would. A layer that is not
    `biased` has to be right about all of it. `samples` [T] says
    which input each patch is of, in order. Correlations are shrunk towards zero by as much of them
    as is chance (Ledoit and Wolf 2004, Schäfer and Strimmer 2005), which shows in how they differ
    from input to input: where inputs are few for many entries, feedback would lean on what no
    other input has.
    """
    a = patches.reshape(len(patches), groups, -1).swapaxes(0, 1)
    mean = a.mean(1, keepdims=True)
    a = np.ascontiguousarray(a) - mean
    H = np.asarray((a.swapaxes(1, 2) @ a) / np.float32(a.shape[1]), np.float64)
    firsts = np.flatnonzero(np.diff(samples, prepend=-1))
    if a.shape[1] < MANY_POSITIONS * a.shape[2] and len(firsts) > 1:
        for group, covariances in zip(a, H, strict=True):
            _shrink(covariances, group, firsts)
    share = MEAN_SHARE if biased else 1.0
    return np.asarray(H + share * (mean.swapaxes(1, 2).astype(np.float64) @ mean))


def white_where_nothing_varies(H: Doubles) -> None:
    """Groups of `H` [G, n, n] whose inputs are all zero get such as vary as others do, each alone.

    Nothing is known of what other inputs make there; weights must not be free for that.
    """
    power = np.diagonal(H, axis1=1, axis2=2).mean(1)
    silent = power == 0
    if silent.any():
        usual = power[~silent].mean() if not silent.all() else 1.0
        H[silent] = usual * np.eye(H.shape[1])


def about_mean(patches: Floats, *, biased: bool = True) -> Floats:
    """Patches [G, T, n] less their mean, and what counts of its power as one more: [G, T + 1, n].

    What rows make of them has the power that counts in `covariance`.
    """
    mean = patches.mean(1, keepdims=True, dtype=np.float64)
    rest = (patches - mean).astype(np.float32)
    weight = np.sqrt((MEAN_SHARE if biased else 1.0) * patches.shape[1])
    return np.concatenate([rest, (mean * weight).astype(np.float32)], 1)


def _shrink(H: Doubles, a: Floats, firsts: Indices) -> None:
    """Shrink the covariance H [n, n] of centred patches [T, n]; `firsts` are each input's first."""
    diagonal = np.diagonal(H).copy()
    deviation = np.sqrt(np.maximum(diagonal, 1e-30))
    a = np.asarray(a / deviation, np.float32)
    apart = 0.0  # Σ of squared correlations, each of one input alone
    for own in np.split(a, firsts[1:]):
        gram = own @ own.T if len(own) < own.shape[1] else own.T @ own
        power = np.square(own, dtype=np.float64).sum(0)
        apart += float(np.square(gram, dtype=np.float64).sum() - power @ power)
    square = float(np.square(H / deviation / deviation[:, None]).sum())
    square = max(square - np.count_nonzero(diagonal), 1e-30)
    count = len(firsts)
    chance = (apart / len(a) ** 2 - square / count) * count / (count - 1)
    H *= 1 - min(max(chance / square, 0.0), 1.0)
    H[np.diag_indices(len(H))] = diagonal


def feedback(H: Doubles) -> tuple[Indices, Floats, Floats]:
    """Order and factor for error feedback along a row (as in OBQ and GPTQ).

    `H` [G, n, n] are the moments of the problems' features. Returns, of each group, the problems by
    falling diagonal, [n]; U with H⁻¹ = Uᵀ U after damping, in that order, [n, n]; and the price
    1/U_tt² of a squared error, by problem (not by order), [n].
    """
    every, diagonal = np.arange(H.shape[1]), np.diagonal(H, axis1=1, axis2=2)
    order = np.argsort(-diagonal, kind="stable")
    groups = np.arange(len(H))[:, None]
    damped = H[groups[:, :, None], order[:, :, None], order[:, None]]
    damped[:, every, every] += DAMPING * np.maximum(diagonal.mean(1), 1e-30)[:, None]
    upper = _inverse_factors(damped)
    weight = np.empty(order.shape, np.float32)
    weight[groups, order] = np.diagonal(upper, axis1=1, axis2=2) ** -2.0
    return order, np.ascontiguousarray(upper, np.float32), weight


def _inverse_factors(H: Doubles) -> Doubles:
    """Upper triangular U with H⁻¹ = Uᵀ U, of positive definite matrices [G, n, n].

    From last to first, the factor of H is U⁻¹. Where H is not finite, U is NaN.
    """
    sound = np.isfinite(H).all((1, 2), keepdims=True)
    lower = np.linalg.cholesky(np.where(sound, H, np.eye(H.shape[1]))[:, ::-1, ::-1])
    return np.where(sound, _inverse(lower)[:, ::-1, ::-1], np.nan)


def _inverse(lower: Doubles) -> Doubles:
    """Of lower triangular matrices [G, n, n]: half by half, as products of small ones."""
    half = lower.shape[1] // 2
    if half < SMALL:
        return np.tril(np.linalg.inv(lower))
    first, last = _inverse(lower[:, :half, :half]), _inverse(lower[:, half:, half:])
    out = np.zeros_like(lower)
    out[:, :half, :half], out[:, half:, half:] = first, last
    out[:, half:, :half] = -last @ (lower[:, half:, :half] @ first)
    return out


def channel_mean(values: Sequence[Array], axis: int) -> Doubles:
    """Mean per channel over all batches and positions."""
    total, count = 0.0, 0
    for value in values:
        others = tuple(i for i in range(value.ndim) if i != axis)
        total = total + value.sum(axis=others, dtype=np.float64)
        count += value.size // value.shape[axis]
    return np.asarray(total / count)


def channel_variance(values: Sequence[Array], axis: int) -> Doubles:
    """Variance per channel over all batches and positions."""
    mean, total, count = channel_mean(values, axis), 0.0, 0
    for value in values:
        off = np.moveaxis(value, axis, -1) - mean
        total = total + np.square(off).sum(axis=tuple(range(off.ndim - 1)))
        count += value.size // value.shape[axis]
    return np.asarray(total / count)


def slopes(
    x: Sequence[Array],
    y: Sequence[Array],
    *,
    rows: Indices,
    channels: Indices,
    axis: int,
    biased: bool = True,
) -> Doubles:
    """Per row r of `x`: the s with the least variance of y − s·x, y being its channel's values.

    Of rows that are not `biased` the least power.
    Channels lie on `axis`; `rows` [r] are those of x, `channels` [r] their own in y.
    """
    total = partial(np.sum, axis=1, dtype=np.float64)

    def look(pair: tuple[Array, Array]) -> tuple[int, Doubles]:
        x, y = (np.moveaxis(value, axis, 0) for value in pair)
        each, found = x[0].size, np.empty((4, len(rows)))
        step = max(1, MAX_AT_ONCE // max(each, 1))
        for some in (slice(low, low + step) for low in range(0, len(rows), step)):
            a, b = (v[own[some]].reshape(-1, each) for v, own in ((x, rows), (y, channels)))
            found[:, some] = total(a), total(b), total(a * a), total(a * b)
        return each, found

    count, sums = 0, np.zeros((4, len(rows)))
    for more, added in by_batch(list(zip(x, y, strict=True)), look):
        count, sums = count + more, sums + added
    mean_x, mean_y, square, product = sums / max(count, 1)
    if not biased:
        mean_x = mean_y = np.zeros(len(rows))
    variance = square - mean_x**2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((product - mean_x * mean_y) / variance)
