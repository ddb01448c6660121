"""What can go wrong, as one family; the CLI maps it to one line and an exit code.

A ticket that misses its tolerance is a verdict, not an error (exit code 1).
"""

from importlib.util import find_spec


class LtOnnxError(Exception):
    """Root of the family; `exit_code` is what the CLI returns for it."""

    exit_code = 2


class InputError(LtOnnxError):
    """A file, an array or an argument that cannot be used."""


class BusyError(InputError):
    """A file that another process is writing."""


class UnsupportedError(InputError):
    """A valid model that holds something lt-onnx does not convert."""


class ResourceError(LtOnnxError):
    """Not enough memory or disk for what was asked."""

    exit_code = 3


class LostConstantsError(InputError):
    """Constants were planned to reach the target's tensor `tensor`, and none does."""

    def __init__(self, layer: str, tensor: str) -> None:
        super().__init__(f"layer '{layer}': no constant reaches it; its biases cannot be built")
        self.tensor = tensor


def too_large(layer: str) -> InputError:
    """The error for a layer of which float32 cannot say what it makes."""
    return InputError(
        f"layer '{layer}': its weights, or what comes to them, are too large for float32; scale "
        "the network, or its inputs, down"
    )


def check_torch(argument: str) -> None:
    """Raises InputError where torch, which `argument` needs, is not installed."""
    if find_spec("torch") is None:
        raise InputError(f"`{argument}` needs torch: pip install 'lt-onnx[gpu]', or torch alone")


def is_interrupt(error: BaseException) -> bool:
    """Whether it is a KeyboardInterrupt, or one that compiled code wrapped, as Numba's does."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause is not None
