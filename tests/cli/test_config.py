"""The words of a run as TOML: all of them, taken back, and refused where they mean nothing."""

from pathlib import Path
from typing import Annotated, Any

import pytest
import typer

from lt_onnx.cli.options import NO_WORDS, Config, Reports, expanded
from lt_onnx.errors import InputError
from lt_onnx.options import Mode, Options, Output, Param, Pictures
from lt_onnx.validation.limits import Limits

WORDS = (
    *"a.onnx b.onnx --mode 2l --seed 7 --price 0.25 --price c=0.5 --base-size auto".split(),
    *"--base-size d=4 --min-sqnr 30 --min-sqnr y:20 --mean 0.5,0.25,1 --fp16 --sigma layer".split(),
    *"--max-memory 8G -o t.onnx --resume --no-check".split(),
)


def run(*words: str) -> tuple[dict[str, Any], str]:
    """What a command with every kind of word is called with, and its words as TOML."""
    got: list[dict[str, Any]] = []

    def command(
        targets: Annotated[list[Path], Param("Files.")],
        *,
        options: Options,
        pictures: Pictures,
        limits: Limits,
        output: Output,
        check: Annotated[bool, Param("Check.", flags=("--check/--no-check",))] = True,
        report: Reports = None,
        config: Config = NO_WORDS,
    ) -> None:
        got.append(dict(locals()))

    root = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    root.command()(expanded(command))
    root(list(words), standalone_mode=False)
    given = {name: value for name, value in got[0].items() if name not in ("config", "got")}
    return given, got[0]["config"].text


def test_all_words_of_a_run_are_written_and_taken_back(tmp_path: Path) -> None:
    given, told = run(*WORDS)
    (tmp_path / "run.toml").write_text(told)
    again, told_again = run("--config", str(tmp_path / "run.toml"))

    assert given == again
    assert told == told_again
    assert {"targets", "mode", "tolerance", "output", "min_sqnr", "check"} <= {
        line.partition(" = ")[0] for line in told.splitlines()
    }
    assert "force" not in told


def test_defaults_are_written_too_and_what_is_told_of_a_run_is_not() -> None:
    told = run("a.onnx", "--report", "r.json", "--force")[1]

    assert 'mode = "l+1"' in told
    assert "report" not in told
    assert "force" not in told


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('targets = "a.onnx"\nsqnr = 40\nmode = "2l"\nfp16 = true\n')
    given, _ = run("--config", str(tmp_path / "run.toml"), "--sqnr", "20")

    assert given["targets"] == [Path("a.onnx")]
    assert given["options"] == Options(Mode.TWO_L, sqnr=20.0, fp16=True)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("sqrn = 3", "'sqrn' is no word of lt-onnx .*; is 'sqnr' meant?"),
        ("config = 'x'", "'config' is for the command line"),
        ("fp16 = 1", "'fp16' is 1, which it cannot be"),
        ("sqnr = true", "'sqnr' is True, which it cannot be"),
        ("sqnr = {a = 1}", "'sqnr' is {'a': 1}, which it cannot be"),
        ("mode = '3l'", "`mode` is '3l'; choose one of l\\+1, l\\+k, 2l"),
        ("mode = ", "not a TOML file"),
        ("a = 1\n" * 2, "not a TOML file"),
        ("a = " + "[" * 60_000, "not a TOML file"),
        ("# " + "a" * 2**16, "more than 65,536 bytes"),
        ("force = true", "'force' is for the command line: give --force there"),
        ("x" * 9000 + " = 1", "xxx…xxx"),
    ],
)
def test_what_means_nothing_is_refused(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "run.toml").write_text(text)
    with pytest.raises(InputError, match=said):
        run("a.onnx", "--config", str(tmp_path / "run.toml"))


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not a TOML file"):
        run("a.onnx", "--config", str(tmp_path / "run.toml"))
    with pytest.raises(InputError, match="no such file"):
        run("a.onnx", "--config", str(tmp_path / "none.toml"))


@pytest.mark.parametrize("name", ['"', "\\", "\x1b[31m", "é ", "a\nb", "\x7f", "caf\udce9"])
def test_any_name_makes_a_file_that_can_be_read(tmp_path: Path, name: str) -> None:
    told = run(f"{name}.onnx")[1]
    (tmp_path / "run.toml").write_text(told)
    given, _ = run("--config", str(tmp_path / "run.toml"))

    assert len(given["targets"]) == 1
    assert given["targets"][0].suffix == ".onnx"
    if name.isprintable():
        assert given["targets"] == [Path(f"{name}.onnx")]
