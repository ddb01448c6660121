"""What the machine is, and the most that it could do; `bench.py` sets the solver's rates beside it.

To compare a sum with a target takes three instructions on a vector at least: subtract, drop the
sign, compare. Two loops say how many there can be, on all threads at once: one compares what lies
in the cache and does nothing else, the other only subtracts and drops signs, in registers. The
limit is the higher of the two. Copies are the fastest of several sizes.
"""

import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding as llvm
import numba
import numpy as np
from llvmlite import ir
from numba import types
from timing import Clock, Floats, Line

from lt_onnx.cores import share, solver_threads
from lt_onnx.subset_sum import lanes
from lt_onnx.subset_sum.lanes import FLOATS, LANES, WORDS, all_of, compiled

BLOCK, CACHED = 8, 2048  # vectors that are compared at a time, and numbers in all
STEPS = 32  # how often vectors in registers change
# vectors, the numbers that one holds and the registers there are, by what the processor has
VECTORS = {"avx512f": ("AVX-512", 16, 32), "avx2": ("AVX2", 8, 16), "neon": ("NEON", 4, 32)}
COPIED = (1 << 18, 1 << 20, 1 << 22)  # numbers, too many for the first cache


def features() -> list[str]:
    """What kernels are compiled for."""
    settings: Any = numba.config
    if settings.CPU_FEATURES is not None:
        return [f[1:] for f in settings.CPU_FEATURES.split(",") if f[:1] == "+"]
    return sorted(name for name, has in llvm.get_host_cpu_features().items() if has)


def vectors() -> tuple[str, int, int]:
    """The widest of VECTORS that kernels are compiled for; of others, four numbers in 16."""
    used = features()
    return next((v for key, v in VECTORS.items() if key in used), ("none of these", 4, 16))


# vectors of LANES numbers that three quarters of the registers hold: with fewer, an instruction
# would wait for the one before
CHAINS = vectors()[1] * vectors()[2] * 3 // 4 // LANES


@compiled
def nearest(_: Any, values: Any, start: Any, rest: Any, bound: Any) -> Any:
    """Bits of the places in which one of BLOCK vectors from `start` on is within the bound."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, start, rest, bound = arguments
        goal, least = lanes.spread(builder, rest), None
        for i in range(BLOCK):
            place = builder.add(start, ir.Constant(start.type, i * LANES))
            at = lanes.pointer(context, builder, signature.args[0], array, place)
            error = magnitude(builder, builder.fsub(goal, builder.load(at, align=4)))
            if least is not None:
                error = builder.select(builder.icmp_signed("<", error, least), error, least)
            least = error
        close = builder.fcmp_ordered(
            "<=", builder.bitcast(least, FLOATS), lanes.spread(builder, bound)
        )
        return builder.zext(builder.bitcast(close, ir.IntType(LANES)), ir.IntType(32))

    return types.uint32(values, types.intp, types.float32, types.float32), generate


@compiled
def churn(_: Any, values: Any, number: Any) -> Any:
    """CHAINS vectors become |number − vector|, STEPS times over."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, number = arguments
        goal, kind = lanes.spread(builder, number), signature.args[0]
        places = [
            lanes.pointer(context, builder, kind, array, ir.Constant(ir.IntType(64), i * LANES))
            for i in range(CHAINS)
        ]
        vectors = [builder.load(place, align=4) for place in places]
        for _ in range(STEPS):
            differences = [builder.fsub(goal, vector) for vector in vectors]
            vectors = [builder.bitcast(magnitude(builder, d), FLOATS) for d in differences]
        for vector, place in zip(vectors, places, strict=True):
            builder.store(vector, place, align=4)
        return context.get_dummy_value()

    return types.void(values, types.float32), generate


def magnitude(builder: Any, vector: Any) -> Any:
    """The bits of |vector|."""
    return builder.and_(builder.bitcast(vector, WORDS), all_of(0x7FFFFFFF))


@numba.njit(nogil=True)
def compare(values: Floats, rounds: int) -> np.uint32:
    """Compare all values with another number in every round."""
    found = np.uint32(0)
    for i in range(rounds):
        for start in range(0, len(values), BLOCK * LANES):
            found |= nearest(values, start, np.float32(i), np.float32(0.5))
    return found


@numba.njit(nogil=True)
def issue(values: Floats, rounds: int) -> None:
    """Keep the units busy that subtract and drop signs."""
    for i in range(rounds):
        churn(values, np.float32(i))


@numba.njit(nogil=True)
def chain(rounds: int, key: np.uint64) -> np.uint64:
    """Two operations in a round, each of which waits for the one before: a cycle each."""
    state = key
    for i in range(rounds):
        state = (state + np.uint64(i)) ^ key
    return state


@numba.njit(nogil=True)
def copy(source: Floats, out: Floats, rounds: int) -> None:
    """Copy numbers over and over."""
    for _ in range(rounds):
        for i in range(len(source)):
            out[i] = source[i]


def rate_of_all(work: Callable[[], object]) -> float:
    """How often in a second all threads together do the same work, each in its own time.

    The time that a thread spends on a processor: others' work makes no limit lower.
    """
    count = solver_threads()
    rates: list[float] = []

    def one(start: int, stop: int) -> None:
        for _ in range(start, stop):
            began = time.thread_time()
            work()
            rates.append(1 / (time.thread_time() - began))

    work()
    best = 0.0
    for _ in range(3 if Clock.quick else 15):
        rates.clear()
        share(count, one)
        best = max(best, sum(rates))
    return best


def room(size: int, value: float) -> Floats:
    """Numbers from the start of a cache line on, so that no vector lies across two."""
    numbers = np.full(size + LANES, value, np.float32)
    start = -numbers.ctypes.data // numbers.itemsize % LANES
    return numbers[start : start + size]


def limits() -> Line:
    """Rates that nothing on this machine exceeds, per second, and how they were found."""
    scale = 1 if Clock.quick else 30
    rounds = 4000 * scale
    compared = CACHED * rounds * rate_of_all(lambda: compare(room(CACHED, 7.25), rounds))
    changed = CHAINS * STEPS * 4 * rounds
    issued = 2 * changed * rate_of_all(lambda: issue(room(CHAINS * LANES, 1), 4 * rounds))
    cycles = 2e6 * scale * rate_of_all(lambda: chain(1_000_000 * scale, np.uint64(7)))
    return {
        "sums_G_per_s": max(compared, issued * LANES / 3) / 1e9,
        "compared_G_per_s": compared / 1e9,
        "issued_G_per_s": issued * LANES / 3 / 1e9,
        "clock_GHz": cycles / solver_threads() / 1e9,
        "copy_GB_per_s": max(copies(size) for size in COPIED) / 1e9,
    }


def copies(size: int) -> float:
    """Bytes read and written per second, where each thread copies so many numbers over and over."""
    rounds = max(1, (1 << (20 if Clock.quick else 25)) // size)

    def work() -> None:
        copy(np.ones(size, np.float32), np.empty(size, np.float32), rounds)

    return 8 * size * rounds * rate_of_all(work)


def machine() -> Line:
    """What the figures were measured on, and its limits."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((v.split(":")[1].strip() for v in lines if v.startswith("model name")), name)
    settings: Any = numba.config
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    return {
        "cpu": name,
        "compiled_for": settings.CPU_NAME or llvm.get_host_cpu_name(),
        "features": features(),
        "vectors": vectors()[0],
        "threads": solver_threads(),
        "affinity": allowed,
        **limits(),
    }
