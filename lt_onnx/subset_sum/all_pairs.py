"""The full objective for few elements: all pairs of halves, compared without a branch.

Up to ALL_PAIRS elements that takes less time than finding out which halves can be left out
(`tools/borders.py`), and always the same.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from lt_onnx.subset_sum.lanes import (
    FLOATS,
    LANES,
    NUMBERS,
    add,
    all_of,
    code,
    compiled,
    data,
    inlined,
    inner,
    lower,
    lowest_of,
    pointer,
    spread,
)
from lt_onnx.subset_sum.objective import INFINITE, objectives
from lt_onnx.subset_sum.problem import Floats

ALL_PAIRS = 11


@compiled
def _sums_of_four(_: Any, x: Any, first: Any, out: Any) -> Any:
    """out[i] = the sum of those of x[first … first + 3] whose bits are set in i, for i < LANES."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x, first, out = arguments
        values, _ = data(context, builder, signature.args[0], x)
        total = none = ir.Constant(FLOATS, [0.0] * LANES)
        for s in range(4):
            number = builder.load(builder.gep(values, [builder.add(first, first.type(s))]))
            set_bits = [i >> s & 1 for i in range(LANES)]
            has = ir.Constant(ir.VectorType(ir.IntType(1), LANES), set_bits)
            total = builder.fadd(total, builder.select(has, spread(builder, number), none))
        place = pointer(context, builder, signature.args[2], out, first.type(0))
        builder.store(total, place, align=4)
        return context.get_dummy_value()

    return types.void(x, types.int64, out), generate


@inner
def _sum_halves(x: Floats, out: Floats) -> None:
    """The sums of all subsets of the first half of x and of the last one, by ascending mask."""
    half = len(x) // 2
    for side in range(2):
        first, sums = half if side else 0, out[side]
        _sums_of_four(x, first, sums)
        for s in range(4, len(x) - half if side else half):
            for start in range(0, 1 << s, LANES):
                add(sums, (1 << s) + start, start, x[first + s])


@compiled
def _best_pair(_: Any, z: Any, a: Any, sums: Any, costs: Any, half: Any, m: Any) -> Any:
    """The mask of the least objective of all subsets of `half` elements and of the m − half others.

    The lowest mask if several tie. Places of `sums` and `costs` that are no subset's are written.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        z, a, sums, costs, half, m = arguments
        kinds, one = signature.args[2:4], half.type(1)
        lows, highs = builder.shl(one, half), builder.shl(one, builder.sub(m, half))
        a = spread(builder, a)
        high_sums, high_costs = (
            builder.gep(first, [width])
            for first, width in (
                data(context, builder, kind, array)
                for kind, array in zip(kinds, (sums, costs), strict=True)
            )
        )

        def places(start: Any) -> list[Any]:
            return [
                pointer(context, builder, kind, array, start)
                for kind, array in zip(kinds, (sums, costs), strict=True)
            ]

        there = builder.icmp_signed("<", NUMBERS, spread(builder, lows))
        for place, none in zip(places(half.type(0)), (0.0, float("inf")), strict=True):
            absent = ir.Constant(FLOATS, [none] * LANES)
            builder.store(
                builder.select(there, builder.load(place, align=4), absent), place, align=4
            )
        best = code.alloca_once_value(builder, all_of(INFINITE))
        mask = code.alloca_once_value(builder, all_of(0))
        step = half.type(LANES)
        with code.for_range_slice(builder, half.type(0), highs, one) as (h, _):
            rest = builder.fsub(z, builder.load(builder.gep(high_sums, [h])))
            cost = builder.load(builder.gep(high_costs, [h]))
            rest, cost, high = spread(builder, rest), spread(builder, cost), builder.shl(h, half)
            with code.for_range_slice(builder, half.type(0), lows, step) as (start, _):
                bits = objectives(builder, rest, a, cost, *places(start))
                before = builder.load(best)
                less = builder.icmp_signed("<", bits, before)
                builder.store(lower(builder, bits, before), best)
                own = spread(builder, builder.or_(high, start))
                builder.store(builder.select(less, own, builder.load(mask)), mask)
        found = builder.load(best)
        least = builder.icmp_signed("==", found, spread(builder, lowest_of(builder, found)))
        masks = builder.or_(builder.load(mask), NUMBERS)
        return lowest_of(builder, builder.select(least, masks, all_of(INFINITE)))

    number = types.float32
    return types.uint32(number, number, sums, costs, types.int64, types.int64), generate


@inlined
def best_of_all(
    x: Floats, z: np.float32, a: np.float32, p: Floats, sums: Floats, costs: Floats
) -> tuple[np.uint32, np.float32]:
    """Mask and error of the lowest objective of at most ALL_PAIRS elements.

    The lowest mask if several tie. Scratch space [2, 2^⌈M/2⌉ + LANES] each.
    """
    half = len(x) // 2
    _sum_halves(x, sums)
    _sum_halves(p, costs)
    mask = _best_pair(z, a, sums, costs, half, len(x))
    return mask, (z - sums[1, mask >> half]) - sums[0, mask & ((1 << half) - 1)]
