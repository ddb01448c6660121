"""Figures 3 and 4 of the paper: how well, and with how many elements, random subsets fit.

A problem picks a subset S of m independent variables x to meet a target z ~ U[-1, 1]. The variables
are uniform (Figure 3: one-for-one layers) or products of two uniform ones (Figure 4: two-for-one
blocks); the subset is the best of all, or the smallest within ε.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lt_onnx.report.schema import Histogram, Mean, SubsetFigures
from lt_onnx.subset_sum import solve

MAX_PROBLEMS = 20_000  # held at a time
VARIABLES = {"uniform": "Figure 3", "product": "Figure 4"}
RULES = {"best": ("a", "b"), "smallest": ("c", "d")}
# what the paper prints about them, Section 4
PAPER = {
    ("uniform", "best"): "error (6 ± 0.8)·10⁻⁴, > 0.01 in 0.3 %, |S| ≈ 7",
    ("uniform", "smallest"): "|S| ≈ 2.3",
    ("product", "best"): "error (7.6 ± 0.3)·10⁻³",
    ("product", "smallest"): "misses 3.5 %, |S| ≈ 2.5",
}


@dataclass(frozen=True)
class Panel:
    """One rule on one kind of variable: two panels of a figure."""

    variable: str
    rule: str
    error: NDArray[np.float32]  # [B]  |z − Σ x|
    size: NDArray[np.int64]  # [B]  |S|
    tolerance: float  # ε

    @property
    def title(self) -> str:
        """The panels' place in the paper, as in `Figure 3 (a, b)`."""
        return f"{VARIABLES[self.variable]} ({', '.join(RULES[self.rule])})"

    def summary(self) -> SubsetFigures:
        """Means with their 95 % half-widths, the share of misses, and both histograms."""
        edges = np.concatenate([[0], 10.0 ** np.arange(-7, 1.01, 0.25)])
        counts, _ = np.histogram(self.error, edges)
        return SubsetFigures(
            figure=self.title,
            variable=self.variable,
            rule=self.rule,
            problems=len(self.error),
            mean_error=_mean(self.error),
            mean_size=_mean(self.size),
            misses=_mean(self.error > self.tolerance),
            error_histogram=Histogram(edges.tolist(), counts.tolist()),
            size_histogram=np.bincount(self.size).tolist(),
            paper=PAPER[self.variable, self.rule],
        )


def measure(count: int, base_size: int, *, tolerance: float, seed: int) -> list[Panel]:
    """Solve `count` seeded problems of m = `base_size` variables for every kind and rule.

    Raises ValueError for sizes out of range.
    """
    panels = []
    for number, variable in enumerate(VARIABLES):
        rng = np.random.default_rng([seed, number])
        x = rng.uniform(-1, 1, (count, base_size))
        if variable == "product":
            x *= rng.uniform(-1, 1, x.shape)
        z = rng.uniform(-1, 1, count)
        for rule in RULES:
            answers = [
                solve(
                    x[start : start + MAX_PROBLEMS],
                    z[start : start + MAX_PROBLEMS],
                    tolerance=tolerance if rule == "smallest" else None,
                )
                for start in range(0, count, MAX_PROBLEMS)
            ]
            error = np.concatenate([np.abs(answer.residual) for answer in answers])
            size = np.concatenate([answer.size for answer in answers])
            panels.append(Panel(variable, rule, error, size, tolerance))
    return panels


def _mean(values: NDArray[Any]) -> Mean:
    spread = 1.96 * float(np.std(values, dtype=np.float64)) / math.sqrt(len(values))
    return Mean(float(np.mean(values, dtype=np.float64)), spread)
