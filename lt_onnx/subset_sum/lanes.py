"""Sixteen numbers at a time, on vectors of any width: one of AVX-512, two of AVX2, four of NEON.

LLVM is told what to do with vectors, since it does not find the bits of sixteen comparisons, a few
instructions, in a loop that makes one after another. Arrays are contiguous float32 with LANES
numbers behind the last one that counts.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

LANES = 16

Function = TypeVar("Function", bound=Callable[..., Any])

# nothing is called from C, and what that takes is long to compile; Numba's types lack the option
_OPTIONS: Any = {"no_cfunc_wrapper": True}
_compiled: Any = intrinsic  # whose first argument calls leave out

_FLOATS = ir.VectorType(ir.FloatType(), LANES)
_WORDS = ir.VectorType(ir.IntType(32), LANES)


def kernel(function: Function) -> Function:
    """Compiled for Python to call, and kept by Numba."""
    compiled: Function = numba.njit(cache=True, nogil=True, **_OPTIONS)(function)
    return compiled


def inner(function: Function) -> Function:
    """Compiled for kernels to call, and kept with them."""
    compiled: Function = numba.njit(**_OPTIONS)(function)
    return compiled


def inlined(function: Function) -> Function:
    """As `inner`, in what calls it alone: some are compiled in a third less time so."""
    compiled: Any = numba.njit(inline="always")(function)
    return cast(Function, compiled)


@_compiled
def within(_: Any, values: Any, start: Any, rest: Any, reach: Any) -> Any:
    """Bit i of a uint32 is set where |rest − values[start + i]| ≤ reach."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, place, rest, reach = arguments
        numbers = builder.load(pointer(context, builder, signature.args[0], array, place), align=4)
        bits = builder.bitcast(builder.fsub(spread(builder, rest), numbers), _WORDS)
        error = builder.and_(bits, ir.Constant(_WORDS, [0x7FFFFFFF] * LANES))
        close = builder.fcmp_ordered("<=", builder.bitcast(error, _FLOATS), spread(builder, reach))
        return builder.zext(builder.bitcast(close, ir.IntType(LANES)), ir.IntType(32))

    return types.uint32(values, types.intp, types.float32, types.float32), generate


@_compiled
def add(_: Any, values: Any, to: Any, start: Any, number: Any) -> Any:
    """values[to + i] = values[start + i] + number, of LANES numbers that are read first."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, to, start, number = arguments
        kind = signature.args[0]
        numbers = builder.load(pointer(context, builder, kind, array, start), align=4)
        total = builder.fadd(numbers, spread(builder, number))
        builder.store(total, pointer(context, builder, kind, array, to), align=4)
        return context.get_dummy_value()

    return types.void(values, types.intp, types.intp, types.float32), generate


@_compiled
def lowest(_: Any, bits: Any) -> Any:
    """The number of the lowest bit that is set in a uint32 other than 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))
        return builder.zext(place, ir.IntType(64))

    return types.int64(types.uint32), generate


def pointer(context: Any, builder: Any, kind: Any, array: Any, start: Any) -> Any:
    """A pointer to LANES numbers of an array."""
    first = builder.gep(context.make_array(kind)(context, builder, array).data, [start])
    return builder.bitcast(first, _FLOATS.as_pointer())


def spread(builder: Any, number: Any) -> Any:
    """LANES times the same number."""
    none, zero = ir.Constant(_FLOATS, ir.Undefined), ir.Constant(ir.IntType(32), 0)
    one = builder.insert_element(none, number, zero)
    return builder.shuffle_vector(one, none, ir.Constant(_WORDS, [0] * LANES))
