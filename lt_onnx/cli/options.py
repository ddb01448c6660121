"""How words become options of a command, and the words that commands share.

A command is a function whose positional parameters are arguments and whose keyword-only ones are
options. Each is annotated with a `Word`, or is a group of words (`lt_onnx.options`): `expanded`
makes an option of each word and hands the command the group, read and checked.
"""

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from lt_onnx.errors import InputError
from lt_onnx.options import Mode, Output, Word, choices, choose, words_of


class Only:
    """Beside a group: the words of it that a command takes; the others keep their defaults."""

    def __init__(self, *names: str) -> None:
        self.names = names


def expanded(function: Callable[..., Any]) -> Callable[..., None]:
    """The command as typer takes it: every word, alone or of a group, is a parameter."""
    parameters: list[inspect.Parameter] = []
    groups: dict[str, tuple[Any, dict[str, tuple[Any, Word]]]] = {}
    for parameter in inspect.signature(function).parameters.values():
        kind, *about = get_args(parameter.annotation) or [parameter.annotation]
        if not is_dataclass(kind):
            parameters.append(_parameter(parameter, kind, about[0]))
            continue
        given = parameter.default is not inspect.Parameter.empty
        group = parameter.default if given else kind()  # type: ignore[operator]
        words = words_of(type(group))
        if about:
            words = {name: words[name] for name in about[0].names}
        groups[parameter.name] = group, words
        for name, (kind, word) in words.items():
            one = inspect.Parameter(name, parameter.kind, default=getattr(group, name))
            parameters.append(_parameter(one, kind, word))

    def command(**given: Any) -> None:
        for name, (group, words) in groups.items():
            fields: dict[str, Any] = {}
            for field, (_, word) in words.items():
                fields |= _fields(field, word, given.pop(field))
            given[name] = replace(group, **fields)
        function(**given)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__doc__ = function.__doc__
    return command


def _parameter(parameter: inspect.Parameter, kind: Any, word: Word) -> inspect.Parameter:
    """A parameter with typer's annotation."""
    name = parameter.name
    about: dict[str, Any] = {"help": word.help, "metavar": word.unit}
    for part in get_args(kind) or [kind]:
        if isinstance(part, type) and issubclass(part, StrEnum):
            about |= _choices(name, part)
    if word.key:
        kind, about["metavar"] = list[str] | None, f"[{word.key}]{word.unit}"
        parameter = parameter.replace(default=None)
    elif word.read is not None:
        about["parser"] = lambda text: _read(name, word, text, text)
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
        flags = word.flags or (f"--{name.replace('_', '-')}",)
        annotation: Any = Annotated[kind, typer.Option(*flags, **about)]
    else:
        annotation = Annotated[kind, typer.Argument(**about)]
    return parameter.replace(annotation=annotation)


def _choices(name: str, kind: type[StrEnum]) -> dict[str, Any]:
    """What lets help and completion show the members of an enumeration."""
    return {
        "metavar": f"[{'|'.join(choices(kind))}]",
        "parser": lambda word: choose(kind, name, word),
        "autocompletion": lambda: choices(kind),
    }


def _fields(name: str, word: Word, value: Any) -> dict[str, Any]:
    """Fields of a group; texts given as `[KEY=]value` become a mapping, or a value and pairs."""
    if not word.key:
        return {name: value}
    by_key: dict[str, Any] = {}
    for text in value or ():
        key, separator, number = text.rpartition(word.key[-1])
        auto = word.singles is not None and not separator and number == "auto"
        by_key[key] = None if auto else _read(name, word, text, number)
    if word.singles is None:
        return {name: by_key or None}
    return {name: by_key.pop("", None), word.singles: tuple(sorted(by_key.items()))}


def _read(name: str, word: Word, text: str, number: str) -> Any:
    """The value of a text in which `number` is what counts. Raises InputError."""
    assert word.read is not None
    try:
        return word.read(number)
    except ValueError:
        expects = word.expects or f"a number, or {word.key}number"
        raise InputError(f"`{name}` is '{text}'; give {expects}") from None


def numbers(name: str, text: str) -> list[float]:
    """Numbers with commas between. Raises InputError."""
    try:
        return [float(number) for number in text.split(",")]
    except ValueError:
        raise InputError(f"`{name}` is '{text}'; give numbers with commas between") from None


OneMode = Annotated[Mode | None, Word("One mode; both without.")]
CalibrationFile = Annotated[Path | None, Word("npz of inputs used in construction.")]
SamplesFile = Annotated[
    Path | None,
    Word(
        "npz (labels too), npy or a folder of images to validate on.",
        flags=("--samples", "--inputs"),
    ),
]
PerLayer = Annotated[bool, Word("Find where error enters and is amplified.")]
ReportFile = Annotated[Path | None, Word("Write a JSON report here.", flags=("--report",))]
Reports = Annotated[
    list[Path] | None,
    Word("Write it: .json, .md, .xml (JUnit) or .html; repeatable.", flags=("--report",)),
]
Picture = Annotated[Path | None, Word("Draw it here (.png, .svg or .pdf).")]
Force = Annotated[bool, words_of(Output)["force"][1]]
Json = Annotated[bool, Word("Print the JSON report and nothing else.")]
Quiet = Annotated[bool, Word("Print nothing but errors.", flags=("--quiet", "-q"))]
