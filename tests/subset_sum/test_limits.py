"""Which subsets compete, and in which order they are looked at."""

from itertools import combinations
from math import comb

import pytest

from lt_onnx.options import MAX_BASE_SIZE
from lt_onnx.subset_sum.limits import MAX_EXHAUSTIVE_SIZE, size_limit, subsets_up_to


@pytest.mark.parametrize("m", range(1, MAX_BASE_SIZE + 1))
def test_about_a_million_subsets_compete(m: int) -> None:
    limit = size_limit(m)
    count = sum(comb(m, size) for size in range(limit + 1))

    assert count <= 1 << MAX_EXHAUSTIVE_SIZE
    assert limit == m or count + comb(m, limit + 1) > 1 << MAX_EXHAUSTIVE_SIZE
    assert limit == m or m > MAX_EXHAUSTIVE_SIZE


@pytest.mark.parametrize(("m", "limit"), [(1, 1), (5, 0), (5, 2), (6, 6), (32, 2)])
def test_all_subsets_up_to_a_size_are_listed_once(m: int, limit: int) -> None:
    expected = [
        sum(1 << s for s in subset)
        for size in range(limit + 1)
        for subset in combinations(range(m), size)
    ]

    assert subsets_up_to(limit, m=m, by_size=True).tolist() == expected
    assert subsets_up_to(limit, m=m).tolist() == sorted(expected)
