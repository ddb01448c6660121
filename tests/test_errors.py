"""Errors name arguments; the command line turns them into its flags."""

import ast
from pathlib import Path

import pytest
from paths import MODELS

import lt_onnx
from lt_onnx import convert
from lt_onnx.cli.app import flagged, run
from lt_onnx.errors import InputError, LtOnnxError

PACKAGE = Path(lt_onnx.__file__).parent
TARGET = MODELS / "plain-relu.onnx"


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("`base_size` is 1; give 2 to 32", "--base-size is 1; give 2 to 32"),
        ("lower `base_size` or use `mode=2l`", "lower --base-size or use --mode 2l"),
        ("give `force=True` to overwrite it", "give --force to overwrite it"),
        ("drop them, or `validate=False`", "drop them, or --no-validate"),
        ("`device=cuda`: there is none", "--device cuda: there is none"),
        ("the node 'a=b' and `Conv_1` stay", "the node 'a=b' and `Conv_1` stay"),
    ],
)
def test_arguments_become_flags(message: str, shown: str) -> None:
    assert flagged(message) == shown


@pytest.mark.parametrize(
    ("words", "flags", "said"),
    [
        ({"base_size": 40}, ["--base-size", "40"], "is 40; give 2 to 32"),
        ({"mode": "3l"}, ["--mode", "3l"], "is '3l'; choose one of l+1, l+k, 2l"),
        ({"device": "tpu"}, ["--device", "tpu"], "is 'tpu'; choose one of auto, cpu, cuda"),
        ({"calibration_count": 0}, ["--calibration-count", "0"], "is 0; give 1 or more"),
    ],
)
def test_python_is_told_of_arguments_and_the_command_line_of_flags(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    words: dict[str, object],
    flags: list[str],
    said: str,
) -> None:
    out = tmp_path / "t.onnx"
    (name,) = words

    with pytest.raises(InputError) as raised:
        convert(TARGET, out, **words)  # type: ignore[arg-type]
    assert str(raised.value) == f"`{name}` {said}"
    assert run(["convert", str(TARGET), "-o", str(out), *flags]) == 2
    assert capsys.readouterr().err == f"lt-onnx: error: {flags[0]} {said}\n"


def test_an_output_that_exists_is_told_in_the_callers_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.onnx"
    out.write_bytes(b"x")

    with pytest.raises(InputError, match="give `force=True` to overwrite it, or another name"):
        convert(TARGET, out)
    assert run(["convert", str(TARGET), "-o", str(out)]) == 2
    assert "give --force to overwrite it, or another name" in capsys.readouterr().err


def test_no_message_of_the_library_speaks_of_flags() -> None:
    """Every string inside a `raise` outside the command line."""
    spoken = []
    for path in PACKAGE.rglob("*.py"):
        if path.parent.name == "cli":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Raise):
                spoken += [
                    (path.name, part.value)
                    for part in ast.walk(node)
                    if isinstance(part, ast.Constant) and "--" in str(part.value)
                ]

    assert not spoken


def test_every_error_has_an_exit_code_of_the_contract() -> None:
    family = [LtOnnxError]
    for kind in family:
        family += kind.__subclasses__()

    assert {kind.exit_code for kind in family} == {2, 3}
