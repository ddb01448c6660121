"""A refused file, and the words that its refusal must have."""

from collections.abc import Callable
from dataclasses import dataclass

import onnx
from mutants.values import Files


@dataclass(frozen=True)
class Refused:
    """Files, the refused one first, and what is said of it."""

    files: Callable[[], Files]
    told: str


def refused(model: Callable[[], onnx.ModelProto], told: str) -> Refused:
    """A refused model, as the file `t.onnx`."""
    return Refused(lambda: {"t.onnx": model().SerializeToString()}, told)
