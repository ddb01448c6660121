"""How a command's parameters become options, and the parameters that commands share.

A command is a function whose positional parameters are arguments and whose keyword-only ones are
options. Each is annotated with a `Param`, or is a group (`lt_onnx.options`): `expanded` makes an
option of every field of the group and hands the command the group, read and checked.
"""

import inspect
from collections.abc import Callable
from dataclasses import is_dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from lt_onnx.cli.config import RunWords, take, told
from lt_onnx.errors import InputError
from lt_onnx.options import Mode, Output, Param, choices, choose, params_of
from lt_onnx.units import comma_text


class Only:
    """Beside a group: the fields that a command asks for; the others keep their defaults."""

    def __init__(self, *names: str) -> None:
        self.names = names


def expanded(function: Callable[..., Any]) -> Callable[..., None]:
    """The command as typer takes it: every field of a group is a parameter of its own.

    A command that has `config` is handed all words of the run there.
    """
    parameters: list[inspect.Parameter] = []
    asked: dict[str, Param] = {}
    groups: dict[str, tuple[Any, dict[str, tuple[Any, Param]]]] = {}
    for parameter in inspect.signature(function).parameters.values():
        kind, *about = get_args(parameter.annotation) or [parameter.annotation]
        if not is_dataclass(kind):
            asked[parameter.name] = about[0]
            parameters.append(_parameter(parameter, kind, about[0]))
            continue
        given = parameter.default is not inspect.Parameter.empty
        group = parameter.default if given else kind()  # type: ignore[operator]
        params = params_of(type(group))
        if about:
            params = {name: params[name] for name in about[0].names}
        groups[parameter.name] = group, params
        asked |= {name: param for name, (_, param) in params.items()}
        for name, (kind, param) in params.items():
            one = inspect.Parameter(name, parameter.kind, default=getattr(group, name))
            parameters.append(_parameter(one, kind, param))

    def command(**given: Any) -> None:
        if "config" in given:
            given["config"] = told(given, asked)
        for name, (group, params) in groups.items():
            fields: dict[str, Any] = {}
            for field, (_, param) in params.items():
                fields |= _fields(field, param, given.pop(field))
            given[name] = replace(group, **fields)
        function(**given)

    command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    command.__doc__ = function.__doc__
    return command


def _parameter(parameter: inspect.Parameter, kind: Any, param: Param) -> inspect.Parameter:
    """A parameter with typer's annotation."""
    name = parameter.name
    about: dict[str, Any] = {"help": param.help, "metavar": param.unit}
    if name == "config":
        kind, about["callback"], about["is_eager"] = Path | None, take, True
        parameter = parameter.replace(default=None)
    for part in get_args(kind) or [kind]:
        if isinstance(part, type) and issubclass(part, StrEnum):
            about |= _choices(name, part)
    if param.key:
        kind, about["metavar"] = list[str] | None, f"[{param.key}]{param.unit}"
        parameter = parameter.replace(default=None)
    elif param.read is not None:
        kind = str | None  # which `read` makes a value of
        if (default := parameter.default) is not None:
            kind = str
            text = comma_text(default) if isinstance(default, tuple) else f"{default:g}"
            parameter = parameter.replace(default=text)
        about["parser"] = lambda text: _read(name, param, text, text)
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
        flags = param.flags or (f"--{name.replace('_', '-')}",)
        annotation: Any = Annotated[kind, typer.Option(*flags, **about)]
    else:
        about["metavar"] = name.upper()
        annotation = Annotated[kind, typer.Argument(**about)]
    return parameter.replace(annotation=annotation)


def _choices(name: str, kind: type[StrEnum]) -> dict[str, Any]:
    """What lets help and completion show the members of an enumeration."""
    return {
        "metavar": f"[{'|'.join(choices(kind))}]",
        "parser": lambda text: choose(kind, name, text),
        "autocompletion": lambda: choices(kind),
    }


def _fields(name: str, param: Param, value: Any) -> dict[str, Any]:
    """Fields of a group; texts given as `[KEY=]value` become a mapping, or a value and pairs."""
    if not param.key:
        return {name: value}
    by_key: dict[str, Any] = {}
    for text in value or ():
        key, separator, number = text.rpartition(param.key[-1])
        auto = param.singles is not None and not separator and number == "auto"
        by_key[key] = None if auto else _read(name, param, text, number)
    if param.singles is None:
        return {name: by_key or None}
    return {name: by_key.pop("", None), param.singles: tuple(sorted(by_key.items()))}


def _read(name: str, param: Param, text: str, number: str) -> Any:
    """The value of a text in which `number` is what counts. Raises InputError."""
    assert param.read is not None
    try:
        return param.read(number)
    except ValueError:
        expects = param.expects or f"a number, or {param.key}number"
        raise InputError(f"`{name}` is '{text}'; give {expects}") from None


OneMode = Annotated[Mode | None, Param("One mode; both without.")]
CalibrationFile = Annotated[
    Path | None, Param("npz, npy or a folder of images used in construction.")
]
SamplesFile = Annotated[
    Path | None,
    Param(
        "npz (labels too), npy or a folder of images to validate on.",
        flags=("--samples", "--inputs"),
    ),
]
Config = Annotated[
    RunWords, Param("Take the words of a run from the file beside its report.", unit="FILE.toml")
]
NO_WORDS = RunWords()
PerLayer = Annotated[bool, Param("Find where error enters and is amplified.")]
ReportFile = Annotated[Path | None, Param("Write a JSON report here.", flags=("--report",))]
Reports = Annotated[
    list[Path] | None,
    Param("Write it: .json, .md, .xml (JUnit) or .html; repeatable.", "FILE", ("--report",)),
]
Tables = Annotated[
    list[Path] | None, Param("Write it: .json or .csv; repeatable.", "FILE", ("--report",))
]
Picture = Annotated[Path | None, Param("Draw it here (.png, .svg or .pdf).")]
Force = Annotated[bool, params_of(Output)["force"][1]]
Json = Annotated[bool, Param("Print the JSON report and nothing else.")]
Quiet = Annotated[bool, Param("Print nothing but errors.", flags=("--quiet", "-q"))]
