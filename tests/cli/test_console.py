"""What a terminal is shown: plain lines and tables that fit."""

import os
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper
from paths import MODELS

from lt_onnx.cli import console
from lt_onnx.cli.app import run
from lt_onnx.report.figures import TRACE_HEAD
from lt_onnx.units import shown


@pytest.mark.parametrize(
    ("text", "seen"),
    [("plain ε", "plain ε"), ("\x1b[31mred", "\\x1b[31mred"), ("a\tb\u202e", "a\\tb\\u202e")],
)
def test_signs_that_would_steer_a_terminal_are_escaped(text: str, seen: str) -> None:
    assert shown(text) == seen


def test_what_is_too_long_keeps_both_ends() -> None:
    assert shown("a" * 50 + "b" * 50, 20) == "a" * 10 + " … " + "b" * 10


def test_words_stand_left_and_numbers_right(capsys: pytest.CaptureFixture[str]) -> None:
    console.table([["a", "b", "1"], ["long name", "c", "10"]], ["name", "kind", "n"], words=2)

    assert capsys.readouterr().out.splitlines() == [
        "name       kind   n",
        "a          b      1",
        "long name  c     10",
    ]


def test_a_table_fits_a_terminal_by_its_first_column(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setattr(console.shutil, "get_terminal_size", lambda: os.terminal_size((40, 20)))
    console.table([["x" * 60 + "end", "12345", "6789"]], ["name", "first", "second"])
    lines = capsys.readouterr().out.splitlines()

    assert max(map(len, lines)) <= 40
    assert lines[1].startswith("…x")
    assert "end  12345" in lines[1]


def test_a_trace_is_shown_with_two_digits(capsys: pytest.CaptureFixture[str]) -> None:
    layer = {"name": "conv", "into": None, "passed_on": 0.12345, "amplification": 2.0}
    layer |= {"own": 0.056789, "out": 0.1, "sqnr_db": 20.0}
    console.print_trace({"trace": [layer]})
    console.print_trace({"trace": None})
    head, row = capsys.readouterr().out.splitlines()

    assert head.split("  ")[0] == TRACE_HEAD[0]
    assert row.split() == ["conv", "–", "0.12", "2", "0.057", "0.1", "20.0"]


def test_cells_are_filled_one_a_column() -> None:
    assert console.filled("{name} {n:,} ×{n}", {"name": "a b", "n": 1000}) == [
        "a b",
        "1,000",
        "×1000",
    ]


def test_a_result_is_folded_where_the_terminal_ends_and_an_error_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = f"needs     {'word ' * 12}{'x' * 45}"
    console.say(line)
    assert capsys.readouterr().out == f"{line}\n"
    monkeypatch.setenv("COLUMNS", "40")
    console.say(line)
    console.say(line, err=True)
    shown = capsys.readouterr()
    first, second, name = shown.out.splitlines()

    assert (first[:10], second[:10]) == ("needs     ", " " * 10)
    assert max(len(first), len(second)) <= 40
    assert name.strip() == "x" * 45  # nothing is broken that somebody may copy
    assert shown.err == f"{line}\n"
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    console.say(line, err=True)
    assert capsys.readouterr() == ("", shown.out)


def test_without_a_terminal_progress_is_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 10.0, 31.0, 45.0, 62.0])
    monkeypatch.setattr(console.time, "monotonic", lambda: next(clock))
    with console.progress(quiet=False) as tell:
        for share in (0.1, 0.25, 0.5, 0.75):
            tell("convert", share)
    assert capsys.readouterr().err.splitlines() == [
        "convert    25 %, 31 s",
        "convert    75 %, 62 s",
    ]
    with console.progress(quiet=True) as tell:
        tell("convert", 0.5)
    assert capsys.readouterr().err == ""


def test_a_target_of_other_precision_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(MODELS / "plain-tanh.onnx")
    for tensor in model.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(value.astype(np.float16), tensor.name))
    for port in (*model.graph.input, *model.graph.output):
        port.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, tmp_path / "half.onnx")
    words = ["--no-validate", "--price", "0.01", "--base-size", "3", "--mode", "2l"]

    def convert(target: Path, ticket: str) -> str:
        assert run(["convert", str(target), "-o", str(tmp_path / ticket), *words]) == 0
        return capsys.readouterr().out

    said = "of half or double precision; the ticket takes and gives float32"
    assert said in convert(tmp_path / "half.onnx", "t.onnx")
    ticket = onnx.load(tmp_path / "t.onnx")
    assert ticket.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert said not in convert(MODELS / "plain-tanh.onnx", "u.onnx")
