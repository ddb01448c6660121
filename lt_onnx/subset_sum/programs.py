"""Triton kernels: the arithmetic of `reference`, for a GPU.

Must be compiled without fused multiply-adds. x and p of a problem lie in memory, where all threads
of a program read them; what several threads wrote is read behind a barrier.
"""

# mypy: ignore-errors
import triton
import triton.language as tl

WORDS = ["seed_low", "seed_high", "layer"]  # never constants: the kernels take their bits
UNSET = tl.constexpr(0x7FFFFFFF)  # later than any place in a table


@triton.jit
def _unit(place, seed_low, seed_high, layer):
    """The unit weights of flat places [int64]; see `philox`."""
    block = place // 4
    c0 = block.to(tl.uint32)
    c1 = (block >> 32).to(tl.uint32)
    c2 = tl.zeros_like(c0) + layer.to(tl.uint32)
    c3 = tl.zeros_like(c0)
    k0 = tl.zeros_like(c0) + seed_low.to(tl.uint32)
    k1 = tl.zeros_like(c0) + seed_high.to(tl.uint32)
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
def _element(base, numbers, width, seed_low, seed_high, layer, row, column, DRAWN: tl.constexpr):
    """Random weights at (row, column); columns of -1 read the first weight."""
    column = tl.maximum(column, 0).to(tl.int64)
    if DRAWN:
        return _unit(tl.load(numbers + row) * width + column, seed_low, seed_high, layer)
    return tl.load(base + row.to(tl.int64) * width + column)


@triton.jit
def _sums(values, subsets, M: tl.constexpr):
    """Sums of subsets of values [M] in memory, each in ascending order."""
    total = tl.zeros_like(subsets).to(tl.float32)
    for s in tl.static_range(M):
        total = tl.where((subsets >> s) & 1 == 1, total + tl.load(values + s), total)
    return total


@triton.jit
def _best(
    x,
    p,
    z,
    a,
    table,
    M: tl.constexpr,
    HALF: tl.constexpr,
    LOW: tl.constexpr,
    HIGH: tl.constexpr,
    STEPS: tl.constexpr,
):
    """Mask and error of the lowest objective, of x and p [M] in memory."""
    if STEPS == 0:
        return _best_in_table(x, p, z, a, table, M, HIGH)
    low = tl.arange(0, LOW)
    low_sum, low_cost = _sums(x, low, HALF), _sums(p, low, HALF)
    best = tl.full([HIGH, LOW], float("inf"), tl.float32)
    best_high = tl.zeros([HIGH, LOW], tl.int32)
    for step in range(STEPS):
        high = step * HIGH + tl.arange(0, HIGH)
        high_cost = _sums(p + HALF, high, M - HALF)
        error = (z - _sums(x + HALF, high, M - HALF))[:, None] - low_sum[None, :]
        value = a * (error * error) + (high_cost[:, None] + low_cost[None, :])
        better = value < best
        best = tl.where(better, value, best)
        best_high = tl.where(better, high[:, None], best_high)
    lowest = tl.min(tl.min(best, 1), 0)
    masks = (best_high << HALF) | low[None, :]
    mask = tl.min(tl.min(tl.where(best == lowest, masks, UNSET), 1), 0)
    mask = tl.where(lowest < float("inf"), mask, 0)
    return mask, (z - _sums(x + HALF, mask >> HALF, M - HALF)) - _sums(x, mask, HALF)


@triton.jit
def _best_in_table(x, p, z, a, table, M: tl.constexpr, TABLE: tl.constexpr):
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
def flat(
    x,
    z,
    a,
    p,
    table,
    out_mask,
    out_residual,
    M: tl.constexpr,
    HALF: tl.constexpr,
    LOW: tl.constexpr,
    HIGH: tl.constexpr,
    STEPS: tl.constexpr,
):
    """One program per problem under the full objective."""
    b = tl.program_id(0).to(tl.int64)
    mask, error = _best(
        x + b * M, p + b * M, tl.load(z + b), tl.load(a + b), table, M, HALF, LOW, HIGH, STEPS
    )
    tl.store(out_mask + b, mask)
    tl.store(out_residual + b, error)


@triton.jit(do_not_specialize=WORDS)
def fed_rows(
    base,
    numbers,
    width,
    seed_low,
    seed_high,
    layer,
    index,
    gain,
    weight,
    noise,
    price,
    order,
    upper,
    z,
    rest,
    scratch,
    table,
    out_mask,
    out_residual,
    n,
    PADDED: tl.constexpr,
    SPREAD: tl.constexpr,
    FED: tl.constexpr,
    DRAWN: tl.constexpr,
    M: tl.constexpr,
    HALF: tl.constexpr,
    LOW: tl.constexpr,
    HIGH: tl.constexpr,
    STEPS: tl.constexpr,
):
    """One program per row: its problems in order, each error passed on at once.

    `rest` [R, n] holds the targets in the order of solving, `scratch` [R, 2, PADDED] x and p.
    """
    row = tl.program_id(0)
    rest += row.to(tl.int64) * n
    z += row.to(tl.int64) * n
    out_mask += row.to(tl.int64) * n
    out_residual += row.to(tl.int64) * n
    scratch += row * 2 * PADDED
    s = tl.arange(0, PADDED)
    inside = s < M
    for t in range(n):
        k = tl.load(order + t)
        left = tl.load(rest + t)
        mask = 0
        if tl.load(z + k) != 0:
            column = tl.load(index + k * M + s, mask=inside, other=-1)
            x = _element(
                base, numbers, width, seed_low, seed_high, layer, row, column, DRAWN
            ) * tl.load(gain + k * M + s, mask=inside, other=0.0)
            p = x * x * tl.load(noise + k * M + s, mask=inside, other=0.0) + tl.load(price + k)
            tl.debug_barrier()
            tl.store(scratch + s, x)
            tl.store(scratch + PADDED + s, p)
            tl.debug_barrier()
            mask, left = _best(
                scratch,
                scratch + PADDED,
                left,
                tl.load(weight + k),
                table,
                M,
                HALF,
                LOW,
                HIGH,
                STEPS,
            )
        tl.store(out_mask + k, mask)
        tl.store(out_residual + k, left)
        if FED:
            share = tl.div_rn(left, tl.load(upper + t * n + t))
            tl.debug_barrier()
            for start in range(t + 1, n, SPREAD):
                later = start + tl.arange(0, SPREAD)
                some = later < n
                moved = tl.load(rest + later, mask=some, other=0.0)
                moved -= share * tl.load(upper + t * n + later, mask=some, other=0.0)
                tl.store(rest + later, moved, mask=some)
            tl.debug_barrier()


@triton.jit(do_not_specialize=WORDS)
def few(
    base,
    numbers,
    width,
    seed_low,
    seed_high,
    layer,
    index,
    gain,
    z,
    scratch,
    out_mask,
    out_residual,
    out_found,
    count,
    n,
    tolerance,
    M: tl.constexpr,
    LIMIT: tl.constexpr,
    LANES: tl.constexpr,
    DRAWN: tl.constexpr,
):
    """The smallest rule up to LIMIT ≤ 3 elements, one problem per lane, all lanes in step."""
    lane = tl.arange(0, LANES)
    problem = tl.program_id(0).to(tl.int64) * LANES + lane
    inside = problem < count
    row, k = problem // n, problem % n
    scratch += tl.program_id(0).to(tl.int64) * LANES * M + lane
    for s in tl.static_range(M):
        column = tl.load(index + k * M + s, mask=inside, other=-1)
        row_there = tl.where(inside, row, 0)
        x = _element(base, numbers, width, seed_low, seed_high, layer, row_there, column, DRAWN)
        # every lane reads back only what it wrote itself: no barrier is needed
        tl.store(scratch + s * LANES, x * tl.load(gain + k * M + s, mask=inside, other=0.0))
    goal = tl.load(z + problem, mask=inside, other=0.0)
    error = goal
    mask = tl.zeros([LANES], tl.int32)
    bit = tl.full([LANES], 1, tl.int32)
    found = (tl.abs(goal) <= tolerance) | (problem >= count)
    for i in range(M):
        off = goal - tl.load(scratch + i * LANES)
        hit = (found == 0) & (tl.abs(off) <= tolerance)
        mask = tl.where(hit, bit << i, mask)
        error = tl.where(hit, off, error)
        found = found | hit
    if LIMIT >= 2:
        for i in range(M - 1):
            if tl.min(found.to(tl.int32), 0) == 0:
                first = goal - tl.load(scratch + i * LANES)
                for j in range(i + 1, M):
                    off = first - tl.load(scratch + j * LANES)
                    hit = (found == 0) & (tl.abs(off) <= tolerance)
                    mask = tl.where(hit, (bit << i) | (bit << j), mask)
                    error = tl.where(hit, off, error)
                    found = found | hit
    if LIMIT >= 3:
        for i in range(M - 2):
            if tl.min(found.to(tl.int32), 0) == 0:
                first = goal - tl.load(scratch + i * LANES)
                for j in range(i + 1, M - 1):
                    second = first - tl.load(scratch + j * LANES)
                    for last in range(j + 1, M):
                        off = second - tl.load(scratch + last * LANES)
                        hit = (found == 0) & (tl.abs(off) <= tolerance)
                        mask = tl.where(hit, (bit << i) | (bit << j) | (bit << last), mask)
                        error = tl.where(hit, off, error)
                        found = found | hit
    tl.store(out_mask + problem, mask, mask=inside)
    tl.store(out_residual + problem, error, mask=inside)
    tl.store(out_found + problem, found.to(tl.int8), mask=inside)


@triton.jit(do_not_specialize=WORDS)
def many(
    base,
    numbers,
    width,
    seed_low,
    seed_high,
    layer,
    index,
    gain,
    z,
    scratch,
    problems,
    table,
    out_mask,
    out_residual,
    n,
    tolerance,
    M: tl.constexpr,
    PADDED: tl.constexpr,
    TABLE: tl.constexpr,
    DRAWN: tl.constexpr,
):
    """The smallest rule for one problem per program: all subsets of a table in order.

    The closest one, the first if several, where none is within the tolerance.
    """
    problem = tl.load(problems + tl.program_id(0))
    row, k = problem // n, problem % n
    scratch += tl.program_id(0).to(tl.int64) * PADDED
    s = tl.arange(0, PADDED)
    inside = s < M
    column = tl.load(index + k * M + s, mask=inside, other=-1)
    x = _element(base, numbers, width, seed_low, seed_high, layer, row, column, DRAWN)
    tl.store(scratch + s, x * tl.load(gain + k * M + s, mask=inside, other=0.0))
    tl.debug_barrier()
    goal = tl.load(z + problem)
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
    tl.store(out_mask + problem, mask)
    tl.store(out_residual + problem, error)
