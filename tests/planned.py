"""A small plan, for what follows from plans alone."""

from pathlib import Path

from graphs import Builder, save

from lt_onnx.blueprint import Blueprint, Build
from lt_onnx.options import Options
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target


def blueprint(folder: Path, width: int = 8, **options: object) -> Blueprint:
    """Of two convolutions, 3 → 4 → 2 channels, on squares of `width`."""
    b = Builder()
    x = b.conv(b("Relu", b.conv("x", 3, 4, pads=[1] * 4)), 4, 2, 1)
    target = read_target(save(b.model(x, ("N", 3, width, width)), folder))
    return plan(target, Options(**options))  # type: ignore[arg-type]


def builds(made: Blueprint) -> list[Build]:
    return [step for step in made.steps if isinstance(step, Build)]
