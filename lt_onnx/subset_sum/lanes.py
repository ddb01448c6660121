"""Sixteen numbers at a time, on vectors of any width: one of AVX-512, two of AVX2, four of NEON.

LLVM is told what to do with vectors, since it does not find the bits of sixteen comparisons, a few
instructions, in a loop that makes one after another. Arrays are contiguous float32 with LANES
numbers behind the last one that counts.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

LANES = 16

Function = TypeVar("Function", bound=Callable[..., Any])

# nothing is called from C, and what that takes is long to compile; Numba's types lack the option
_OPTIONS: Any = {"no_cfunc_wrapper": True}
compiled: Any = intrinsic  # whose first argument calls leave out
code: Any = cgutils  # whose functions have no types

WORD = ir.IntType(32)
FLOATS, WORDS = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(WORD, LANES)
NUMBERS = ir.Constant(WORDS, list(range(LANES)))  # of the lanes


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


@compiled
def within(_: Any, values: Any, start: Any, rest: Any, reach: Any) -> Any:
    """Bit i of a uint32 is set where |rest − values[start + i]| ≤ reach."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, place, rest, reach = arguments
        numbers = builder.load(pointer(context, builder, signature.args[0], array, place), align=4)
        bits = builder.bitcast(builder.fsub(spread(builder, rest), numbers), WORDS)
        error = builder.and_(bits, all_of(0x7FFFFFFF))
        close = builder.fcmp_ordered("<=", builder.bitcast(error, FLOATS), spread(builder, reach))
        return builder.zext(builder.bitcast(close, ir.IntType(LANES)), WORD)

    return types.uint32(values, types.intp, types.float32, types.float32), generate


@compiled
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


@compiled
def lowest(_: Any, bits: Any) -> Any:
    """The number of the lowest bit that is set in a uint32 other than 0."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        place = builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))
        return builder.zext(place, ir.IntType(64))

    return types.int64(types.uint32), generate


def pointer(context: Any, builder: Any, kind: Any, array: Any, start: Any) -> Any:
    """A pointer to LANES numbers of an array."""
    first = builder.gep(data(context, builder, kind, array)[0], [start])
    return builder.bitcast(first, FLOATS.as_pointer())


def spread(builder: Any, number: Any) -> Any:
    """LANES times the same float32 or int32; other integers are cut off."""
    if isinstance(number.type, ir.IntType) and number.type != WORD:
        number = builder.trunc(number, WORD)
    none = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
    one = builder.insert_element(none, number, WORD(0))
    return builder.shuffle_vector(one, none, all_of(0))


def all_of(word: int | np.int32) -> Any:
    """LANES times the same int32."""
    return ir.Constant(WORDS, [int(word)] * LANES)


def data(context: Any, builder: Any, kind: Any, array: Any) -> tuple[Any, Any]:
    """A pointer to the first number of an array, and how many are in a row."""
    made = context.make_array(kind)(context, builder, array)
    return made.data, builder.extract_value(made.shape, kind.ndim - 1)


def lower(builder: Any, one: Any, other: Any) -> Any:
    """The lower of two int32 in each lane."""
    kind = ir.FunctionType(WORDS, [WORDS, WORDS])
    least = code.get_or_insert_function(builder.module, kind, f"llvm.smin.v{LANES}i32")
    return builder.call(least, [one, other])


def lowest_of(builder: Any, words: Any) -> Any:
    """The lowest int32 of all lanes."""
    kind = ir.FunctionType(WORD, [WORDS])
    name = f"llvm.vector.reduce.smin.v{LANES}i32"
    return builder.call(code.get_or_insert_function(builder.module, kind, name), [words])
