"""The objective of one problem, in bits, and what is certain to be above its least.

Values are ≥ 0, and such floats are ordered like their bit patterns: minima are taken over integers.
Arrays are those of `lanes`.
"""

from typing import Any

import numpy as np
from numba import types

from lt_onnx.subset_sum.lanes import (
    LANES,
    NUMBERS,
    WORDS,
    all_of,
    code,
    compiled,
    inner,
    lower,
    lowest_of,
    pointer,
    spread,
)
from lt_onnx.subset_sum.problem import Floats

INFINITE = np.int32(0x7F800000)  # the bits of float32 infinity


@inner
def bits_of(value: np.float32) -> np.int32:
    """The bit pattern of a float32."""
    return np.float32(value).view(np.int32)


@inner
def float_of(bits: np.int32) -> np.float32:
    """The float32 of a bit pattern."""
    return np.int32(bits).view(np.float32)


@compiled
def least(_: Any, z: Any, a: Any, cost: Any, sums: Any, costs: Any, count: Any) -> Any:
    """Bits of the least objective when one of sums[:count] is added to a subset of that cost."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        z, a, cost = (spread(builder, number) for number in arguments[:3])
        sums, costs, count = arguments[3:]
        best = code.alloca_once_value(builder, all_of(INFINITE))

        def compare(start: Any, counts: Any = None) -> None:
            places = [
                pointer(context, builder, kind, array, start)
                for kind, array in zip(signature.args[3:5], (sums, costs), strict=True)
            ]
            bits = objectives(builder, z, a, cost, *places)
            if counts is not None:
                bits = builder.select(counts, bits, all_of(INFINITE))
            builder.store(lower(builder, bits, builder.load(best)), best)

        whole = builder.and_(count, count.type(-LANES))
        step = count.type(LANES)
        with code.for_range_slice(builder, count.type(0), whole, step) as (start, _):
            compare(start)
        left = spread(builder, builder.sub(count, whole))
        compare(whole, builder.icmp_signed("<", NUMBERS, left))
        return lowest_of(builder, builder.load(best))

    number = types.float32
    return types.int32(number, number, number, sums, costs, types.int64), generate


def objectives(builder: Any, rest: Any, a: Any, cost: Any, sums: Any, costs: Any) -> Any:
    """Bits of a · (rest − sum)² + (cost + price), of LANES sums and prices in memory."""
    error = builder.fsub(rest, builder.load(sums, align=4))
    price = builder.fadd(cost, builder.load(costs, align=4))
    value = builder.fadd(builder.fmul(a, builder.fmul(error, error)), price)
    return builder.bitcast(value, WORDS)


@inner
def upper_bound(x: Floats, z: np.float32, a: np.float32, p: Floats) -> np.float32:
    """A little above the objective of the best subset of at most two elements."""
    best = bits_of(a * (z * z))
    for i in range(len(x)):
        rest = z - x[i]
        best = min(best, bits_of(a * (rest * rest) + p[i]))
        best = min(best, least(rest, a, p[i], x, p, i))
    # the same subset is summed in another order elsewhere
    return above(float_of(best), a, np.float32(1e-6) * reach(x, z))


@inner
def reach(x: Floats, z: np.float32) -> np.float32:
    """|z| + Σ |x|: no sum is larger, and rounding is a share of it."""
    total = abs(z)
    for i in range(len(x)):
        total += abs(x[i])
    return total


@inner
def above(value: np.float32, a: np.float32, slack: np.float32) -> np.float32:
    """What an objective of `value` is at most if its error were larger by `slack`."""
    margin = slack * (a * slack + np.float32(2) * np.sqrt(a * value))
    more: np.float32 = value * np.float32(1.00001) + margin
    return more
