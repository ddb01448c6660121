"""The device that is asked for, or the reason why there is none."""

import ctypes
import sys
from types import SimpleNamespace

import pytest

from lt_onnx.options import Device
from lt_onnx.subset_sum import DeviceError, cpu, resolve
from lt_onnx.subset_sum.device import kernels


def test_the_cpu_can_always_be_used() -> None:
    assert resolve("cpu") is Device.CPU
    assert kernels(Device.CPU) is cpu


def pretend(
    monkeypatch: pytest.MonkeyPatch, *, driver: bool, version: str, available: bool
) -> None:
    """Another machine: with a driver or not, other libraries, a GPU or none."""
    if driver:
        monkeypatch.setattr(ctypes, "CDLL", lambda name: None)
    else:
        monkeypatch.setattr(ctypes, "CDLL", lambda name: ctypes.cdll.LoadLibrary("no such file"))
    cuda = SimpleNamespace(is_available=lambda: available)
    monkeypatch.setitem(sys.modules, "torch", SimpleNamespace(cuda=cuda))
    triton = SimpleNamespace(__version__=version)
    monkeypatch.setitem(sys.modules, "triton", triton)


@pytest.mark.parametrize(
    ("driver", "version", "available", "reason"),
    [
        (False, "3.9.0", True, "there is no NVIDIA driver"),
        (True, "3.2.0", True, "triton 3.2.0 is older than 3.3"),
        (True, "3.10.0", False, "torch finds no CUDA device"),
    ],
)
def test_a_gpu_that_cannot_be_used_is_told_why(
    monkeypatch: pytest.MonkeyPatch, driver: bool, version: str, available: bool, reason: str
) -> None:
    pretend(monkeypatch, driver=driver, version=version, available=available)

    assert resolve("auto") is Device.CPU
    with pytest.raises(DeviceError, match=f"no GPU can be used: {reason}; use `device=cpu`"):
        resolve("cuda")


def test_a_gpu_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, driver=True, version="3.10.0+git", available=True)

    assert resolve("auto") is Device.CUDA
