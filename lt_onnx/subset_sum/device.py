"""Where the kernels run: Numba on the CPU, Triton on a CUDA GPU."""

import ctypes
import sys
from functools import cache
from typing import Protocol

import numpy as np

from lt_onnx.options import Device
from lt_onnx.subset_sum.problem import DeviceError, Drawn, Floats, Masks, Rows

MIN_TRITON = (3, 3)  # the first whose kernels take named tuples


class Kernels(Protocol):
    """What every device offers; masks and residuals come back, bit for bit the same.

    `limit` is the size of the largest subsets that compete; shapes are those of `solver`.
    """

    def solve_full(
        self, x: Floats, z: Floats, *, weight: Floats, penalty: Floats, limit: int
    ) -> tuple[Masks, Floats]:
        """A flat batch under the full objective; `penalty` may be of one row for all problems.

        Raises RangeError or ValueError for x and penalties out of range.
        """

    def solve_smallest(
        self, base: Floats | Drawn, z: Floats, *, rows: Rows, tolerance: np.float32, limit: int
    ) -> tuple[Masks, Floats]:
        """Rows of independent problems under the smallest rule. Raises RangeError as above."""

    def solve_rows(
        self, base: Floats | Drawn, z: Floats, *, rows: Rows, limit: int
    ) -> tuple[Masks, Floats]:
        """Rows under the full objective, with error feedback where `rows.upper` is given."""


def resolve(device: Device | str) -> Device:
    """The device that will really be used. Raises DeviceError when `cuda` cannot be had."""
    wanted = Device(device)
    if wanted is Device.CPU:
        return wanted
    missing = _missing()
    if not missing:
        return Device.CUDA
    if wanted is Device.CUDA:
        raise DeviceError(f"no GPU can be used: {missing}; use `device=cpu`")
    return Device.CPU


def kernels(device: Device | str) -> Kernels:
    """The kernels of a device."""
    return _loaded(resolve(device))


@cache
def _loaded(device: Device) -> Kernels:
    if device is Device.CUDA:
        from lt_onnx.subset_sum.gpu import Gpu

        return Gpu("cuda")
    from lt_onnx.subset_sum import cpu

    return cpu


def _missing() -> str:
    """What stands in the way of a GPU, or nothing."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return "there is no NVIDIA driver"  # asked first: torch takes its time to say so
    try:
        import torch
        import triton
    except ImportError as error:
        return f"{error.name} is not installed: pip install 'lt-onnx[gpu]'"
    if tuple(int(part) for part in triton.__version__.split(".")[:2]) < MIN_TRITON:
        return f"triton {triton.__version__} is older than {'.'.join(map(str, MIN_TRITON))}"
    return "" if torch.cuda.is_available() else "torch finds no CUDA device"
