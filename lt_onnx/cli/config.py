"""The words of a run as a TOML file: written beside its report, and taken back by --config.

A key is an option's name without its dashes, or an argument's; what the command line says goes
before what the file says.
"""

import json
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from pathlib import Path
from typing import Any, NamedTuple

import typer

from lt_onnx.errors import InputError
from lt_onnx.files import check_file
from lt_onnx.options import Param
from lt_onnx.units import MAX_NAME, comma_text, name_text, shown

MAX_BYTES = 1 << 16  # of a file
# words of where a run's results are told, and not of what they are
UNTOLD = frozenset("config report json quiet force picture".split())


class RunWords(NamedTuple):
    """All words of a run as TOML, and the files that some were read from: none, or one."""

    text: str = ""
    read: tuple[Path, ...] = ()


def key_of(name: str, param: Param) -> str:
    """The key of an option or argument: its first flag, or its name."""
    flag = param.flags[0].partition("/")[0] if param.flags else name
    return flag.lstrip("-").replace("-", "_")


def told(given: Mapping[str, Any], params: Mapping[str, Param]) -> RunWords:
    """The words `given` to a command, defaults too."""
    lines = [
        f"{key} = {toml_text(value)}"
        for name, value in given.items()
        if (key := key_of(name, params[name])) not in UNTOLD and value not in (None, [], ())
    ]
    path = given["config"]
    return RunWords("\n".join(lines) + "\n", () if path is None else (path,))


def toml_text(value: Any) -> str:
    """A value of a word, as TOML."""
    match value:
        case bool():
            return str(value).lower()
        case StrEnum():
            return toml_text(value.value)
        case int() | float():
            return str(value)
        case tuple():  # numbers with commas between
            return toml_text(comma_text(value))
        case list():
            return f"[{', '.join(map(toml_text, value))}]"
    return json.dumps(shown(str(value)), ensure_ascii=False)


def take(context: typer.Context, path: Path | None) -> Path | None:
    """Let the words of the file at `path` stand where the command line says nothing.

    Raises InputError for a file that is no TOML, and for what is no word of the command.
    """
    if path is None:
        return None
    check_file(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES:,} bytes")
        words = tomllib.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError, RecursionError) as error:
        raise InputError(f"{path}: not a TOML file: {error}") from None
    params = {_key(param): param for param in context.command.params}
    defaults = {}
    for word, value in words.items():
        key = word.replace("-", "_")
        if key in ("config", "force"):
            raise InputError(f"{path}: '{key}' is for the command line: give --{key} there")
        if key not in params or key == "help":
            near = get_close_matches(key, params, 1) if len(key) < MAX_NAME else []
            mend = f"; is '{near[0]}' meant?" if near else ""
            said = f"'{name_text(word)}' is no word of lt-onnx {context.info_name}"
            raise InputError(f"{path}: {said}{mend}")
        defaults[params[key].name] = _typed(path, word, value, params[key])
    context.default_map = defaults
    return path


def _key(param: Any) -> str:  # typer carries a click of its own
    first: str = param.opts[0]
    return first.lstrip("-").replace("-", "_")


def _typed(path: Path, word: str, value: Any, param: Any) -> Any:
    """A value as the command line would give it. Raises InputError."""
    values = value if isinstance(value, list) else [value]
    plain = all(isinstance(one, str | int | float) for one in values)
    if getattr(param, "is_flag", False) != isinstance(value, bool) or not plain:
        raise InputError(f"{path}: '{word}' is {name_text(repr(value))}, which it cannot be")
    if isinstance(value, bool):
        return value
    several = param.nargs == -1 or getattr(param, "multiple", False)
    return [str(one) for one in values] if several else ",".join(map(str, values))
