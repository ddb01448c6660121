"""Error feedback: what problems of a row leave over is passed on to those still to come."""

from typing import Any

from numba import types

from lt_onnx.subset_sum.lanes import LANES, NUMBERS, code, compiled, data, inlined, pointer, spread
from lt_onnx.subset_sum.problem import Floats

WIDE = 4 * LANES  # numbers that stay in registers while many errors are passed on to them


def _passing_on(width: int) -> Any:
    """A function that passes errors on to so many numbers."""

    @compiled
    def onto(
        _: Any, rest: Any, at: Any, first: Any, share: Any, upper: Any, start: Any, stop: Any
    ) -> Any:
        """rest[i] −= share[t − start] · upper[t, i] for t in start … stop − 1, t by t.

        Of i in `at` … at + width − 1, but for those below `first`.
        """

        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            rest, at, first, share, upper, start, stop = arguments
            kinds = signature.args
            shares, _ = data(context, builder, kinds[3], share)
            _, length = data(context, builder, kinds[4], upper)
            numbers = [builder.add(at, at.type(i)) for i in range(0, width, LANES)]
            places = [pointer(context, builder, kinds[0], rest, number) for number in numbers]
            sums = [
                code.alloca_once_value(builder, builder.load(place, align=4)) for place in places
            ]
            with code.for_range_slice(builder, start, stop, start.type(1)) as (t, _):
                part = builder.load(builder.gep(shares, [builder.sub(t, start)]))
                with builder.if_then(builder.fcmp_unordered("!=", part, part.type(0))):
                    part, row = spread(builder, part), builder.mul(t, length)
                    for number, total in zip(numbers, sums, strict=True):
                        place = builder.add(row, number)
                        factor = pointer(context, builder, kinds[4], upper, place)
                        passed = builder.fmul(part, builder.load(factor, align=4))
                        builder.store(builder.fsub(builder.load(total), passed), total)
            for number, place, total in zip(numbers, places, sums, strict=True):
                below = spread(builder, builder.sub(first, number))
                kept = builder.icmp_signed("<", NUMBERS, below)
                whole = builder.select(kept, builder.load(place, align=4), builder.load(total))
                builder.store(whole, place, align=4)
            return context.get_dummy_value()

        place = types.intp
        return types.void(rest, place, place, share, upper, place, place), generate

    return onto


_onto_lanes, _onto_wide = _passing_on(LANES), _passing_on(WIDE)


@inlined
def pass_on(rest: Floats, share: Floats, upper: Floats, start: int, stop: int, first: int) -> None:
    """rest[i] −= share[t − start] · upper[t, i] for i ≥ `first` and t in start … stop − 1, t by t.

    In whole vectors from the end on, the last of which may reach below `first`.
    """
    end = len(rest)
    while end > first and end >= WIDE:
        end -= WIDE
        _onto_wide(rest, end, first, share, upper, start, stop)
    while end > first and end >= LANES:
        end -= LANES
        _onto_lanes(rest, end, first, share, upper, start, stop)
    for t in range(start, stop):
        if share[t - start] != 0:
            for i in range(first, end):
                rest[i] -= share[t - start] * upper[t, i]
