"""All pairs of halves against subsets that are listed one by one."""

import numpy as np
import pytest
import subset_oracle

from lt_onnx.subset_sum.all_pairs import ALL_PAIRS, best_of_all
from lt_onnx.subset_sum.full import no_halves
from lt_onnx.subset_sum.lanes import LANES, kernel
from lt_onnx.subset_sum.problem import Floats


@kernel
def _solve(
    x: Floats, z: np.float32, a: np.float32, p: Floats, sums: Floats, costs: Floats
) -> tuple[np.uint32, np.float32]:
    return best_of_all(x, z, a, p, sums, costs)


@pytest.mark.parametrize("m", range(1, ALL_PAIRS + 1))
@pytest.mark.parametrize("grid", [False, True])  # on a grid many subsets tie
def test_all_pairs_equal_the_oracle(m: int, grid: bool) -> None:
    rng = np.random.default_rng(m)
    x = rng.uniform(-1, 1, (60, m)).astype(np.float32)
    z = rng.uniform(-1, 1, 60).astype(np.float32)
    p = rng.uniform(0, 0.01, (60, m)).astype(np.float32)
    a = rng.uniform(0, 1, 60).astype(np.float32)
    if grid:
        x, z, p = np.round(x * 4) / 4, np.round(z * 4) / 4, np.zeros_like(p)
    a[:2] = 0
    expected, errors = subset_oracle.full(x, z, a, p)
    (sums, costs, *_), _ = no_halves()
    for b in range(len(z)):
        padded = np.full((2, m + LANES), np.nan, np.float32)  # what is behind must not matter
        padded[:, :m] = x[b], p[b]
        sums[:], costs[:] = np.nan, np.nan
        own = padded[0, :m], z[b], a[b], padded[1, :m]
        assert _solve(*own, sums, costs) == (expected[b], errors[b])
