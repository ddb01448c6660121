"""What there is of a plan only grows, and is cut back whole."""

from dataclasses import fields

import pytest
from copies import layout

from lt_onnx.blueprint import Run
from lt_onnx.planning.emitted import Copies, Emitted, WriteOnce
from lt_onnx.target import Node

STEP = Run(Node("Relu", "r", ("x",), ("y",)))


def entries(emitted: Emitted) -> dict[str, list[object]]:
    return {part.name: list(getattr(emitted, part.name)) for part in fields(emitted)}


def fill(emitted: Emitted, key: str) -> None:
    """Something more in every part."""
    for part in fields(emitted):
        held = getattr(emitted, part.name)
        if isinstance(held, list):
            held.append(STEP)
        else:
            held[key] = Copies(key, layout("0a"))


def test_an_entry_is_never_replaced() -> None:
    once = WriteOnce({"a": 1})
    once["b"] = 2

    with pytest.raises(KeyError, match="'a' is there already"):
        once["a"] = 3
    assert once == {"a": 1, "b": 2}


def test_every_part_is_restored() -> None:
    emitted = Emitted()
    fill(emitted, "before")
    before, snapshot = entries(emitted), emitted.snapshot()
    fill(emitted, "after")
    fill(emitted, "later")

    assert all(len(after) == 3 for after in entries(emitted).values())
    emitted.restore(snapshot)
    assert entries(emitted) == before


def test_what_was_forgotten_may_come_again() -> None:
    emitted = Emitted()
    snapshot = emitted.snapshot()
    fill(emitted, "name")
    emitted.restore(snapshot)

    fill(emitted, "name")
    assert len(emitted.copies) == 1


def test_a_snapshot_of_nothing_empties_it() -> None:
    emitted = Emitted()
    snapshot = emitted.snapshot()
    fill(emitted, "name")
    emitted.restore(snapshot)

    assert not any(entries(emitted).values())
