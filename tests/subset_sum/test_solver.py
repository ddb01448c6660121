"""The solver against brute force, to the bit."""

from dataclasses import replace

import numpy as np
import pytest
import subset_oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import long_but

from lt_onnx.subset_sum import Rows, Rule, Solution, size_limit, solve, solve_rows
from lt_onnx.subset_sum.grid import on_grid


def problems(seed: int, count: int, m: int) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (count, m)).astype(np.float32)
    z = rng.uniform(-1, 1, count).astype(np.float32)
    p = rng.uniform(0, 0.02, (count, m)).astype(np.float32)
    return x, z, p


def same(answer: Solution, expected: tuple[np.ndarray, np.ndarray]) -> None:
    np.testing.assert_array_equal(answer.mask, expected[0])
    np.testing.assert_array_equal(answer.residual, expected[1])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10**6), m=st.integers(1, 11))
def test_all_three_rules_equal_brute_force(seed: int, m: int) -> None:
    x, z, p = problems(seed, 4, m)
    noise = solve(x, z, weight=2.0, penalty=p)
    best = solve(x, z)
    small = solve(x, z, tolerance=0.01)

    full = np.float32(2) * np.ones(len(z), np.float32)
    same(noise, subset_oracle.full(x, z, full, p))
    same(best, subset_oracle.full(x, z, full / 2, 0 * p))
    same(small, subset_oracle.smallest(x, z, np.float32(0.01)))


@pytest.mark.parametrize("m", long_but([*range(1, 22), 24, 32], range(1, 33)))
def test_every_base_size_equals_brute_force(m: int) -> None:
    count = 200 if m <= 12 else 12 if m <= 16 else 2
    x, z, p = problems(m, count, m)
    x[: count // 2], z[: count // 2] = np.round(8 * x[: count // 2]) / 8, 0.375  # ties
    p[: count // 4] = 0
    ones = np.ones(count, np.float32)

    same(solve(x, z, penalty=p), subset_oracle.full(x, z, ones, p))
    for tolerance in (0.1, 1e-7):
        same(solve(x, z, tolerance=tolerance), subset_oracle.smallest(x, z, np.float32(tolerance)))


def test_ties_go_to_the_first_subset() -> None:
    x = np.array([[0.5, 0.5, 0.25, 0.25]], np.float32)
    z = np.array([0.5], np.float32)

    assert solve(x, z, tolerance=0.01).mask.tolist() == [0b0001]
    assert solve(x, z).mask.tolist() == [0b0001]


@pytest.mark.parametrize("shape", [(), (6,), (1, 6), (50, 1), (50, 6)])
def test_penalties_of_any_shape_are_broadcast(shape: tuple[int, ...]) -> None:
    x, z, _ = problems(3, 50, 6)
    p = np.random.default_rng(4).uniform(0, 0.1, shape).astype(np.float32)
    p.flags.writeable = False
    whole = np.broadcast_to(p, x.shape)

    same(solve(x, z, penalty=p), subset_oracle.full(x, z, np.ones(50, np.float32), whole))


@pytest.mark.parametrize("m", [18, 19, 20])
@pytest.mark.parametrize("weight", [0.0, 1e-38, 0.06, 1e17])
def test_sorted_halves_find_the_lowest_mask_of_the_closest(m: int, weight: float) -> None:
    """Random numbers, a grid whose sums tie, a target out of reach, and one that underflows."""
    x, z, _ = problems(m, 5, m)
    x[1], z[1] = np.round(x[1] * 8) / 8, 0.375
    x[2], z[2] = np.round(x[2] * 4) / 4, 0.3
    z[3], x[4], z[4] = -50, x[4] * 1e-18, 1e-18
    a = np.full(5, weight, np.float32)

    same(solve(x, z, weight=a), subset_oracle.full(x, z, a, 0 * x))


@pytest.mark.parametrize("m", [15, 22])
@pytest.mark.parametrize("z", [0.125, 99.0])
def test_where_no_subset_is_within_the_tolerance_the_first_of_the_closest_answers(
    m: int, z: float
) -> None:
    """Between the points of a grid, where many are as close, and out of reach."""
    x = np.round(problems(5, 3, m)[0] * 4) / 4
    goals = np.full(len(x), z, np.float32)
    answer = solve(x, goals, tolerance=0.01)

    same(answer, subset_oracle.smallest(x, goals, np.float32(0.01)))
    assert answer.result.all()


@pytest.mark.parametrize("m", [21, 25, 32])
@pytest.mark.parametrize("price", [0.0, 1e-7, 1e-3])
def test_beyond_twenty_elements_answers_are_those_of_brute_force(m: int, price: float) -> None:
    x, z, p = problems(3, 4, m)
    x[1], z[1], p[1] = np.round(x[1] * 4) / 4, 0.5, 1  # many subsets tie
    z[2], x[3] = 40, x[3] * 1e-18  # out of reach, and rounding is all there is
    p = (p * price).astype(np.float32)
    a = np.full(4, 0.06, np.float32)

    same(solve(x, z, weight=a, penalty=p), subset_oracle.full(x, z, a, p))


def test_more_than_twenty_elements_are_exact_up_to_a_size() -> None:
    x, z, p = problems(0, 3, 24)
    z *= 3
    limited = solve(x, z, weight=1.0, penalty=p)

    assert (limited.size <= size_limit(24)).all()
    for b in range(3):
        best = p[b].sum() + z[b] ** 2
        for i in range(24):
            for j in range(i):
                e = z[b] - x[b, i] - x[b, j]
                best = min(best, e * e + p[b, i] + p[b, j])
        members = [s for s in range(24) if limited.mask[b] >> s & 1]
        value = limited.residual[b] ** 2 + p[b, members].sum()
        assert value <= best + 1e-6


def test_statistics_are_the_papers() -> None:
    x, z, _ = problems(1, 20_000, 15)
    small, best = solve(x, z, tolerance=0.01), solve(x, z)

    assert 2.2 < small.size.mean() < 2.4
    assert 0.002 < small.result.mean() < 0.006
    assert 4e-4 < np.abs(best.residual).mean() < 9e-4


@pytest.mark.parametrize(
    ("x", "z", "keys", "words"),
    [
        ([[np.nan]], [0.0], {}, "finite"),
        ([[1.0]], [np.inf], {}, "finite"),
        ([[1.0]], [0.0, 1.0], {}, "must be"),
        (np.zeros((1, 33)), [0.0], {}, "1 to 32"),
        ([[1.0]], [0.0], {"tolerance": 0.1, "weight": 1.0}, "not both"),
        ([[1.0]], [0.0], {"tolerance": -1.0}, "tolerance"),
        ([[1.0]], [0.0], {"penalty": [-1.0]}, "negative"),
        ([[1.0]], [0.0], {"penalty": [np.nan]}, "penalty must be finite"),
        ([[1.0]], [0.0], {"weight": -1.0}, "weight"),
        ([[0.0], [2e17], [0.0]], [0.0] * 3, {"tolerance": 0.1}, "x must be finite"),
        ([[0.0], [np.nan], [0.0]], [0.0] * 3, {"tolerance": 0.1}, "x must be finite"),
    ],
)
def test_bad_problems_are_refused(x: object, z: object, keys: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        solve(x, z, **keys)


def plain_rows(
    base: np.ndarray, z: np.ndarray, rows: Rows, rule: Rule
) -> tuple[np.ndarray, np.ndarray]:
    """Row by row, problem by problem, as the docstring of `solve_rows` says."""
    masks, residuals = np.zeros(z.shape, np.uint32), np.zeros(z.shape, np.float32)
    for r, g in enumerate(rows.groups(len(z))):
        rest = z[r, rows.order[g]].copy()
        for t, k in enumerate(rows.order[g]):
            error = rest[t]
            goal = rest[t : t + 1]
            if rows.step is not None:
                goal = np.rint(goal / rows.step[g, k]) * rows.step[g, k]
            if z[r, k] != 0:
                x = base[r, rows.index[g, k]] * rows.gain[g, k]
                if rule is Rule.SMALLEST:
                    answer = subset_oracle.smallest(x[None], rest[t : t + 1], np.float32(0.01))
                else:
                    p = x * x * rows.noise[g, k] + rows.price[g, k]
                    answer = subset_oracle.full(x[None], goal, rows.weight[g, k : k + 1], p[None])
                masks[r, k], error = answer[0][0], answer[1][0]
                if rows.step is not None:
                    error = (rest[t] - goal[0]) + error
            residuals[r, k] = error
            if rows.upper is not None:
                upper = rows.upper[g, t]
                rest[t + 1 :] -= np.float32(error / upper[t]) * upper[t + 1 :]
    return masks, residuals


@pytest.mark.parametrize("group", [None, [0, 0, 1, 2]])
@pytest.mark.parametrize(
    ("rule", "price_bits"), [*((rule, 0.0) for rule in Rule), (Rule.NOISE, 2.0)]
)
@pytest.mark.parametrize("n", [7, 29, 141])  # less than a vector, some, more than a block
def test_rows_with_feedback_equal_the_plain_loop(
    n: int, rule: Rule, price_bits: float, group: list[int] | None
) -> None:
    rng = np.random.default_rng(0)
    groups, m, count = 3 if group else 1, 5, 4
    a = rng.standard_normal((groups, n, 7 * n))
    upper = np.linalg.cholesky(np.linalg.inv(a @ a.swapaxes(1, 2) / 7 / n)).swapaxes(1, 2)
    free = rule is not Rule.BEST  # which ignores them
    rows = Rows(
        index=np.stack([rng.permutation(n * m) for _ in range(groups)]).reshape(groups, n, m),
        gain=rng.uniform(0.5, 1, (groups, n, m)).astype(np.float32),
        weight=rng.uniform(1, 1 + free, (groups, n)).astype(np.float32),
        noise=rng.uniform(0, 0.01 * free, (groups, n, m)).astype(np.float32),
        price=np.full((groups, n), 1e-4 * free, np.float32),
        order=np.stack([rng.permutation(n) for _ in range(groups)]),
        upper=np.ascontiguousarray(upper, np.float32),
        group=None if group is None else np.array(group),
    )
    rows = replace(rows, index=rows.index.astype(np.int32))
    if price_bits:
        rows = on_grid(rows, price_bits)
        assert rows.step is not None
        assert np.allclose(rows.step**2, 6 / np.log(2) * 2 * rows.price / rows.weight, rtol=1e-5)
        assert np.all(np.abs(np.log2(rows.price / 1e-4)) < 0.26)
    base = rng.uniform(-1, 1, (count, n * m)).astype(np.float32)
    z = rng.uniform(-0.5, 0.5, (count, n)).astype(np.float32)
    z[0, 2] = 0
    masks, residuals = solve_rows(base, z, rows=rows, rule=rule, tolerance=0.01)
    expected_masks, expected_residuals = plain_rows(base, z, rows, rule)

    assert (masks == expected_masks).all()
    np.testing.assert_array_equal(residuals, expected_residuals)
    assert masks[0, 2] == 0
