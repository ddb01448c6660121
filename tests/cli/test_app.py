"""The one border where errors become a line and an exit code."""

import builtins
import errno
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from paths import MODELS

from lt_onnx.__main__ import main
from lt_onnx.cli import app as border
from lt_onnx.errors import InputError, ResourceError


def wrapped() -> RuntimeError:
    error = RuntimeError("compiled code stopped")
    error.__cause__ = KeyboardInterrupt()
    return error


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("x: `base_size` is 1"), 2, "x: --base-size is 1"),
        (ResourceError("x: full"), 3, "x: full"),
        (MemoryError(), 3, "out of memory"),
        (KeyboardInterrupt(), 3, "interrupted; nothing was left behind"),
        (wrapped(), 3, "interrupted; nothing was left behind"),
        (OSError(errno.ENOSPC, "No space left", "a.bin"), 3, "a.bin: No space left"),
        (OSError(errno.EACCES, "Permission denied", "a.bin"), 2, "a.bin: Permission denied"),
        (InputError("two\nlines \x1b[2J"), 2, "two lines \\x1b[2J"),
    ],
)
def test_every_error_is_one_line_and_a_code(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr(border, "app", fail)

    assert border.run(["verify", "x"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith(f"lt-onnx: error: {said}")
    assert shown.err.count("\n") == 1


def test_impatience_does_not_interrupt_the_cleaning_up(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr(border, "_interrupts", [])
    monkeypatch.setattr(border.time, "monotonic", lambda: now[0])
    with pytest.raises(KeyboardInterrupt):
        border._interrupt(2, None)
    now[0] += border.CLEANUP_SECONDS
    border._interrupt(2, None)
    now[0] += 1
    with pytest.raises(KeyboardInterrupt):
        border._interrupt(2, None)


def test_a_closed_pipe_is_silent_and_a_fault_of_ours_is_not_hidden(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    raised: list[BaseException] = [BrokenPipeError(), ZeroDivisionError("ours")]

    def fail(*_: Any, **__: Any) -> None:
        raise raised.pop(0)

    monkeypatch.setattr(border, "app", fail)

    assert border.run(["verify", "x"]) == 3
    assert capsys.readouterr().err == ""
    with pytest.raises(ZeroDivisionError):
        border.run(["verify", "x"])


def test_without_words_it_helps_and_the_commands_stand_in_their_order(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert border.run([]) == 0
    shown = capsys.readouterr().out
    names = "inspect plan convert verify validate zoo pack unpack source frontier stats".split()
    places = [shown.index(f"\n  {name} ") for name in names]

    assert places == sorted(places)
    assert border.run(["--version"]) == 0


def test_neither_the_package_nor_help_loads_anything_heavy() -> None:
    heavy = ("torch", "numba", "onnx", "onnxruntime", "numpy", "matplotlib", "PIL")
    for words in ("import lt_onnx", "from lt_onnx.cli import app; app.run(['convert', '--help'])"):
        code = f"import sys; {words}; print([m for m in {heavy} if m in sys.modules])"
        shown = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert shown.stdout.splitlines()[-1] == "[]"


def test_an_interrupt_at_the_start_is_told_as_any_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    original = builtins.__import__

    def interrupted(name: str, *rest: Any, **words: Any) -> Any:
        if name == "lt_onnx.cli.app":
            raise KeyboardInterrupt
        return original(name, *rest, **words)

    monkeypatch.setattr(builtins, "__import__", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()

    assert ended.value.code == 3
    assert capsys.readouterr().err == "lt-onnx: interrupted; nothing was left behind\n"


@pytest.mark.parametrize(
    "words", ["convert .", "convert /", "convert . -o x.onnx", "pack .", "deploy ."]
)
def test_a_folder_without_a_name_is_told_of(
    words: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert border.run(words.split()) == 2
    said = capsys.readouterr().err
    assert "is a folder: give a file, or convert a folder with zoo" in said
    assert len(said.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "of"),
    [
        (["convert", "x.onnx", "--calibration", ""], "--calibration"),
        (["convert", "x.onnx", "--samples="], "--samples"),
        (["convert", ""], "convert"),
        (["verify", "t.onnx", "--target", " "], "--target"),
    ],
)
def test_an_empty_word_is_no_folder(
    words: list[str], of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert border.run(words) == 2
    said = f"lt-onnx: error: what follows {of} is empty: is a variable not set?\n"
    assert capsys.readouterr().err == said


def test_a_target_that_is_not_there_is_told_before_its_tickets_folder(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert border.run(["convert", "modles/x.onnx"]) == 2
    assert capsys.readouterr().err == "lt-onnx: error: modles/x.onnx: no such file\n"


@pytest.mark.parametrize("name", ["deep", "transformer", "depthwise"])
def test_a_plan_fits_a_terminal(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert border.run(["plan", str(MODELS / f"{name}.onnx"), "--shapes-only"]) == 0
    lines = capsys.readouterr().out.splitlines()
    heads = [number for number, line in enumerate(lines) if line.startswith("layer ")]
    assert heads
    for number in heads:
        rows = lines[number : next(i for i, s in enumerate(lines) if i > number and "in all" in s)]
        assert rows[0].split()[-1] == "s"
        assert all(len(row) <= 80 and re.search(r"\d\.\d$", row) for row in rows[1:])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--price", "0.1", "--sqnr", "20"], "--sqnr is a promise, and --price or another"),
        (["--select", "best", "--agreement", "90%"], "--agreement is a promise, and --price"),
    ],
)
def test_a_promise_is_not_dropped_for_a_price(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    target = str(MODELS / "plain-relu.onnx")
    assert border.run(["convert", target, "-o", str(tmp_path / "t.onnx"), *words]) == 2
    assert f"lt-onnx: error: {said}" in capsys.readouterr().err
