"""A subset's cell is where brute force chooses it; the cells of a base set leave no goal out."""

from itertools import combinations, pairwise

import numpy as np
import pytest

from lt_onnx.packing.cells import cell_of, members, order, rounded, snapped, subset_at


@pytest.mark.parametrize("seed", range(30))
def test_cells_are_those_of_brute_force(seed: int) -> None:
    rng = np.random.default_rng(seed)
    count, most = int(rng.integers(2, 9)), int(rng.integers(1, 5))
    price = float(int(2 ** rng.uniform(20, 44)))
    x = rng.integers(-(2**23), 2**23, count).astype(float)
    if seed % 3 == 0:  # sums that are alike
        x = np.round(x / 2**20) * 2**20
    own = members(count)
    order(own, x)
    chosen = [c for k in range(min(count, most) + 1) for c in combinations(range(count), k)]
    subsets = {sum(1 << i for i in c): (float(x[list(c)].sum()), len(c)) for c in chosen}
    cells = {mask: cell_of(own, most, price, np.int64(mask)) for mask in subsets}
    goals = [low for low, high in cells.values() if high > low]
    for goal in [*goals, *rng.integers(-(2**24), 2**24, 40).tolist()]:
        costs = {mask: s * s + price * k - 2 * s * goal for mask, (s, k) in subsets.items()}
        best = {mask for mask, cost in costs.items() if cost == min(costs.values())}
        highest = max(subsets[mask][0] for mask in best)
        best = {mask for mask in best if subsets[mask][0] == highest}
        inside = {mask for mask, (low, high) in cells.items() if low <= goal < high}

        assert subset_at(own, most, price, float(goal)) in best
        assert inside == (best if len(best) == 1 else set())


def test_a_subset_of_more_members_than_are_searched_has_none() -> None:
    own = members(4)
    order(own, np.array([1.0, 2.0, 4.0, 8.0]))
    low, high = cell_of(own, 2, 1.0, np.int64(7))
    assert high <= low


@pytest.mark.parametrize("step", [0.0, 1.7, 12.0, 300.3, 5000.0])
def test_goals_are_rounded_as_cells_are_snapped(step: float) -> None:
    """Cells side by side stay so, and hold what rounds into them."""
    ends = np.unique(np.random.default_rng(0).integers(-2000, 2000, 60)).astype(float)
    goals = np.arange(ends[0], ends[-1])
    to = np.array([rounded(goal, step) for goal in goals])
    assert np.abs(to - goals).max() <= step / 2 + 1
    for low, high in pairwise(ends):
        first, last = snapped(low, high, step)
        inside = (goals >= first) & (goals < last)
        assert np.array_equal(inside, (to >= low) & (to < high))
    assert snapped(5.0, 5.0, step) == (5.0, 5.0)
