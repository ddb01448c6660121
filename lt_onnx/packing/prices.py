"""The price of a member, ρ of `cells`: one level for a layer, and about it one for each position.

In: some subsets. Out: the level at which they take the fewest bits.
"""

import numba
import numpy as np

from lt_onnx.packing.cells import UNIT, cell_of, order, snapped

LEVELS, MAX_LEVEL = 64, 50  # ρ = 2^(22 + level / 2)
ESCAPE_BITS = 14.0  # of a subset without a cell, about
NEAR = 4  # levels from the best one without steps
LEVEL_BITS = 0.7  # of a step from the layer's level, about


@numba.njit(cache=True, nogil=True)
def price_of(level):  # type: ignore[no-untyped-def]
    """ρ, a whole number."""
    half = 1.4142135623730951 if level & 1 else 1.0
    return np.floor(2.0**22 * (np.int64(1) << (level >> 1)) * half)


@numba.njit(cache=True, nogil=True)
def step_of(level, square):  # type: ignore[no-untyped-def]
    """The step between goals, whose square is `square` times the price; 0: all are goals."""
    return np.float64(np.float32(np.sqrt(square * price_of(level)) / UNIT)) * UNIT


@numba.njit(cache=True, nogil=True)
def _length(own, x, mask, most, level, square):  # type: ignore[no-untyped-def]
    """About how many bits a subset takes at a price."""
    if mask == 0:
        return 0.0
    order(own, x)
    low, high = cell_of(own, most, price_of(level), mask)
    low, high = snapped(low, high, step_of(level, square))
    if high <= low:
        return ESCAPE_BITS
    width, bits = (high - low) / UNIT, 1.0
    while width < 1:
        width *= 2
        bits += 1
    return bits - min(width, 2.0)


@numba.njit(cache=True, nogil=True)
def fit_level(own, x, masks, most, base, square):  # type: ignore[no-untyped-def]
    """The level at which some subsets [N] take the fewest bits: near `base`, or anywhere (-1).

    Beside it the bits that it saves over `base`. With steps, only one level fits: it is sought near
    the one that would be the best without.
    """
    best, saved = _fit(own, x, masks, most, base, 0.0)
    if square == 0:
        return best, saved
    found, least, before = best, np.inf, 0.0
    for level in range(max(best - NEAR, 0), min(best + NEAR, MAX_LEVEL) + 1):
        bits = 0.0
        for i in range(masks.size):
            bits += _length(own, x[i], masks[i], most, level, square)
        if base >= 0 and abs(level - base) > LEVELS // 2 - 1:
            continue
        if bits < least:
            found, least = level, bits
    for i in range(masks.size if base >= 0 else 0):
        before += _length(own, x[i], masks[i], most, base, square)
    return found, before - least


@numba.njit(cache=True, nogil=True)
def _fit(own, x, masks, most, base, square):  # type: ignore[no-untyped-def]
    """The same by a coarse search, and one from there on."""
    known = np.full(MAX_LEVEL + 1, -1.0)
    best = base
    if base < 0:
        best = 0
        for level in range(0, MAX_LEVEL + 1, 4):
            known[level] = 0.0
            for i in range(masks.size):
                known[level] += _length(own, x[i], masks[i], most, level, square)
            if known[level] < known[best]:
                best = level
    moved = True
    while moved:
        moved, centre = False, best
        for step in (0, -1, 1, -2, 2, -3, 3):
            level = centre + step
            if level < 0 or level > MAX_LEVEL or abs(level - max(base, 0)) > LEVELS // 2 - 1:
                continue
            if known[level] < 0:
                known[level] = LEVEL_BITS * abs(level - base) if base >= 0 else 0.0
                for i in range(masks.size):
                    known[level] += _length(own, x[i], masks[i], most, level, square)
            if known[level] < known[best]:
                best, moved = level, True
    return best, known[max(base, 0)] - known[best]
