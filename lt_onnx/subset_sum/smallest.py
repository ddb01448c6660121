"""The smallest rule (the paper's Algorithms 1 and 2): the fewest elements within the tolerance.

One problem after another; its subsets in order of (size, lexicographic), LANES of them at a time.

- Up to DIRECT elements: all but the last are taken from z, and what is left is compared with all
  that may be the last.
- More: what is left is compared with sums of two or three elements, listed once for a problem in
  lexicographic order, so that those that may follow an element are the end of a list. As a listed
  sum rounds otherwise, subsets within reach of the tolerance are summed anew, element by element.

Problems without any subset within the tolerance get the closest subset, the first if several: by
`meet_in_the_middle` up to MAX_EXHAUSTIVE_SIZE elements; beyond, by a walk that takes whatever is
closer than what it took last.
"""

from functools import cache
from itertools import combinations
from math import comb
from typing import TypeAlias

import numpy as np

from lt_onnx.cores import share
from lt_onnx.subset_sum.lanes import LANES, add, inner, kernel, lowest, within
from lt_onnx.subset_sum.limits import MAX_EXHAUSTIVE_SIZE
from lt_onnx.subset_sum.meet_in_the_middle import ROUNDING, Halves, left, no_halves, smallest_of_all
from lt_onnx.subset_sum.objective import bits_of, float_of
from lt_onnx.subset_sum.problem import Floats, Indices, Masks, Places

DIRECT = 3  # size of the largest subsets whose elements are taken one by one
LISTED = 3  # elements of the longest listed sums
# size of the largest subsets that are walked over, up to a base size: `tools/borders.py` says why
WALKED = {10: DIRECT, 14: 5, MAX_EXHAUSTIVE_SIZE: 6}
MIN_BATCH = 64  # problems that are worth a thread

# independent problems of rows: base [R, L], group [R], index and gain [G, N, M] as in `Rows`,
# z [R · N]; number b is problem b mod N of row b ÷ N
Batch: TypeAlias = tuple[Floats, Indices, Places, Floats, Floats]
# subsets of 1 to LISTED elements, a list each, LANES numbers apart: masks [P], and where in a list
# those begin whose first element is s or a later one, [LISTED + 1, M + 2]; it ends at s = M
Lists: TypeAlias = tuple[Masks, Indices]
# the sums of all lists [P], the first of which are the elements of a problem; and of a walk, what
# is left of z, and the chosen elements, [M + 1]
Space: TypeAlias = tuple[Floats, Floats, Indices]


@cache
def lists_of(m: int) -> Lists:
    """The lists of m elements."""
    masks: list[int] = []
    begins = np.zeros((LISTED + 1, m + 2), np.int64)
    for size in range(1, LISTED + 1):
        subsets = list(combinations(range(m), size))
        begins[size] = [len(masks) + len(subsets) - comb(max(m - s, 0), size) for s in range(m + 2)]
        masks += [sum(1 << s for s in subset) for subset in subsets] + [0] * LANES
    return np.array(masks, np.uint32), begins


@inner
def _first(sums: Floats, start: int, stop: int, rest: np.float32, reach: np.float32) -> int:
    """Where the first of sums[start:stop] within reach of `rest` is, or `stop`."""
    while start < stop:
        bits = within(sums, start, rest, reach)
        if bits:
            first: int = start + lowest(bits)
            return first
        start += LANES
    return stop


@inner
def _last(x: Floats, m: int, start: int, rest: np.float32, reach: np.float32) -> np.uint32:
    """Bit i is set where x[start + i] is within reach of `rest`; elements stay in registers."""
    bits = within(x, 0, rest, reach)
    if m > LANES:
        bits |= within(x, LANES, rest, reach) << np.uint32(LANES)
    return np.uint32(bits >> np.uint32(start))


@inner
def _few(
    x: Floats, m: int, z: np.float32, tolerance: np.float32, limit: int
) -> tuple[np.uint32, np.float32]:
    """The first subset of up to DIRECT elements within the tolerance, and its error; or none."""
    one = np.uint32(1)
    bits = _last(x, m, 0, z, tolerance)
    if bits:
        last = lowest(bits)
        return one << np.uint32(last), z - x[last]
    for i in range(m - 1 if limit > 1 else 0):
        left = z - x[i]
        bits = _last(x, m, i + 1, left, tolerance)
        if bits:
            last = i + 1 + lowest(bits)
            return one << np.uint32(i) | one << np.uint32(last), left - x[last]
    for i in range(m - 2 if limit > 2 else 0):
        rest = z - x[i]
        for j in range(i + 1, m - 1):
            left = rest - x[j]
            bits = _last(x, m, j + 1, left, tolerance)
            if bits:
                last = j + 1 + lowest(bits)
                pair = one << np.uint32(i) | one << np.uint32(j)
                return pair | one << np.uint32(last), left - x[last]
    return np.uint32(0), z


@inner
def _list(sums: Floats, begins: Indices, size: int) -> None:
    """List the sums of `size` elements, from those of one element less."""
    m = begins.shape[1] - 2
    for s in range(m):
        to = begins[size, s]
        for start in range(begins[size - 1, s + 1], begins[size - 1, m], LANES):
            add(sums, to, start, sums[s])
            to += LANES
    for i in range(begins[size, m], begins[size, m] + LANES):
        sums[i] = np.inf


@inner
def _walk(
    lists: Lists, space: Space, z: np.float32, sizes: tuple[int, int], bound: np.float32, any_: bool
) -> tuple[np.uint32, np.float32]:
    """A subset of sizes[0] … sizes[1] elements, and its error; or none.

    The first whose |error| is at most `bound`, where `any_` is enough; else the first of the
    closest of them.
    """
    masks, begins = lists
    sums, rest, chosen = space
    m = begins.shape[1] - 2
    scale = abs(z)
    for s in range(m):
        scale += abs(sums[s])
    slack = ROUNDING * scale
    best, best_error = np.uint32(0), z
    listed = 1
    for size in range(sizes[0], sizes[1] + 1):
        tail = min((size + 1) // 2, LISTED)
        while listed < tail:
            listed += 1
            _list(sums, begins, listed)
        depth, start, prefix = 0, 0, np.uint32(0)
        rest[0] = z
        while True:
            if depth == size - tail:
                at, stop = begins[tail, start], begins[tail, m]
                while at < stop:
                    at = _first(sums, at, stop, rest[depth], bound + slack)
                    if at < stop:
                        mask = prefix | masks[at]
                        error = left(sums, z, mask)
                        if abs(error) <= bound:
                            best, best_error = mask, error
                            if any_ or error == 0:
                                return best, best_error
                            bound = float_of(bits_of(abs(error)) - np.int32(1))
                        at += 1
            elif m - start >= size - depth:
                rest[depth + 1] = rest[depth] - sums[start]
                chosen[depth] = start
                prefix |= np.uint32(1) << np.uint32(start)
                depth += 1
                start += 1
                continue
            if depth == 0:
                break
            depth -= 1
            start = chosen[depth] + 1
            prefix ^= np.uint32(1) << np.uint32(chosen[depth])
    return best, best_error


@inner
def _more(
    lists: Lists,
    space: Space,
    z: np.float32,
    tolerance: np.float32,
    sizes: tuple[int, int],
    halves: Halves,
) -> tuple[np.uint32, np.float32]:
    """The smallest subset of more than DIRECT elements, or the closest one, and its error."""
    m, (walked, limit) = lists[1].shape[1] - 2, sizes
    mask, error = np.uint32(0), z
    if walked > DIRECT:
        mask, error = _walk(lists, space, z, (DIRECT + 1, walked), tolerance, True)
    if not mask and m <= MAX_EXHAUSTIVE_SIZE:
        mask, error = smallest_of_all(space[0][:m], z, tolerance, halves)
    elif not mask:
        closer = float_of(bits_of(abs(z)) - np.int32(1))  # than the empty subset
        mask, error = _walk(lists, space, z, (1, limit), closer, False)
    return mask, error


@kernel
def solve_part(
    batch: Batch,
    answers: tuple[Masks, Floats],
    part: tuple[int, int],
    tolerance: np.float32,
    sizes: tuple[int, int],
    lists: Lists,
) -> np.float32:
    """Answer the problems part[0] … part[1]-1 of a batch; returns the largest |x|, or NaN.

    `sizes` are those of the largest subsets that are walked over, and of the largest there are.
    """
    base, group, index, gain, z = batch
    mask, residual = answers
    _, n, m = index.shape
    sums = np.full(len(lists[0]), np.inf, np.float32)
    rest, chosen = np.empty(m + 1, np.float32), np.empty(m + 1, np.int64)
    space, halves = (sums, rest, chosen), no_halves()
    largest = np.int32(0)
    r, k = part[0] // n, part[0] % n
    for b in range(part[0], part[1]):
        g = group[r] if len(group) else 0
        for s in range(m):
            sums[s] = base[r, max(index[g, k, s], 0)] * gain[g, k, s]
            largest = max(largest, bits_of(abs(sums[s])))
        got, error = np.uint32(0), z[b]
        if abs(error) > tolerance:
            got, error = _few(sums, m, z[b], tolerance, sizes[1])
            if not got:
                got, error = _more(lists, space, z[b], tolerance, sizes, halves)
        mask[b], residual[b] = got, error
        k += 1
        if k == n:
            r, k = r + 1, 0
    return float_of(largest)


def smallest_of_batch(
    batch: Batch, *, tolerance: np.float32, limit: int
) -> tuple[Masks, Floats, np.float32]:
    """Masks and residuals of a batch, flat, and the largest |x|, or NaN."""
    count, m = len(batch[-1]), batch[2].shape[2]
    mask, residual = np.empty(count, np.uint32), np.empty(count, np.float32)
    sizes = walked(m, limit), limit
    met = [np.float32(0)]

    def work(start: int, stop: int) -> None:
        part = start, stop
        met.append(solve_part(batch, (mask, residual), part, tolerance, sizes, lists_of(m)))

    share(count, work, least=MIN_BATCH)
    return mask, residual, np.max(met)


def walked(m: int, limit: int) -> int:
    """Size of the largest subsets that are walked over, before halves meet where they do."""
    if m > MAX_EXHAUSTIVE_SIZE:
        return limit
    return next(size for most, size in WALKED.items() if m <= most)
