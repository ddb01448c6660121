"""The first solution on a machine: kernels are compiled once, and kept by Numba from then on.

Comes in: nothing. Goes out: kernels compiled while other work is done, and whether they were.
"""

import os
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from lt_onnx.source.layer import SourceLayer, draw_at, draw_rows
from lt_onnx.subset_sum import cpu
from lt_onnx.subset_sum.problem import Drawn, Rows, Rule
from lt_onnx.subset_sum.solver import solve_rows


def is_compiled() -> bool:
    """Whether the kernels were compiled before, and are where Numba keeps them."""
    kept = cpu.slowest.stats.cache_path
    return kept is not None and any(Path(kept).glob(f"{Path(cpu.__file__).stem}.*.nbi"))


@cache
def compile_ahead() -> None:
    """Begin to compile, or to load, the kernels of every conversion, in a thread of its own.

    Whoever needs one of them before that waits for it. Triton's interpreter, which is of one thread
    alone, compiles nothing.
    """
    if "TRITON_INTERPRET" not in os.environ:
        threading.Thread(target=_use_all, name="compile").start()


def _use_all() -> None:
    """Solve the smallest problems there are."""
    with suppress(Exception):  # which whoever needs a kernel will meet again
        x, places = np.ones((1, 2), np.float32), np.zeros((1, 1, 2), np.int32)
        rows = Rows.plain(places, np.ones((1, 1, 2), np.float32))
        drawn, z = Drawn(0, 0, np.zeros(1, np.int64), 2), np.ones((1, 1), np.float32)
        masks, _ = solve_rows(drawn, z, rows=rows, rule=Rule.NOISE, tolerance=0.0)
        at, own = np.zeros(1, np.int64), (rows.index, rows.groups(1))
        cpu.write_masked(x, at, drawn=drawn, masks=masks, rows=own)
        layer = SourceLayer("", 0, (1, 2))
        draw_rows(0, layer, start=0, stop=1)
        draw_at(0, layer, rows=at, columns=at)
