"""The full objective for one problem: exact, visiting only subsets that could still win.

Few elements have so few subsets that `all_pairs` takes less time than leaving some out. Up to
MAX_EXHAUSTIVE_SIZE elements (meet in the middle): every subset is a part of the first half of the
elements and a part of the second. The best subset of at most two elements gives a bound; a half
whose penalties alone exceed it cannot win, and neither can anything that contains it, so both lists
of halves stay short. Where nothing costs anything they do not, and `sorted_halves` takes over from
SORTED elements on. Beyond, `by_size` pairs halves that are small enough together. Float addition of
numbers ≥ 0 is monotone, rounding included, so nothing that could win or tie is ever left out.
"""

from typing import TypeAlias

import numpy as np

from lt_onnx.subset_sum.all_pairs import ALL_PAIRS, best_of_all
from lt_onnx.subset_sum.by_size import Lists, best_by_size, no_lists
from lt_onnx.subset_sum.lanes import LANES, inlined, inner
from lt_onnx.subset_sum.limits import MAX_EXHAUSTIVE_SIZE
from lt_onnx.subset_sum.objective import INFINITE, bits_of, least, upper_bound
from lt_onnx.subset_sum.problem import Floats
from lt_onnx.subset_sum.sorted_halves import SORTED, closest

MAX_HALVES = 1 << (MAX_EXHAUSTIVE_SIZE - MAX_EXHAUSTIVE_SIZE // 2)  # subsets of half the elements

# scratch space: subsets of either half, and of `sorted_halves`, [4, MAX_HALVES + LANES], the last
# places of which are never chosen
Halves: TypeAlias = tuple[Lists, Floats]


def no_halves() -> Halves:
    """Scratch space for `full`, of one thread; what compiled code makes takes long to compile."""
    return no_lists(), np.empty((4, MAX_HALVES + LANES), np.float32)


@inner
def list_halves(x: Floats, p: Floats, half: np.int64, cap: np.float32, out: Lists) -> int:
    """List the subsets of the first (`half` 0) or last (1) elements that cost at most `cap`.

    They stand in place `half` of `out`, by ascending mask; returns how many there are.
    """
    sums, costs, masks = out[0][half], out[1][half], out[2][half]
    sums[0] = np.float32(0)
    costs[0] = np.float32(0)
    masks[0] = np.uint32(0)
    count = 1
    middle = len(x) // 2
    for s in range(half * middle, len(x) if half else middle):
        if p[s] > cap:
            continue
        bit = np.uint32(1) << np.uint32(s)
        for i in range(count):
            cost = costs[i] + p[s]
            sums[count] = sums[i] + x[s]
            costs[count] = cost
            masks[count] = masks[i] | bit
            count += cost <= cap
    return count


@inlined
def best_of_pruned(
    x: Floats, z: np.float32, a: np.float32, p: Floats, cap: np.float32, scratch: Halves
) -> tuple[np.uint32, np.float32]:
    """Mask and error of the lowest objective of up to MAX_EXHAUSTIVE_SIZE elements.

    `cap` is `upper_bound` of the problem.
    """
    (sums, costs, masks, _, _), space = scratch
    lows = list_halves(x, p, np.int64(0), cap, scratch[0])
    highs = list_halves(x, p, np.int64(1), cap, scratch[0])
    free = lows * highs == 1 << len(x) and costs[0, lows - 1] + costs[1, highs - 1] == 0
    if free and len(x) >= SORTED:
        return closest(x, z, a, sums, space)
    best = INFINITE
    place = 0
    for h in range(highs):
        cost = costs[1, h]
        if bits_of(cost) < best:
            found = least(z - sums[1, h], a, cost, sums[0], costs[0], lows)
            if found < best:
                best = found
                place = h
    rest = z - sums[1, place]
    for i in range(lows):
        error = rest - sums[0, i]
        if bits_of(a * (error * error) + (costs[1, place] + costs[0, i])) == best:
            return masks[1, place] | masks[0, i], error
    return np.uint32(0), z


@inlined
def full(
    x: Floats, z: np.float32, a: np.float32, p: Floats, limit: int, scratch: Halves
) -> tuple[np.uint32, np.float32]:
    """Mask and error of the lowest objective a · error² + Σ p; the lowest mask if several tie.

    Of at most `limit` elements where there are more than MAX_EXHAUSTIVE_SIZE. LANES numbers stand
    behind the last ones of x and p.
    """
    if len(x) <= ALL_PAIRS:
        return best_of_all(x, z, a, p, scratch[0][0], scratch[0][1])
    cap = upper_bound(x, z, a, p)
    if len(x) <= MAX_EXHAUSTIVE_SIZE:
        return best_of_pruned(x, z, a, p, cap, scratch)
    return best_by_size(x, z, a, p, cap, limit, scratch[0])
