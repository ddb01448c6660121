"""Targets on a grid: subsets that are told in fewer bits.

A subset is told by the target that it was chosen for, to the accuracy that its neighbours ask for.
Where targets are multiples of a step Δ, -log2 Δ bits less are to be told, and Δ²/12 is added to the
squared error: with λ the price of a bit, a Δ²/12 - λ log2 Δ is least at Δ² = 6 λ / (a ln 2).

In: rows of problems, and λ over the price of an element. Out: the same rows with a step for each
problem, their prices moved to one of LEVELS, so that a step follows from a level.
"""

from dataclasses import replace

import numpy as np

from lt_onnx.subset_sum.problem import Rows

UNIT = 2.0**23  # a random weight's, of σ
LEVELS = 51
PRICES = np.floor(  # ρ, an element's price over its problem's a, in units²
    2.0**22 * 2.0 ** (np.arange(LEVELS) // 2) * np.where(np.arange(LEVELS) % 2, 2.0**0.5, 1.0)
)
BOUNDS = np.sqrt(PRICES[:-1] * PRICES[1:]) / UNIT**2
SQUARE = 8.656170245333781  # 6 / ln 2: Δ² over ρ, where a bit costs what an element does


def on_grid(rows: Rows, price_bits: float) -> Rows:
    """The rows with steps between their targets; a bit costs `price_bits` elements."""
    with np.errstate(divide="ignore", invalid="ignore"):
        level = np.searchsorted(BOUNDS, rows.price / rows.weight.astype(np.float64))
    price = (PRICES[level] / UNIT**2 * rows.weight).astype(np.float32)
    step = (np.sqrt(SQUARE * price_bits * PRICES[level]) / UNIT).astype(np.float32)
    return replace(rows, price=price, step=step)
