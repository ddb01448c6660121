"""The Triton kernels against the CPU's, to the bit: interpreted, or on a GPU where there is one."""

import os
import re
import subprocess
import sys

import numpy as np
import pytest
import torch

REAL = torch.cuda.is_available()
if not REAL:
    os.environ["TRITON_INTERPRET"] = "1"  # read when kernels are declared

pytest.importorskip("triton", reason="triton is not installed")
from lt_onnx.subset_sum import Device, DeviceError, Drawn, Rows, resolve, size_limit, solve  # noqa: E402
from lt_onnx.subset_sum.cpu import Cpu  # noqa: E402
from lt_onnx.subset_sum.gpu import Gpu  # noqa: E402

GPU, CPU = Gpu("cuda" if REAL else "cpu"), Cpu()


def same(one: tuple[np.ndarray, ...], other: tuple[np.ndarray, ...]) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


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


def shared(n: int, m: int, fed: bool) -> Rows:
    """Problems with absent members, prices, and an order of their own."""
    rng = np.random.default_rng(n)
    samples = rng.standard_normal((4 * n, n))
    upper = np.linalg.cholesky(np.linalg.inv(samples.T @ samples / (4 * n))).T
    index = rng.permutation(n * m).reshape(n, m).astype(np.int32)
    index[rng.random((n, m)) < 0.1] = -1
    gain = np.where(index >= 0, rng.uniform(0.5, 1, (n, m)), 0).astype(np.float32)
    return Rows(
        index,
        gain,
        rng.uniform(0.5, 2, n).astype(np.float32),
        (gain * 0.01).astype(np.float32),
        np.full(n, 1e-4, np.float32),
        rng.permutation(n),
        np.ascontiguousarray(upper, np.float32) if fed else None,
    )


@pytest.mark.parametrize("m", [1, 2, 3, 4, 7, 10, 12, 13, 21, 32])
def test_flat_batches_are_equal(m: int) -> None:
    x, z, a, p = batch(m, 12)
    limit = limit_of(m)
    alone = Rows.plain(np.arange(m, dtype=np.int32)[None], np.ones((1, m), np.float32))

    same(GPU.solve_full(x, z, a, p, limit), CPU.solve_full(x, z, a, p, limit))
    for tolerance in (np.float32(0.1), np.float32(1e-6)):
        same(
            GPU.solve_smallest(x, z[:, None], alone, tolerance, limit),
            CPU.solve_smallest(x, z[:, None], alone, tolerance, limit),
        )


@pytest.mark.parametrize(("n", "m", "count"), [(5, 3, 2), (80, 4, 2), (6, 10, 3), (3, 21, 2)])
@pytest.mark.parametrize("fed", [True, False])
@pytest.mark.parametrize("drawn", [True, False])
def test_rows_are_equal(n: int, m: int, count: int, fed: bool, drawn: bool) -> None:
    rng = np.random.default_rng(0)
    rows = shared(n, m, fed)
    z = rng.uniform(-1, 1, (count, n)).astype(np.float32)
    z[0, 0] = 0
    base: np.ndarray | Drawn = rng.uniform(-1, 1, (count, n * m)).astype(np.float32)
    if drawn:
        base = Drawn(2**63 + 5, 1, np.arange(count) * 2**31 + 3, n * m)

    same(GPU.solve_rows(base, z, rows, limit_of(m)), CPU.solve_rows(base, z, rows, limit_of(m)))
    within = np.float32(0.05)
    same(
        GPU.solve_smallest(base, z, rows, within, limit_of(m)),
        CPU.solve_smallest(base, z, rows, within, limit_of(m)),
    )


def test_a_gpu_without_memory_gets_half_as_much(monkeypatch: pytest.MonkeyPatch) -> None:
    x, z, a, p = batch(5, 20)
    put, asked = GPU._put, []

    def small(values: np.ndarray) -> torch.Tensor:
        asked.append(len(values))
        if values.ndim == 2 and len(values) > 3:
            raise torch.OutOfMemoryError
        return put(values)

    expected = CPU.solve_full(x, z, a, p, 5)
    monkeypatch.setattr(GPU, "_put", small)
    same(GPU.solve_full(x, z, a, p, 5), expected)
    assert asked[0] == 20

    monkeypatch.setattr(
        GPU, "_answers", lambda count: (_ for _ in ()).throw(torch.OutOfMemoryError)
    )
    with pytest.raises(DeviceError, match="no memory"):
        GPU.solve_full(x, z, a, p, 5)


@pytest.mark.skipif(REAL, reason="there is a GPU")
def test_cuda_without_a_gpu_is_an_error() -> None:
    assert resolve("auto") is Device.CPU
    with pytest.raises(DeviceError, match="`device=cpu`"):
        solve([[1.0]], [0.0], device="cuda")


COMPILE = """
import sys, triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from lt_onnx.subset_sum import programs
from lt_onnx.subset_sum.gpu import LANES, TABLE, _tile

f, i, l = "*fp32", "*i32", "*i64"
base = dict(base=f, numbers=l, width="i64", seed_low="i32", seed_high="i32", layer="i32", index=i,
            gain=f, z=f, scratch=f, table=i, out_mask=i, out_residual=f, n="i32")
for m in (15, 24):
    for kernel, types, constants in (
        (programs.flat, dict(base, x=f, a=f, p=f), _tile(m)),
        (programs.fed_rows,
         dict(base, weight=f, noise=f, price=f, order=l, upper=f, rest=f),
         dict(PADDED=32, SPREAD=TABLE, FED=True, DRAWN=True, **_tile(m))),
        (programs.few, dict(base, out_found="*i8", count="i32", tolerance="fp32"),
         dict(M=m, LIMIT=3, LANES=LANES, DRAWN=True)),
        (programs.many, dict(base, problems=l, tolerance="fp32"),
         dict(M=m, PADDED=32, TABLE=TABLE, DRAWN=True)),
    ):
        known = dict(types, **{name: "constexpr" for name in constants})
        signature = {name: known[name] for name in kernel.arg_names}
        source = ASTSource(fn=kernel, signature=signature, constexprs=constants)
        target = GPUTarget("cuda", 90, 32)
        made = triton.compile(source, target=target, options={"enable_fp_fusion": False})
        print("KERNEL", kernel.__name__, m)
        print(made.asm["ptx"])
"""


def test_the_kernels_compile_for_a_gpu_without_fused_multiply_adds() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"}
    made = subprocess.run(
        [sys.executable, "-c", COMPILE], env=environment, capture_output=True, text=True
    )

    assert made.returncode == 0, made.stderr[-2000:]
    assert made.stdout.count("KERNEL") == 8
    assert "mul.rn.f32" in made.stdout or "mul.f32" in made.stdout
    assert not re.search(r"\bfma\.", made.stdout)


@pytest.mark.gpu
@pytest.mark.skipif(not REAL, reason="needs a CUDA device")
@pytest.mark.parametrize("m", range(1, 33))
def test_a_million_problems_are_equal_on_a_real_gpu(m: int) -> None:
    x, z, a, p = batch(m, 2000 if m > 20 else 40_000)
    limit = size_limit(m)
    alone = Rows.plain(np.arange(m, dtype=np.int32)[None], np.ones((1, m), np.float32))

    same(GPU.solve_full(x, z, a, p, limit), CPU.solve_full(x, z, a, p, limit))
    within = np.float32(0.01)
    same(
        GPU.solve_smallest(x, z[:, None], alone, within, limit),
        CPU.solve_smallest(x, z[:, None], alone, within, limit),
    )
