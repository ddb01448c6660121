"""Operators that mix many entries of data: a product of two matrices, LayerNormalization.

    A B        |A| e_B + e_A |B| + e_A e_B
    z of x     z_i = (x_i − mean) / s, s² = variance + ε, of n numbers, so that s ≥ √ε and
               |z_i| ≤ √(n − 1):
               Σ_j |∂z_i / ∂x_j| e_j ≤ (e_i + mean e + √(n − 1) rms e) / √ε

An error is the smaller of what the slope makes of it and of how far apart any two z are, so that a
normalization bounds what comes behind it whatever came before: loosely. Rounded z are no larger
than √n, where s comes from the differences that it divides, as in onnxruntime. A runtime that takes
the variance from a mean of squares may be further off.
"""

from functools import partial

import numpy as np

from lt_onnx.target import Node
from lt_onnx.validation.bound.ranges import OUTWARD, Doubles, Range, UnboundedError, dot_error

DEFAULT_EPSILON = 1e-5
OTHER_ROUNDINGS = 8  # of the root and the quotient, in products, generously


def product_of_matrices(a: Range, b: Range) -> Range:
    """A B, over the last two axes. Raises UnboundedError where rounding has no bound."""
    (a_middle, a_radius), (b_middle, b_radius) = _parts(a), _parts(b)
    middle = a_middle @ b_middle
    radius = np.abs(a_middle) @ b_radius + a_radius @ (np.abs(b_middle) + b_radius)
    error = a.largest @ b.error + a.error @ (b.largest + b.error)
    once = dot_error(a.low.shape[-1]) * ((a.largest + a.error) @ (b.largest + b.error))
    return _widened(middle - radius, middle + radius, error, once)


def normalized(node: Node, x: Range, weight: Range | None, bias: Range | None) -> Range:
    """LayerNormalization. Raises UnboundedError where ε is 0."""
    axes = tuple(range(int(node.attributes.get("axis", -1)) % x.low.ndim, x.low.ndim))
    count = int(np.prod([x.low.shape[axis] for axis in axes]))
    root = float(node.attributes.get("epsilon", DEFAULT_EPSILON)) ** 0.5
    if not root > 0:
        raise UnboundedError(f"no bound through {node.op} '{node.name}': its epsilon is 0")
    mean = partial(np.mean, axis=axes, keepdims=True)
    most = max(count - 1, 0) ** 0.5
    reach = np.maximum(x.high - mean(x.low), mean(x.high) - x.low)  # of x_i from the mean
    relative = dot_error(count + OTHER_ROUNDINGS)
    off = 2 * relative * (x.largest + x.error).max(axis=axes, keepdims=True)  # of a difference
    once = (1 + most) * (2 * off / root + relative)
    steep = (x.error + mean(x.error) + most * mean(x.error**2) ** 0.5) / root
    rounded_most = count**0.5 * (1 + relative) * OUTWARD
    largest = np.minimum(np.minimum(reach / root, most) + once, rounded_most)
    error = np.minimum(steep * OUTWARD + 2 * once, largest + rounded_most)
    made = Range(-largest, largest, error)
    if weight is not None:
        made = scaled(made, weight)
    if bias is not None:
        made = Range(made.low + bias.low, made.high + bias.high, made.error + bias.error).rounded()
    return made


def scaled(a: Range, b: Range) -> Range:
    """a b, entry by entry."""
    ends = [x * y for x in (a.low, a.high) for y in (b.low, b.high)]
    low, high = np.minimum.reduce(ends), np.maximum.reduce(ends)
    error = a.largest * b.error + b.largest * a.error + a.error * b.error
    return Range(low, high, error).rounded()


def _parts(x: Range) -> tuple[Doubles, Doubles]:
    """Middle and radius."""
    return (x.low + x.high) / 2, (x.high - x.low) / 2 * OUTWARD


def _widened(low: Doubles, high: Doubles, error: Doubles, once: Doubles) -> Range:
    """What rounding by so much makes of it, in both networks."""
    once = once * OUTWARD
    return Range(low - once, high + once, (error + 2 * once) * OUTWARD)
