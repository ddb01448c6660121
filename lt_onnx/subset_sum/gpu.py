"""Triton drivers: the same answers as `cpu`, from a CUDA GPU.

Random weights are drawn inside the kernels, so that nothing but targets goes to the GPU and nothing
but masks and residuals comes back. A GPU that runs out of memory is given half as many problems at
a time. With TRITON_INTERPRET=1 the kernels run on the CPU, for tests.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lt_onnx.options import MAX_BASE_SIZE
from lt_onnx.subset_sum import gpu_kernels
from lt_onnx.subset_sum.limits import MAX_EXHAUSTIVE_SIZE, check, check_sign, subsets_up_to
from lt_onnx.subset_sum.problem import DeviceError, Drawn, Floats, Masks, Rows

TABLE = gpu_kernels.TABLE.value
PAIRS = 256  # subsets that one warp looks at side by side, up to MAX_EXHAUSTIVE_SIZE elements
MAX_WARPS, BUSY = 4, 1 << 11  # of a program; as many keep a GPU busy
MAX_AT_ONCE = 1 << 22  # problems on the GPU at a time, memory permitting
PINNED = (
    1 << 24
)  # bytes that go thrice as fast by way of pinned memory; fewer do not make up for it
NO_FUSION = {"enable_fp_fusion": False}  # a fused multiply-add would round once where two are meant


class Gpu:
    """The kernels on a CUDA GPU; see `device.Kernels`."""

    def __init__(self, device: str = "cuda") -> None:
        self.device = torch.device(device)
        self._tables: dict[tuple[int, int, bool], Tensor] = {}

    def solve_full(
        self, x: Floats, z: Floats, *, weight: Floats, penalty: Floats, limit: int
    ) -> tuple[Masks, Floats]:
        """A flat batch under the full objective."""
        m, for_all = x.shape[1], len(penalty) == 1

        def run(start: int, stop: int) -> gpu_kernels.Answers:
            out = self._answers(stop - start)
            own = self._put(penalty if for_all else penalty[start:stop])
            _check(own, "penalty")
            check_sign(own.min().item(), "penalty")
            own = (own + 0).expand(stop - start, m).contiguous()  # no negative zero
            there, goals, scale = (self._put(v[start:stop]) for v in (x, z, weight))
            _check(there, "x")
            flat = gpu_kernels.Flat(there, goals, scale, own)
            table, warps = self._table(m, limit), _warps(stop - start)
            options = {"num_warps": warps, **NO_FUSION}
            gpu_kernels.solve_full[(stop - start,)](flat, table, out, m, _high(m, warps), **options)
            return out

        return self._in_chunks(z, run)

    def solve_smallest(
        self, base: Floats | Drawn, z: Floats, *, rows: Rows, tolerance: np.float32, limit: int
    ) -> tuple[Masks, Floats]:
        """Rows of independent problems under the smallest rule."""
        _, n, m = rows.index.shape
        shared = gpu_kernels.Shared(self._put(rows.index), self._put(rows.gain))
        source = self._source(base, rows)
        table = self._table(m, limit, ordered=True)
        drawn = isinstance(base, Drawn)
        if not drawn and len(z):
            _check(source.given, "x")

        def run(start: int, stop: int) -> gpu_kernels.Answers:
            count = (stop - start) * n
            out = self._answers(count)
            goals, scratch = self._put(z[start:stop]), self._scratch(count * MAX_BASE_SIZE)
            targets = gpu_kernels.Targets(goals, n, float(tolerance), scratch)
            part = gpu_kernels.Problems(_rows_from(start, source), shared, targets, table)
            gpu_kernels.solve_smallest[(count,)](part, out, m, drawn, **NO_FUSION)
            return out

        return self._in_chunks(z, run)

    def solve_rows(
        self, base: Floats | Drawn, z: Floats, *, rows: Rows, limit: int
    ) -> tuple[Masks, Floats]:
        """Rows under the full objective, with error feedback."""
        _, n, m = rows.index.shape
        upper = np.zeros((1, 1), np.float32) if rows.upper is None else rows.upper
        fields = vars(rows) | {"upper": upper}
        names = gpu_kernels.Shared._fields
        shared = gpu_kernels.Shared(**{name: self._put(fields[name]) for name in names})
        source, table = self._source(base, rows), self._table(m, limit)
        fed, drawn = rows.upper is not None, isinstance(base, Drawn)

        def run(start: int, stop: int) -> gpu_kernels.Answers:
            count = stop - start
            out = self._answers(count * n)
            goals, scratch = self._put(z[start:stop]), self._scratch(count * 2 * MAX_BASE_SIZE)
            own = _rows_from(start, source)
            rest = goals.gather(1, shared.order[own.group[:count]])
            targets = gpu_kernels.FedTargets(goals, n, rest, scratch)
            part = gpu_kernels.Problems(own, shared, targets, table)
            warps = _warps(count)
            constants = (m, _high(m, warps), fed, drawn)
            gpu_kernels.solve_rows[(count,)](part, out, *constants, num_warps=warps, **NO_FUSION)
            return out

        return self._in_chunks(z, run)

    # memory -----------------------------------------------------------------------------------

    def _in_chunks(
        self, z: Floats, run: Callable[[int, int], gpu_kernels.Answers]
    ) -> tuple[Masks, Floats]:
        """Run all rows of z piece by piece; a piece that does not fit into memory is halved."""
        mask, residual = np.empty(z.shape, np.uint32), np.empty(z.shape, np.float32)
        start, step = 0, max(1, MAX_AT_ONCE // max(1, math.prod(z.shape[1:])))
        while start < len(z):
            stop = min(start + step, len(z))
            shape = (stop - start, *z.shape[1:])
            try:
                answers = run(start, stop)
                torch.from_numpy(mask[start:stop].view(np.int32)).copy_(answers.mask.view(shape))
                torch.from_numpy(residual[start:stop]).copy_(answers.residual.view(shape))
            except torch.OutOfMemoryError:
                if stop - start == 1:
                    raise DeviceError(
                        "the GPU has no memory for a single row of problems; use `device=cpu`"
                    ) from None
                step = (stop - start) // 2
                torch.cuda.empty_cache()
                continue
            start = stop
        return mask, residual

    def _answers(self, count: int) -> gpu_kernels.Answers:
        """Space for masks and residuals."""
        masks = torch.empty(count, dtype=torch.int32, device=self.device)
        return gpu_kernels.Answers(masks, self._scratch(count))

    def _scratch(self, count: int) -> Tensor:
        return torch.empty(count, dtype=torch.float32, device=self.device)

    def _put(self, values: NDArray[Any]) -> Tensor:
        here = torch.from_numpy(np.require(values, requirements=["C", "W"]))
        if self.device.type == "cuda" and values.nbytes >= PINNED:
            here = here.pin_memory()
        return here.to(self.device, non_blocking=True)

    def _source(self, base: Floats | Drawn, rows: Rows) -> gpu_kernels.Source:
        group = torch.zeros(len(base), dtype=torch.int64, device=self.device)
        if rows.group is not None:
            group = self._put(rows.group)
        if isinstance(base, Drawn):
            key = np.array([base.seed & 0xFFFFFFFF, base.seed >> 32, base.layer], np.uint32)
            words = self._put(key.view(np.int32))
            numbers = self._put(base.numbers)
            return gpu_kernels.Source(self._scratch(0), numbers, base.width, words, group)
        unused = torch.zeros(3, dtype=torch.int32, device=self.device)
        return gpu_kernels.Source(self._put(base), unused, base.shape[1], unused, group)

    def _table(self, m: int, limit: int, *, ordered: bool = False) -> Tensor:
        """A table for the kernels: its length, then masks, filled up to whole steps with the last.

        All masks of at most `limit` elements: `ordered` by (size, lexicographic), else ascending,
        where nothing but empty ones are needed up to MAX_EXHAUSTIVE_SIZE. A mask that is met again
        is later in order, so that it never wins.
        """
        key = (m, limit, ordered)
        if key not in self._tables:
            masks = np.zeros(1, np.uint32)
            if ordered or m > MAX_EXHAUSTIVE_SIZE:
                masks = subsets_up_to(limit, m=m, by_size=ordered)
            filled = np.pad(masks, (0, -len(masks) % TABLE), mode="edge")
            length = np.array([len(masks)], np.uint32)
            self._tables[key] = self._put(np.concatenate([length, filled]).view(np.int32))
        return self._tables[key]


def _check(values: Tensor, name: str) -> None:
    """Raise RangeError where numbers on the GPU are too large, or none."""
    check(values.abs().max().item(), name)


def _rows_from(start: int, source: gpu_kernels.Source) -> gpu_kernels.Source:
    """The rows of a source from `start` on."""
    rows = {name: getattr(source, name)[start:] for name in ("given", "numbers", "group")}
    return source._replace(**rows)


def _warps(programs: int) -> int:
    """Warps of each program: one where there are many, since they wait for each other at barriers;
    more where a GPU would be idle otherwise."""
    return int(min(MAX_WARPS, 1 << max(0, (BUSY // programs).bit_length() - 1)))


def _high(m: int, warps: int) -> int:
    """How many subsets of the second half of m elements a program holds at a time."""
    half = m // 2
    return max(1, min(1 << m - half, PAIRS * warps >> half))
