"""Triton kernels: the arithmetic of the package, for a GPU.

Must be compiled without fused multiply-adds. x and p of a problem lie in memory, where all threads
of a program read them; what several threads wrote is read behind a barrier.

Pointers and numbers come in tuples. Constants come one by one: not every Triton has constant
tuples. Under the full objective they are M elements and, up to MAX_EXHAUSTIVE_SIZE, HIGH subsets of
the second half that a program holds at a time beside all of the first half; beyond, the subsets of
a table that it holds. DRAWN: weights are drawn, not given. FED: errors are fed back.
"""

# mypy: ignore-errors
from collections import namedtuple

import triton
import triton.language as tl

from lt_onnx.options import MAX_BASE_SIZE
from lt_onnx.subset_sum.limits import MAX_EXHAUSTIVE_SIZE

UNSET = tl.constexpr(0x7FFFFFFF)  # later than any place in a table
UNROLLED = tl.constexpr(8)  # steps whose least objective is compared with the best at once
TABLE = tl.constexpr(1024)  # subsets of a table that one program looks at side by side
EXHAUSTIVE = tl.constexpr(MAX_EXHAUSTIVE_SIZE)
PADDED = tl.constexpr(MAX_BASE_SIZE)  # places in scratch memory for M elements
SPREAD = tl.constexpr(1024)  # targets that errors are passed on to at a time

# Rows of random weights: given, [R, width], or drawn by `numbers` [R] and `key` [3], the seed's low
# and high word and the layer (in memory, so that one kernel serves all); `group` [R] as in `Rows`.
Source = namedtuple("Source", "given numbers width key group")
# The fields of `Rows`; the smallest rule needs two of them.
Shared = namedtuple(
    "Shared", "index gain weight noise price order upper", defaults=[None, None, None, None, None]
)
# A flat batch under the full objective: [B, M], [B], [B], [B, M].
Flat = namedtuple("Flat", "x z a p")
# Targets z [R, n] of rows that are solved in order, `rest` in that order with all errors fed back;
# scratch [R, 2, PADDED] for x and p.
FedTargets = namedtuple("FedTargets", "z n rest scratch")
# Targets z [R, n] under the smallest rule; scratch [R, n, PADDED] for x.
Targets = namedtuple("Targets", "z n tolerance scratch")
# All that is read by a kernel that solves rows; the table is of subsets.
Problems = namedtuple("Problems", "source shared targets table")
# What is written, flat.
Answers = namedtuple("Answers", "mask residual")


@triton.jit
def _key(source):
    """The words of `Source.key`."""
    low, high, layer = tl.load(source.key), tl.load(source.key + 1), tl.load(source.key + 2)
    return low.to(tl.uint32), high.to(tl.uint32), layer.to(tl.uint32)


@triton.jit
def _unit(place, key):
    """The unit weights of flat places [int64]; see `philox`."""
    block = place // 4
    c0 = block.to(tl.uint32)
    c1 = (block >> 32).to(tl.uint32)
    c2 = tl.zeros_like(c0) + key[2]
    c3 = tl.zeros_like(c0)
    k0 = tl.zeros_like(c0) + key[0]
    k1 = tl.zeros_like(c0) + key[1]
    a = tl.full(c0.shape, 0xD2511F53, tl.uint32)
    b = tl.full(c0.shape, 0xCD9E8D57, tl.uint32)
    key_a = tl.full(c0.shape, 0x9E3779B9, tl.uint32)
    key_b = tl.full(c0.shape, 0xBB67AE85, tl.uint32)
    for _ in tl.static_range(10):
        high0, low0 = tl.umulhi(a, c0), a * c0
        high1, low1 = tl.umulhi(b, c2), b * c2
        c0 = high1 ^ c1 ^ k0
        c2 = high0 ^ c3 ^ k1
        c1 = low1
        c3 = low0
        k0 += key_a
        k1 += key_b
    lane = (place % 4).to(tl.int32)
    word = tl.where(lane < 2, tl.where(lane == 0, c0, c1), tl.where(lane == 2, c2, c3))
    return (word.to(tl.int32, bitcast=True) >> 8).to(tl.float32) * 0.00000011920928955078125


@triton.jit
def _weights(source, key, row, column, DRAWN: tl.constexpr):
    """Random weights at (row, column); columns of -1 read the first weight."""
    column = tl.maximum(column, 0).to(tl.int64)
    if DRAWN:
        return _unit(tl.load(source.numbers + row) * source.width + column, key)
    return tl.load(source.given + row.to(tl.int64) * source.width + column)


@triton.jit
def _sums(values, subsets, M: tl.constexpr):
    """Sums of subsets of values [M] in memory, each in ascending order."""
    total = tl.zeros_like(subsets).to(tl.float32)
    for s in tl.static_range(M):
        total = tl.where((subsets >> s) & 1 == 1, total + tl.load(values + s), total)
    return total


@triton.jit
def _best(element, z, a, table, M: tl.constexpr, HIGH: tl.constexpr):
    """Mask and error of the lowest objective, of `element`: x and p, [M] each, in memory."""
    x, p = element[0], element[1]
    if M > EXHAUSTIVE:
        return _best_in_table(x, p, z, a, table, M)
    HALF: tl.constexpr = M // 2
    REST: tl.constexpr = M - HALF
    STEPS: tl.constexpr = (1 << REST) // HIGH
    STRIDE: tl.constexpr = STEPS if STEPS < UNROLLED else UNROLLED
    low = tl.arange(0, 1 << HALF)
    low_sum, low_cost = _sums(x, low, HALF), _sums(p, low, HALF)
    # in a step, subsets of the second half share the elements that their sums begin with
    first = tl.arange(0, HIGH) * STEPS
    best = tl.full([HIGH, 1 << HALF], float("inf"), tl.float32)
    best_start = tl.zeros([HIGH, 1 << HALF], tl.int32)
    for start in range(0, STEPS, STRIDE):
        least = tl.full([HIGH, 1 << HALF], float("inf"), tl.float32)
        for step in tl.static_range(STRIDE):
            high = first + (start + step)
            least = tl.minimum(least, _values(element, z, a, high, low_sum, low_cost, M))
        better = least < best
        best = tl.where(better, least, best)
        best_start = tl.where(better, start, best_start)
    lowest = tl.min(tl.min(best, 1), 0)
    # the lowest mask lies in the first of the strides that have the lowest value
    found = tl.where(best == lowest, first[:, None] + best_start, UNSET)
    high = tl.min(tl.min(found, 1), 0) + tl.arange(0, STRIDE)
    value = _values(element, z, a, high, low_sum, low_cost, M)
    masks = tl.where(value == lowest, (high[:, None] << HALF) | low[None, :], UNSET)
    mask = tl.where(lowest < float("inf"), tl.min(tl.min(masks, 1), 0), 0)
    error = (z - _sums(x + HALF, mask >> HALF, REST)) - _sums(x, mask, HALF)
    return mask, error


@triton.jit
def _values(element, z, a, high, low_sum, low_cost, M: tl.constexpr):
    """The objective of all pairs [high, low] of subsets of the two halves."""
    HALF: tl.constexpr = M // 2
    high_sum = _sums(element[0] + HALF, high, M - HALF)
    high_cost = _sums(element[1] + HALF, high, M - HALF)
    error = (z - high_sum)[:, None] - low_sum[None, :]
    return a * (error * error) + (high_cost[:, None] + low_cost[None, :])


@triton.jit
def _best_in_table(x, p, z, a, table, M: tl.constexpr):
    """The same among the masks of a table, each element taken from z in ascending order.

    The table begins with its length; its masks ascend.
    """
    best = tl.full([TABLE], float("inf"), tl.float32)
    best_place = tl.zeros([TABLE], tl.int32)
    best_error = tl.zeros([TABLE], tl.float32) + z
    for start in range(0, tl.load(table), TABLE):
        place = start + tl.arange(0, TABLE)
        mask = tl.load(table + 1 + place)
        error = tl.zeros([TABLE], tl.float32) + z
        cost = tl.zeros([TABLE], tl.float32)
        for s in tl.static_range(M):
            taken = (mask >> s) & 1 == 1
            error = tl.where(taken, error - tl.load(x + s), error)
            cost = tl.where(taken, cost + tl.load(p + s), cost)
        value = a * (error * error) + cost
        better = value < best
        best = tl.where(better, value, best)
        best_place = tl.where(better, place, best_place)
        best_error = tl.where(better, error, best_error)
    lowest = tl.min(best, 0)
    place = tl.min(tl.where(best == lowest, best_place, UNSET), 0)
    # one lane alone has that place, unless the lowest is infinite and the subset empty
    error = tl.sum(tl.where((best == lowest) & (best_place == place), best_error, 0.0), 0)
    found = lowest < float("inf")
    return tl.where(found, tl.load(table + 1 + place), 0), tl.where(found, error, z)


@triton.jit
def solve_full(problems, table, answers, M: tl.constexpr, HIGH: tl.constexpr):
    """The full objective, one program per problem of a flat batch."""
    b = tl.program_id(0).to(tl.int64)
    element = (problems.x + b * M, problems.p + b * M)
    z, a = tl.load(problems.z + b), tl.load(problems.a + b)
    mask, error = _best(element, z, a, table, M, HIGH)
    tl.store(answers.mask + b, mask)
    tl.store(answers.residual + b, error)


@triton.jit
def solve_rows(
    rows, answers, M: tl.constexpr, HIGH: tl.constexpr, FED: tl.constexpr, DRAWN: tl.constexpr
):
    """The full objective, one program per row: problems in order, each error fed back at once."""
    source, shared, targets = rows.source, rows.shared, rows.targets
    row, n, key = tl.program_id(0), targets.n, _key(source)
    rest = targets.rest + row.to(tl.int64) * n
    z = targets.z + row.to(tl.int64) * n
    out_mask = answers.mask + row.to(tl.int64) * n
    out_residual = answers.residual + row.to(tl.int64) * n
    scratch = targets.scratch + row * 2 * PADDED
    s = tl.arange(0, PADDED)
    inside = s < M
    first = tl.load(source.group + row) * n  # problem of the row's group
    upper = shared.upper + first * n
    for t in range(n):
        k = tl.load(shared.order + first + t)
        left = tl.load(rest + t)
        mask = 0
        if tl.load(z + k) != 0:
            element = (first + k) * M + s
            column = tl.load(shared.index + element, mask=inside, other=-1)
            x = _weights(source, key, row, column, DRAWN)
            x = x * tl.load(shared.gain + element, mask=inside, other=0.0)
            noise = tl.load(shared.noise + element, mask=inside, other=0.0)
            p = x * x * noise + tl.load(shared.price + first + k)
            tl.debug_barrier()
            tl.store(scratch + s, x)
            tl.store(scratch + PADDED + s, p)
            tl.debug_barrier()
            p_there = scratch + PADDED
            weight = tl.load(shared.weight + first + k)
            mask, left = _best((scratch, p_there), left, weight, rows.table, M, HIGH)
        tl.store(out_mask + k, mask)
        tl.store(out_residual + k, left)
        if FED:
            share = tl.div_rn(left, tl.load(upper + t * n + t))
            tl.debug_barrier()
            for start in range(t + 1, n, SPREAD):
                later = start + tl.arange(0, SPREAD)
                inside_row = later < n
                moved = tl.load(rest + later, mask=inside_row, other=0.0)
                moved -= share * tl.load(upper + t * n + later, mask=inside_row, other=0.0)
                tl.store(rest + later, moved, mask=inside_row)
            tl.debug_barrier()


@triton.jit
def solve_smallest(rows, answers, M: tl.constexpr, DRAWN: tl.constexpr):
    """The smallest rule, one program per problem: all subsets of a table in order.

    The closest one, the first if several, where none is within the tolerance.
    """
    source, shared, targets, table = rows.source, rows.shared, rows.targets, rows.table
    n, tolerance, key = targets.n, targets.tolerance, _key(source)
    problem = tl.program_id(0).to(tl.int64)
    row = problem // n
    k = tl.load(source.group + row) * n + problem % n
    scratch = targets.scratch + problem * PADDED
    s = tl.arange(0, PADDED)
    inside = s < M
    column = tl.load(shared.index + k * M + s, mask=inside, other=-1)
    x = _weights(source, key, row, column, DRAWN)
    tl.store(scratch + s, x * tl.load(shared.gain + k * M + s, mask=inside, other=0.0))
    tl.debug_barrier()
    goal = tl.load(targets.z + problem)
    best = tl.full([TABLE], float("inf"), tl.float32)
    best_place = tl.zeros([TABLE], tl.int32)
    start = 0
    first = UNSET
    subsets = tl.load(table)
    while (start < subsets) & (first == UNSET):
        place = start + tl.arange(0, TABLE)
        mask = tl.load(table + 1 + place)
        error = tl.zeros([TABLE], tl.float32) + goal
        for e in tl.static_range(M):
            error = tl.where((mask >> e) & 1 == 1, error - tl.load(scratch + e), error)
        off = tl.abs(error)
        first = tl.min(tl.where(off <= tolerance, place, UNSET), 0)
        better = off < best
        best = tl.where(better, off, best)
        best_place = tl.where(better, place, best_place)
        start += TABLE
    closest = tl.min(tl.where(best == tl.min(best, 0), best_place, UNSET), 0)
    mask = tl.load(table + 1 + tl.where(first == UNSET, closest, first))
    error = goal
    for e in tl.static_range(M):
        error = tl.where((mask >> e) & 1 == 1, error - tl.load(scratch + e), error)
    tl.store(answers.mask + problem, mask)
    tl.store(answers.residual + problem, error)
