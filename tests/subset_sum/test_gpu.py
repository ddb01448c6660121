"""The Triton kernels against the CPU's, to the bit: interpreted, or on a GPU where there is one."""

import os
import re
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from paths import long_but

REAL = torch.cuda.is_available()
if not REAL:
    os.environ["TRITON_INTERPRET"] = "1"  # read when kernels are declared

pytest.importorskip("triton", reason="triton is not installed")
from lt_onnx.subset_sum import Device, DeviceError, Drawn, Rows, cpu, resolve, size_limit, solve  # noqa: E402
from lt_onnx.subset_sum.gpu import Gpu  # noqa: E402

GPU = Gpu("cuda" if REAL else "cpu")


def same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def both(kernel: str, *arguments: Any, **keys: Any) -> list[tuple[np.ndarray, ...]]:
    """What the GPU and the CPU answer."""
    return [getattr(on, kernel)(*arguments, **keys) for on in (GPU, cpu)]


def limit_of(m: int) -> int:
    """What the interpreter can walk in a second: beyond 13 elements only small subsets."""
    if REAL or m <= 13:
        return size_limit(m)
    return 3 if m <= 24 else 2


def batch(m: int, count: int) -> tuple[np.ndarray, ...]:
    """Random problems; the first ones on a coarse grid, for ties."""
    rng = np.random.default_rng(m)
    x = rng.uniform(-1, 1, (count, m)).astype(np.float32)
    z = rng.uniform(-1.5, 1.5, count).astype(np.float32)
    x[: count // 4] = np.round(x[: count // 4] * 4) / 4
    z[: count // 4] = np.round(z[: count // 4] * 4) / 4
    a = rng.uniform(0.1, 2, count).astype(np.float32)
    p = rng.uniform(0, 0.02, (count, m)).astype(np.float32)
    return x, z, a, p


def shared(n: int, m: int, fed: bool, group: list[int]) -> Rows:
    """Problems with absent members, prices, and an order of their own in each group."""
    rng, groups = np.random.default_rng(n), max(group) + 1
    samples = rng.standard_normal((groups, 4 * n, n))
    upper = np.linalg.cholesky(np.linalg.inv(samples.swapaxes(1, 2) @ samples / (4 * n)))
    index = np.stack([rng.permutation(n * m).reshape(n, m) for _ in range(groups)]).astype(np.int32)
    index[rng.random(index.shape) < 0.1] = -1
    gain = np.where(index >= 0, rng.uniform(0.5, 1, index.shape), 0).astype(np.float32)
    return Rows(
        index,
        gain,
        rng.uniform(0.5, 2, (groups, n)).astype(np.float32),
        (gain * 0.01).astype(np.float32),
        np.full((groups, n), 1e-4, np.float32),
        np.stack([rng.permutation(n) for _ in range(groups)]),
        np.ascontiguousarray(upper.swapaxes(1, 2), np.float32) if fed else None,
        np.array(group),
    )


@pytest.mark.parametrize("m", long_but([1, 2, 4, 7, 13, 32], [1, 2, 3, 4, 7, 10, 12, 13, 21, 32]))
def test_flat_batches_are_equal(m: int) -> None:
    x, z, a, p = batch(m, 12)
    limit = limit_of(m)
    alone = Rows.plain(np.arange(m, dtype=np.int32)[None, None], np.ones((1, 1, m), np.float32))

    same(*both("solve_full", x, z, weight=a, penalty=p, limit=limit))
    for tolerance in (np.float32(0.1), np.float32(1e-6)):
        keys = {"rows": alone, "tolerance": tolerance, "limit": limit}
        same(*both("solve_smallest", x, z[:, None], **keys))


SIZES = ((5, 3, 2), (80, 4, 2), (6, 10, 3), (3, 21, 2))  # members of a row, m, rows
ROWS = [(size, fed, drawn) for size in SIZES for fed in (True, False) for drawn in (True, False)]
BRIEF = [row for row in ROWS if row[0][0] < 80] + [((80, 4, 2), True, False)]


@pytest.mark.parametrize(("size", "fed", "drawn"), long_but(BRIEF, ROWS))
def test_rows_are_equal(size: tuple[int, int, int], fed: bool, drawn: bool) -> None:
    n, m, count = size
    rng = np.random.default_rng(0)
    rows = shared(n, m, fed, [0, 1, 1][:count])
    z = rng.uniform(-1, 1, (count, n)).astype(np.float32)
    z[0, 0] = 0
    base: np.ndarray | Drawn = rng.uniform(-1, 1, (count, n * m)).astype(np.float32)
    if drawn:
        base = Drawn(2**63 + 5, 1, np.arange(count) * 2**31 + 3, n * m)

    same(*both("solve_rows", base, z, rows=rows, limit=limit_of(m)))
    keys = {"rows": rows, "tolerance": np.float32(0.05), "limit": limit_of(m)}
    same(*both("solve_smallest", base, z, **keys))


def test_a_gpu_without_memory_gets_half_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    x, z, a, p = batch(5, 20)
    put, asked = GPU._put, []

    def small(values: np.ndarray) -> torch.Tensor:
        asked.append(len(values))
        if values.ndim == 2 and len(values) > 3:
            raise torch.OutOfMemoryError
        return put(values)

    keys = {"weight": a, "penalty": p, "limit": 5}
    monkeypatch.setattr(GPU, "_put", small)
    same(*both("solve_full", x, z, **keys))
    assert asked[0] == 20

    monkeypatch.setattr(
        GPU, "_answers", lambda count: (_ for _ in ()).throw(torch.OutOfMemoryError)
    )
    with pytest.raises(DeviceError, match="no memory"):
        GPU.solve_full(x, z, **keys)


@pytest.mark.skipif(REAL, reason="there is a GPU")
def test_cuda_without_a_gpu_is_an_error() -> None:
    assert resolve("auto") is Device.CPU
    with pytest.raises(DeviceError, match="`device=cpu`"):
        solve([[1.0]], [0.0], device="cuda")


COMPILE = """
import functools
from types import SimpleNamespace

import numpy as np
import torch
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from lt_onnx.subset_sum import Drawn, Rows, size_limit
from lt_onnx.subset_sum.gpu import Gpu

def compile_only(kernel, grid):
    def run(*arguments, **keys):
        compiled = kernel.run(*arguments, grid=grid, warmup=True, **keys)
        assert compiled.asm["cubin"]
        print("KERNEL", kernel.__name__)
        print(compiled.asm["ptx"])
    return run

JITFunction.__getitem__ = compile_only
for m, n, capability, drawn in ((15, 6, 80, True), (24, 6, 90, False), (1, 1, 80, True)):
    driver.set_active(SimpleNamespace(
        get_current_device=lambda: m,  # kernels are cached by device
        get_current_stream=lambda device: 0,
        get_current_target=lambda: GPUTarget("cuda", capability, 32),
    ))
    rng, gpu, keys = np.random.default_rng(0), Gpu("cpu"), {"limit": min(size_limit(m), 3)}
    x, z = rng.random((2, n * m), np.float32), rng.random((2, n), np.float32)
    index = np.arange(n * m, dtype=np.int32).reshape(1, n, m)
    rows = Rows.plain(index, np.ones(index.shape, np.float32))
    if drawn:
        object.__setattr__(rows, "upper", np.eye(n, dtype=np.float32)[None])
        x = Drawn(2**63 + 1, 1, np.arange(2), n * m)
    flat = rng.random((2, m), np.float32)
    gpu.solve_full(flat, z[:, 0], weight=z[:, 0], penalty=flat, **keys)
    gpu.solve_rows(x, z, rows=rows, **keys)
    gpu.solve_smallest(x, z, rows=rows, tolerance=np.float32(0.1), **keys)
"""


def test_what_the_drivers_launch_compiles_for_a_gpu_without_fused_multiply_adds() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    compiled = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True
    )

    assert compiled.returncode == 0, compiled.stderr[-2000:]
    for kernel in ("solve_full", "solve_rows", "solve_smallest"):
        assert compiled.stdout.count(f"KERNEL {kernel}\n") == 3
    assert "sm_80" in compiled.stdout
    assert "sm_90" in compiled.stdout
    assert "mul.rn.f32" in compiled.stdout or "mul.f32" in compiled.stdout
    assert not re.search(r"\bfma\.", compiled.stdout)


@pytest.mark.gpu
@pytest.mark.skipif(not REAL, reason="needs a CUDA device")
@pytest.mark.parametrize("m", range(1, 33))
def test_a_million_problems_are_equal_on_a_real_gpu(m: int) -> None:
    x, z, a, p = batch(m, 2000 if m > 20 else 40_000)
    limit = size_limit(m)
    alone = Rows.plain(np.arange(m, dtype=np.int32)[None, None], np.ones((1, 1, m), np.float32))

    same(*both("solve_full", x, z, weight=a, penalty=p, limit=limit))
    keys = {"rows": alone, "tolerance": np.float32(0.01), "limit": limit}
    same(*both("solve_smallest", x, z[:, None], **keys))
