"""Words become options: flags, choices, groups, and values for one layer or output alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
import typer
from typer.main import get_command

from lt_onnx.cli.app import app
from lt_onnx.cli.options import OneMode, Only, expanded
from lt_onnx.errors import InputError
from lt_onnx.options import (
    ImageLayout,
    Init,
    Mode,
    Options,
    Output,
    Param,
    Pictures,
    Resize,
    Sigma,
    changed,
)
from lt_onnx.validation.limits import FIGURES, Limits

KAIMING = Options(init=Init.KAIMING)


def run(command: Callable[..., None], *words: str) -> None:
    """Type a command's words."""
    root = typer.Typer(pretty_exceptions_enable=False, rich_markup_mode=None)
    root.command()(expanded(command))
    root(list(words), standalone_mode=False)


def given(*words: str) -> tuple[Options, Limits, Output]:
    """The groups that a command with all of them is called with."""
    got: list[Any] = []

    def command(*, options: Options, limits: Limits, output: Output) -> None:
        got.extend((options, limits, output))

    run(command, *words)
    return tuple(got)  # type: ignore[return-value]


def test_without_words_a_group_has_its_defaults() -> None:
    assert given() == (Options(), Limits(), Output())


def test_every_word_arrives_in_its_field() -> None:
    options, limits, output = given(
        *"--mode 2l --sigma layer --fp16 --seed 7 --sqnr 25 -o t.onnx".split(),
        *"--max-memory 8G --emit-source --force --resume --agreement 0.9".split(),
    )

    assert options == Options(
        Mode.TWO_L, sigma=Sigma.LAYER, fp16=True, seed=7, sqnr=25.0, agreement=0.9
    )
    assert output == Output(Path("t.onnx"), True, 8 * 10**9, True, True)
    assert limits == Limits()


def test_values_of_single_layers_stand_apart() -> None:
    options = given(*"--base-size b=4 --base-size 9 --base-size a=b=5 --price x=0.1".split())[0]

    assert (options.base_size, options.base_sizes) == (9, (("a=b", 5), ("b", 4)))
    assert (options.price, options.prices) == (None, (("x", 0.1),))
    assert given("--base-size", "auto")[0].base_size is None


def test_limits_are_of_all_outputs_or_of_one() -> None:
    limits = given(*"--min-sqnr 30 --min-sqnr a:b:20 --max-abs y:0.5".split())[1]

    assert limits == Limits(min_sqnr={"": 30.0, "a:b": 20.0}, max_abs={"y": 0.5})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--base-size x", "`base_size` is 'x'; give a number, or LAYER=number"),
        ("--base-size a=auto", "`base_size` is 'a=auto'; give a number, or LAYER=number"),
        ("--price a=x", "`price` is 'a=x'; give a number, or LAYER=number"),
        ("--min-sqnr y:", "`min_sqnr` is 'y:'; give a number, or OUTPUT:number"),
        ("--min-sqnr auto", "`min_sqnr` is 'auto'; give a number, or OUTPUT:number"),
        ("--max-memory 8X", "`max_memory` is '8X'; give bytes, as in 800M or 8G"),
        ("--mode 3l", "`mode` is '3l'; choose one of l+1, l+k, 2l"),
        ("--select exact", "`select` is 'exact'; choose one of noise, smallest, best"),
        ("--seed -1", "`seed` is -1; give 0 to 2^64 - 1"),
        ("--agreement 99", "`agreement` is 99; give a share, as 0.99 or 99%; 0 is none"),
        ("--agreement all", "`agreement` is 'all'; give a share, as in 0.99 or 99%"),
        ("--min-agreement 97", "`min_agreement` is 97; give a share, up to 1, as in 0.97 or 97%"),
        (
            "--min-agreement y:1.5",
            "`min_agreement` is 1.5; give a share, up to 1, as in 0.015 or 1.5%",
        ),
        (
            "--max-accuracy-drop 2",
            "`max_accuracy_drop` is 2; give a share, up to 1, as in 0.02 or 2%",
        ),
    ],
)
def test_a_wrong_value_is_told_with_its_argument(words: str, said: str) -> None:
    with pytest.raises(InputError) as raised:
        given(*words.split())

    assert str(raised.value) == said


def test_shares_may_be_percentages() -> None:
    options, limits = given("--agreement", "98%", "--min-agreement", "97%")[:2]

    assert (options.agreement, limits.min_agreement) == (0.98, {"": 0.97})


def test_a_command_may_take_some_words_of_a_group_with_defaults_of_its_own() -> None:
    got: list[Options] = []

    def command(*, options: Annotated[Options, Only("mode", "init")] = KAIMING) -> None:
        got.append(options)

    run(command)
    run(command, "--mode", "2l", "--init", "lecun")
    with pytest.raises(Exception, match="seed"):
        run(command, "--seed", "1")

    assert got == [KAIMING, Options(Mode.TWO_L, init=Init.LECUN)]


def test_positional_parameters_are_arguments_and_one_may_be_a_choice() -> None:
    got: list[Any] = []

    def command(
        target: Annotated[Path, Param("A file.")],
        *,
        mode: OneMode = None,
        count: Annotated[int, Param("How many.", flags=("--count", "-n"))] = 3,
    ) -> None:
        got.append((target, mode, count))

    run(command, "a.onnx", "-n", "4", "--mode", "l+1")
    run(command, "a.onnx")

    assert got == [(Path("a.onnx"), Mode.L_PLUS_1, 4), (Path("a.onnx"), None, 3)]


def test_help_and_completion_show_the_choices_and_never_the_oracle(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    app(["convert", "--help"], standalone_mode=False)
    shown = capsys.readouterr().out
    for words in (
        "--mode [l+1|l+k|2l]",
        "--select [noise|smallest|best]",
        "--sigma [channel|layer]",
        "--init [unit|kaiming|xavier|lecun]",
        "--weights [folded|masked|sparse|seeded]",
        "--device [auto|cpu|cuda]",
        "--base-size [LAYER=]M",
        "--min-sqnr [OUTPUT:]DB",
        "--max-memory BYTES",
    ):
        assert words in shown
    assert "exact" not in shown
    command: Any = get_command(app)
    for name in command.commands:
        app([name, "-h"], standalone_mode=False)
        lines = capsys.readouterr().out.splitlines()
        assert max(map(len, lines)) <= 80, name
        assert not any(line.endswith("...") for line in lines[2:]), name  # nothing is cut

    convert = command.commands["convert"]
    context = convert.make_context("convert", [], resilient_parsing=True)
    for option in convert.params:
        if option.name == "select":
            offered = [item.value for item in option.shell_complete(context, "")]
            assert offered == ["noise", "smallest", "best"]


def test_every_limit_is_an_option_of_every_command_that_judges() -> None:
    command: Any = get_command(app)
    for name in ("convert", "validate", "zoo"):
        assert set(FIGURES) <= {option.name for option in command.commands[name].params}


def test_how_images_become_inputs_is_a_group() -> None:
    got: list[Any] = []

    def command(*, pictures: Pictures) -> None:
        got.append(pictures)

    run(command)
    run(command, *"--layout nhwc --mean 0.5,1,2e-1 --std 0.25 --resize crop".split())
    with pytest.raises(InputError, match="`mean` is '1;2'; give numbers for all channels or each"):
        run(command, "--mean", "1;2")
    with pytest.raises(InputError, match="`resize` is 'fit'; choose one of none, crop, stretch"):
        run(command, "--resize", "fit")

    layout, resize = ImageLayout.NHWC, Resize.CROP
    assert got == [Pictures(), Pictures(layout, (0.5, 1.0, 0.2), (0.25,), resize)]
    assert changed(got[1]) == {
        "layout": layout,
        "mean": "0.5,1,0.2",
        "std": "0.25",
        "resize": resize,
    }
