"""Changes of tensors and records, of which the catalogues are made."""

from collections.abc import Callable
from typing import Any

import numpy as np

from forge.draft import Change, Draft

BITS = {  # of a stored number: float16, float32
    "lowest bit": (0, 0),
    "highest bit of the mantissa": (9, 22),
    "lowest of the exponent": (10, 23),
    "highest of the exponent": (14, 30),
    "sign": (15, 31),
}
FOREIGN = {"-0": -0.0, "a denormal": 1e-45, "NaN": np.nan, "infinity": np.inf, "0.5": 0.5}


def edit(name: str, change: Callable[[np.ndarray], Any]) -> Change:
    """Change a tensor: in place, or to what `change` gives."""

    def forge(draft: Draft) -> None:
        value = draft.get(name)
        changed = change(value)
        draft.put(name, value if changed is None else np.asarray(changed, value.dtype))

    return forge


def place(at: int, value: Any) -> Callable[[np.ndarray], None]:
    """One number of an array, by its flat index."""

    def change(array: np.ndarray) -> None:
        array.reshape(-1)[at] = value

    return change


def flip(at: int, bit: tuple[int, int]) -> Callable[[np.ndarray], None]:
    """One bit of one number: which one of a float16, which one of a float32."""

    def change(array: np.ndarray) -> None:
        kind, number = (np.uint16, bit[0]) if array.dtype == np.float16 else (np.uint32, bit[1])
        array.reshape(-1).view(kind)[at] ^= kind(1 << number)

    return change


def record(number: int, **fields: Any) -> Change:
    """Other fields of a layer's record."""
    return lambda draft: draft.layers[number].update(fields)


def both(*changes: Change) -> Change:
    """One change after another."""

    def forge(draft: Draft) -> None:
        for change in changes:
            change(draft)

    return forge


def with_place(array: np.ndarray, at: int, value: Any) -> np.ndarray:
    """A copy of an array with another number at a place."""
    changed = array.copy()
    changed[at] = value
    return changed
