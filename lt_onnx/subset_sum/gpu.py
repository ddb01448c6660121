"""Triton drivers: the same answers as `cpu`, from a CUDA GPU.

Random weights are drawn inside the kernels, so that nothing but targets goes to the GPU and nothing
but masks and residuals comes back. A GPU that runs out of memory is given half as many problems at
a time. With TRITON_INTERPRET=1 the kernels run on the CPU, for tests.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lt_onnx.subset_sum import programs
from lt_onnx.subset_sum.problem import EXACT, LARGEST, DeviceError, Drawn, Rows

Masks = NDArray[np.uint32]
Floats = NDArray[np.float32]

LANES = 128  # problems that one program of the smallest rule holds
TABLE = 1024  # subsets that one program looks at side by side
TILE = 4096  # the same under the full objective, up to EXACT elements
AT_ONCE = 1 << 24  # problems on the GPU at a time, memory permitting
EXACTLY = {"enable_fp_fusion": False}  # a fused multiply-add would round once where two are meant


@dataclass(frozen=True)
class _Base:
    """Random weights on the GPU, or what it takes to draw them there."""

    values: torch.Tensor  # [R, L]; empty when drawn
    numbers: torch.Tensor  # [R]
    width: int
    seed: int
    layer: int
    drawn: bool

    def arguments(self, start: int) -> tuple[Any, ...]:
        """What kernels want to know of the rows from `start` on."""
        values = self.values if self.drawn else self.values[start:]
        low, high = self.seed & 0xFFFFFFFF, self.seed >> 32
        return values, self.numbers[start:], self.width, _signed(low), _signed(high), self.layer


class Gpu:
    """The kernels on a CUDA GPU; see `device.Kernels`."""

    def __init__(self, device: str = "cuda") -> None:
        self.device = torch.device(device)
        self._tables: dict[tuple[int, int, bool], torch.Tensor] = {}

    def solve_full(
        self, x: Floats, z: Floats, a: Floats, p: Floats, limit: int
    ) -> tuple[Masks, Floats]:
        """A flat batch under the full objective."""
        m = x.shape[1]

        def some(start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
            mask, residual = self._answers(stop - start)
            programs.flat[(stop - start,)](
                *(self._put(v[start:stop]) for v in (x, z, a, p)),
                self._table(m, limit),
                mask,
                residual,
                **_tile(m),
                **EXACTLY,
            )
            return mask, residual

        return self._in_chunks(len(z), AT_ONCE, some)

    def solve_smallest(
        self, base: Floats | Drawn, z: Floats, rows: Rows, tolerance: np.float32, limit: int
    ) -> tuple[Masks, Floats]:
        """Rows of independent problems under the paper's rule."""
        n, m = rows.index.shape
        shared = [self._put(rows.index), self._put(rows.gain)]
        table = self._table(m, limit, ordered=True)
        given = self._base(base)

        def some(start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
            count = (stop - start) * n
            mask, residual = self._answers(count)
            goal = self._put(z[start:stop]).reshape(-1)
            tiles = -(-count // LANES)
            scratch = torch.empty(tiles * LANES * m, dtype=torch.float32, device=self.device)
            found = torch.empty(count, dtype=torch.int8, device=self.device)
            programs.few[(tiles,)](
                *given.arguments(start),
                *shared,
                goal,
                scratch,
                mask,
                residual,
                found,
                count,
                n,
                float(tolerance),
                M=m,
                LIMIT=min(limit, 3),
                LANES=LANES,
                DRAWN=given.drawn,
                **EXACTLY,
            )
            left = torch.nonzero(found == 0).reshape(-1)
            if len(left):
                scratch = torch.empty(len(left) * LARGEST, dtype=torch.float32, device=self.device)
                programs.many[(len(left),)](
                    *given.arguments(start),
                    *shared,
                    goal,
                    scratch,
                    left,
                    table,
                    mask,
                    residual,
                    n,
                    float(tolerance),
                    M=m,
                    PADDED=LARGEST,
                    TABLE=TABLE,
                    DRAWN=given.drawn,
                    **EXACTLY,
                )
            return mask, residual

        mask, residual = self._in_chunks(len(z), max(1, AT_ONCE // max(n, 1)), some)
        return mask.reshape(z.shape), residual.reshape(z.shape)

    def solve_rows(
        self, base: Floats | Drawn, z: Floats, rows: Rows, limit: int
    ) -> tuple[Masks, Floats]:
        """Rows under the full objective, with error feedback."""
        n, m = rows.index.shape
        fed = rows.upper is not None
        upper = np.zeros((1, 1), np.float32) if rows.upper is None else rows.upper
        shared = [
            self._put(v)
            for v in (rows.index, rows.gain, rows.weight, rows.noise, rows.price, rows.order, upper)
        ]
        given = self._base(base)

        def some(start: int, stop: int) -> tuple[torch.Tensor, torch.Tensor]:
            count = stop - start
            mask, residual = self._answers(count * n)
            goal = self._put(z[start:stop])
            rest = goal[:, shared[5]].contiguous()
            scratch = torch.empty(count * 2 * LARGEST, dtype=torch.float32, device=self.device)
            programs.fed_rows[(count,)](
                *given.arguments(start),
                *shared,
                goal,
                rest,
                scratch,
                self._table(m, limit),
                mask,
                residual,
                n,
                PADDED=LARGEST,
                SPREAD=TABLE,
                FED=fed,
                DRAWN=given.drawn,
                **_tile(m),
                **EXACTLY,
            )
            return mask, residual

        mask, residual = self._in_chunks(len(z), max(1, AT_ONCE // max(n, 1)), some)
        return mask.reshape(z.shape), residual.reshape(z.shape)

    # memory -----------------------------------------------------------------------------------

    def _in_chunks(
        self, count: int, most: int, run: Callable[[int, int], tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[Masks, Floats]:
        """Run a range piece by piece; a piece that does not fit into memory is halved."""
        masks, residuals = [np.zeros(0, np.uint32)], [np.zeros(0, np.float32)]
        start, step = 0, most
        while start < count:
            stop = min(start + step, count)
            try:
                mask, residual = run(start, stop)
                masks.append(mask.cpu().numpy().view(np.uint32))
                residuals.append(residual.cpu().numpy())
            except torch.OutOfMemoryError:
                if stop - start == 1:
                    raise DeviceError(
                        "the GPU has no memory for a single row of problems; use `device=cpu`"
                    ) from None
                step = (stop - start) // 2
                torch.cuda.empty_cache()
                continue
            start = stop
        return np.concatenate(masks), np.concatenate(residuals)

    def _answers(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        return (
            torch.empty(count, dtype=torch.int32, device=self.device),
            torch.empty(count, dtype=torch.float32, device=self.device),
        )

    def _put(self, values: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.device)

    def _base(self, base: Floats | Drawn) -> _Base:
        if isinstance(base, Drawn):
            none = torch.empty(0, dtype=torch.float32, device=self.device)
            return _Base(none, self._put(base.numbers), base.width, base.seed, base.layer, True)
        numbers = torch.empty(len(base), dtype=torch.int64, device=self.device)
        return _Base(self._put(base), numbers, base.shape[1], 0, 0, False)

    def _table(self, m: int, limit: int, ordered: bool = False) -> torch.Tensor:
        """A table for the kernels: its length, then masks, filled up to whole steps with the last.

        All masks of at most `limit` elements: `ordered` by (size, lexicographic), else ascending,
        where nothing but empty ones are needed up to EXACT. A mask that is met again is later in
        order, so that it never wins.
        """
        key = (m, limit, ordered)
        if key not in self._tables:
            masks = np.zeros(1, np.uint32)
            if ordered or m > EXACT:
                masks = _lexicographic(m, limit) if ordered else _masks(m, limit)
            filled = np.pad(masks, (0, -len(masks) % TABLE), mode="edge")
            length = np.array([len(masks)], np.uint32)
            self._tables[key] = self._put(np.concatenate([length, filled]).view(np.int32))
        return self._tables[key]


def _masks(m: int, limit: int) -> NDArray[np.uint32]:
    """All masks of m bits with at most `limit` of them set, ascending."""
    masks = np.zeros(1, np.uint32)
    for s in range(m):
        more = masks[np.bitwise_count(masks) < limit] | np.uint32(1 << s)
        masks = np.concatenate([masks, more])
    return masks


def _lexicographic(m: int, limit: int) -> NDArray[np.uint32]:
    """The same by size, and by elements within a size."""
    masks = _masks(m, limit)
    key = np.zeros(len(masks), np.uint32)
    for s in range(m):
        key |= ((masks >> np.uint32(s)) & np.uint32(1)) << np.uint32(m - 1 - s)
    return masks[np.lexsort((~key, np.bitwise_count(masks)))]


def _tile(m: int) -> dict[str, int]:
    """How one program holds the subsets of m elements under the full objective."""
    if m > EXACT:
        return {"M": m, "HALF": 0, "LOW": 1, "HIGH": TABLE, "STEPS": 0}
    low, high = 1 << m // 2, 1 << m - m // 2
    side = min(high, max(1, TILE // low))
    return {"M": m, "HALF": m // 2, "LOW": low, "HIGH": side, "STEPS": high // side}


def _signed(word: int) -> int:
    """A 32-bit word as the signed number that kernels are given."""
    return word - (1 << 32) if word >> 31 else word
