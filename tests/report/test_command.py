"""The quoted command does the same again."""

import shlex

from lt_onnx.options import Mode, Options
from lt_onnx.report.command import command_of


def test_only_what_differs_from_the_defaults_is_said() -> None:
    assert command_of("convert", ["a b.onnx"], Options(), {}) == "lt-onnx convert 'a b.onnx'"
    options = Options(
        Mode.TWO_L,
        base_size=7,
        seed=3,
        fp16=True,
        prices=(("head", 0.5),),
        base_sizes=(("x y", 9),),
    )
    words = {"output": "t.onnx", "samples": None, "per_layer": True, "bound": False}
    line = command_of("convert", ["t.onnx"], options, {**words, "max_rel": ["a:1", "0.5"]})

    assert shlex.split(line) == [
        *("lt-onnx", "convert", "t.onnx", "--mode", "2l", "--base-size", "7", "--seed", "3"),
        *("--fp16", "--output", "t.onnx", "--per-layer", "--max-rel", "a:1", "--max-rel", "0.5"),
        *("--price", "head=0.5", "--base-size", "x y=9"),
    ]


def test_zero_is_said_where_it_is_not_the_default() -> None:
    """Without it, the same command would make another ticket."""
    line = command_of("convert", ["t.onnx"], Options(price=0.0), {"seed": 0})

    assert line == "lt-onnx convert t.onnx --price 0.0"
