"""What each search costs, by base size: why the solver goes from one to the next where it does.

    python tools/borders.py [--count 4000]

Nanoseconds of one thread for a problem. The smallest rule, within ε of targets from U[-1, 1]:
walking over subsets of up to three elements, of four, …, before halves meet in the middle; the last
column is what the solver does. Subsets whose elements have a price: comparing all pairs of halves,
and leaving out halves that are too dear. The best subset, whose elements have none: comparing all
pairs of halves that are listed so, the least error alone by two sorted lists of sums, and the
solver.
"""

import time
from collections.abc import Callable
from functools import partial
from typing import Annotated, TypeAlias

import bench_solver
import numba
import numpy as np
import typer

from lt_onnx.subset_sum import cpu, smallest
from lt_onnx.subset_sum.all_pairs import best_of_all
from lt_onnx.subset_sum.full import Halves, best_of_pruned, no_halves
from lt_onnx.subset_sum.lanes import LANES
from lt_onnx.subset_sum.objective import upper_bound
from lt_onnx.subset_sum.problem import Floats
from lt_onnx.subset_sum.sorted_halves import least_error, sort_sums

SIZES = (8, 10, 11, 12, 14, 15, 16, 18, 20)
Problems: TypeAlias = tuple[Floats, Floats, Floats, Floats]  # x, z, a, p

LAST = range(smallest.DIRECT, 8)  # sizes of the largest subsets that are walked over


@numba.njit(nogil=True)
def through_sorted(x: Floats, z: Floats, space: Floats) -> Floats:
    """The least |error| of every problem, [B]; `space` is [4, …]."""
    least = np.empty(len(z), np.float32)
    half = x.shape[1] // 2
    lows, highs = 1 << half, 1 << (x.shape[1] - half)
    for b in range(len(z)):
        low = space[sort_sums(x[b], 0, half, space[:2])]
        high = space[2 + sort_sums(x[b], half, x.shape[1], space[2:])]
        least[b] = least_error(z[b], low, high, lows, highs)
    return least


@numba.njit(nogil=True)
def priced(problems: Problems, answers: Floats, every: bool, halves: Halves) -> None:
    """Errors of every problem [B], by all pairs of halves or without those that are too dear."""
    x, z, a, p = problems
    m = x.shape[1]
    own = np.empty((2, m + LANES), np.float32)
    element, price = own[0, :m], own[1, :m]
    for b in range(len(z)):
        for s in range(m):
            element[s], price[s] = x[b, s], p[b, s]
        if every:
            answers[b] = best_of_all(element, z[b], a[b], price, halves[0][0], halves[0][1])[1]
        else:
            cap = upper_bound(element, z[b], a[b], price)
            answers[b] = best_of_pruned(element, z[b], a[b], price, cap, halves)[1]


def nanoseconds(work: Callable[[], object], count: int) -> float:
    """The shortest time that a problem takes this thread."""
    work()
    times = []
    for _ in range(5):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return min(times) / count * 1e9


def walks(m: int, count: int, tolerance: float) -> list[float]:
    """Of the smallest rule, by the largest subsets that are walked over."""
    x, z, _, _ = bench_solver.batch(m, count)
    answers, part = (np.empty(count, np.uint32), np.empty(count, np.float32)), (0, count)
    place, gain = np.arange(m, dtype=np.int32)[None, None], np.ones((1, 1, m), np.float32)
    batch, within = (x, np.empty(0, np.int64), place, gain, z), np.float32(tolerance)
    lists = smallest.lists_of(m)

    def up_to(size: int) -> float:
        sizes = size, m
        return nanoseconds(
            lambda: smallest.solve_part(batch, answers, part, within, sizes, lists), count
        )

    return [up_to(size) for size in LAST]


def prices(m: int, count: int) -> list[float]:
    """Of subsets whose elements have a price: all pairs, and those that are left."""
    x, z, a, p = bench_solver.batch(m, count)
    errors: list[Floats] = []
    took = []
    for every in (True, False):
        errors.append(np.empty(count, np.float32))
        work = partial(priced, (x, z, a, p), errors[-1], every, no_halves())
        took.append(nanoseconds(work, count))
    if not np.array_equal(errors[0], errors[1]):
        raise SystemExit(f"m = {m}: two ways to the lowest objective differ")
    return took


def best(m: int, count: int) -> list[float]:
    """Of the best subset: pairs, sorted halves, the solver."""
    x, z, _, _ = bench_solver.batch(m, count)
    answers, halves = (np.empty(count, np.uint32), np.empty(count, np.float32)), no_halves()
    ones, free = np.ones(count, np.float32), np.zeros((1, m), np.float32)

    def solver(price: Floats) -> float:
        problems = x, z, ones, price
        return nanoseconds(lambda: cpu.solve_part(problems, answers, (m, halves)), count)

    pairs, ours = solver(free + np.float32(1e-35)), solver(free)
    if not np.array_equal(np.abs(answers[1]), through_sorted(x, z, halves[1])):
        raise SystemExit(f"m = {m}: two ways to the best subset differ")
    return [pairs, nanoseconds(lambda: through_sorted(x, z, halves[1]), count), ours]


def main(count: Annotated[int, typer.Option(help="Problems.")] = 4000) -> None:
    """Print the table."""
    sizes = "".join(f"{size:7}" for size in LAST)
    print(f"{'':4}{'smallest, ε = .01: up to':37}{'ε = .001: up to':45}{'prices':12}best subset")
    print(f" m{sizes}  {sizes} solver    all pruned    pairs  sorted  solver")
    for m in SIZES:
        found = [walks(m, count, tolerance) for tolerance in (0.01, 0.001)]
        told = "  ".join("".join(f"{took:7.0f}" for took in row) for row in found)
        few = max(2, count // 20)
        own = "".join(f"{took:7.0f}" for took in prices(m, few))
        rest = "".join(f"{took:8.0f}" for took in best(m, few))
        print(f"{m:2}{told} {smallest.walked(m, m):6}{own} {rest}")


if __name__ == "__main__":
    typer.run(main)
