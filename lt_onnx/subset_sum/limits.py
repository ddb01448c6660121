"""Limits of the search, and the subsets that are within them."""

from math import comb
from typing import Any

import numpy as np

from lt_onnx.subset_sum.problem import Masks

MAX_EXHAUSTIVE_SIZE = 20  # elements up to which all subsets compete
MAX_MAGNITUDE = 1e17  # of a number, so that squares of sums stay finite in float32


class RangeError(ValueError):
    """Numbers that are not finite, or above MAX_MAGNITUDE."""


def check(largest: float | np.floating[Any], name: str) -> None:
    """Raise RangeError where the largest magnitude of some numbers is none of those allowed."""
    if not largest <= MAX_MAGNITUDE:
        raise RangeError(f"{name} must be finite and at most {MAX_MAGNITUDE:g} in magnitude")


def check_sign(least: float | np.floating[Any], name: str) -> None:
    """Raise ValueError where the least of some numbers is negative."""
    if least < 0:
        raise ValueError(f"{name} must not be negative")


def size_limit(m: int) -> int:
    """Size of the largest subsets that compete in a base set of m elements.

    m up to MAX_EXHAUSTIVE_SIZE; beyond, as large as 2^MAX_EXHAUSTIVE_SIZE subsets in all allow.
    """
    if m <= MAX_EXHAUSTIVE_SIZE:
        return m
    total, size = 1, 0
    while total + comb(m, size + 1) <= 1 << MAX_EXHAUSTIVE_SIZE:
        size += 1
        total += comb(m, size)
    return size


def subsets_up_to(limit: int, *, m: int, by_size: bool = False) -> Masks:
    """All masks of m bits with at most `limit` of them set, ascending.

    With `by_size` in order of (size, lexicographic): by elements within a size.
    """
    masks = np.zeros(1, np.uint32)
    for s in range(m):
        more = masks[np.bitwise_count(masks) < limit] | np.uint32(1 << s)
        masks = np.concatenate([masks, more])
    if not by_size:
        return masks
    mirrored = np.zeros(len(masks), np.uint32)  # element 0 in the highest bit
    for s in range(m):
        mirrored |= ((masks >> np.uint32(s)) & np.uint32(1)) << np.uint32(m - 1 - s)
    return masks[np.lexsort((~mirrored, np.bitwise_count(masks)))]
