"""What each search costs, by base size: why the solver goes from one to the next where it does.

    python tools/borders.py [--count 400]

Microseconds of one thread for a problem. Of the best subset, where elements cost next to nothing:
comparing all pairs of halves; where they cost nothing, the least error by two sorted lists of sums,
and what the solver does, which finds the subset by the former up to 17 elements and by the latter
beyond. Of the smallest rule, where no subset is within the tolerance: meeting in the middle, and
walking over the subsets of four elements, of five, …, up to the size in the last column.
"""

import time
from collections.abc import Callable
from typing import Annotated

import bench_solver
import numba
import numpy as np
import typer

from lt_onnx.subset_sum import cpu, smallest
from lt_onnx.subset_sum.full import no_halves
from lt_onnx.subset_sum.problem import Floats
from lt_onnx.subset_sum.sorted_halves import least_error, sort_sums

SIZES = (8, 10, 12, 14, 15, 16, 18, 20)
LARGEST = 8  # subsets that are walked over here


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


def microseconds(work: Callable[[], object], count: int) -> float:
    """The shortest time that a problem takes this thread."""
    work()
    times = []
    for _ in range(5):
        start = time.thread_time()
        work()
        times.append(time.thread_time() - start)
    return min(times) / count * 1e6


def row(m: int, count: int) -> list[float]:
    """Pairs, sorted halves, the solver; meeting in the middle, and walks over 4 … LARGEST."""
    x, z, _, _ = bench_solver.batch(m, count)
    answers, part = (np.empty(count, np.uint32), np.empty(count, np.float32)), (0, count)
    place, gain = np.arange(m, dtype=np.int32)[None, None], np.ones((1, 1, m), np.float32)
    batch, none = (x, np.empty(0, np.int64), place, gain, z), np.float32(1e-10)
    lists, halves = smallest.lists_of(m), no_halves()
    ones, free = np.ones(count, np.float32), np.zeros((1, m), np.float32)

    def walked(size: int) -> float:
        sizes = size, m
        return microseconds(
            lambda: smallest.solve_part(batch, answers, part, none, sizes, lists), count
        )

    def best(price: Floats) -> float:
        problems = x, z, ones, price
        return microseconds(lambda: cpu.solve_part(problems, answers, (m, halves)), count)

    others = [walked(size) for size in range(smallest.DIRECT, min(m // 2, LARGEST) + 1)]
    pairs, ours = best(free + np.float32(1e-35)), best(free)
    if not np.array_equal(np.abs(answers[1]), through_sorted(x, z, halves[3])):
        raise SystemExit(f"m = {m}: two ways to the best subset differ")
    halved = microseconds(lambda: through_sorted(x, z, halves[3]), count)
    return [pairs, halved, ours, others[0], *np.diff(others)]


def main(count: Annotated[int, typer.Option(help="Problems.")] = 400) -> None:
    """Print the table."""
    sizes = range(smallest.DIRECT + 1, LARGEST + 1)
    print("          best subset     smallest: walks over subsets of")
    print(" m   pairs sorted solver   meet" + "".join(f"{size:6}" for size in sizes) + "  up to")
    for m in SIZES:
        pairs, halved, ours, meeting, *others = row(m, count)
        walks = "".join(f"{took:6.2f}" for took in others).ljust(6 * len(sizes))
        last = smallest.walked(m, m)
        print(f"{m:2} {pairs:7.2f} {halved:6.2f} {ours:6.2f} {meeting:6.2f}{walks} {last:6}")


if __name__ == "__main__":
    typer.run(main)
