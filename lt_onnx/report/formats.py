"""The formats of a report by file suffix, and writing them whole or not at all."""

import html
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lt_onnx.errors import InputError
from lt_onnx.files import atomic_write, check_distinct, check_places
from lt_onnx.report.document import plain
from lt_onnx.report.templates import render
from lt_onnx.units import shown

MAX_REPORT_BYTES = 1 << 26  # that are looked at for the command that they are of
MAX_HEAD = 800  # characters in which a report names what made it


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"


FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {
    ".json": _json,
    **{f".{kind}": partial(render, kind=kind) for kind in ("md", "xml", "html")},
}


def check_reports(
    paths: Sequence[Path],
    inputs: Iterable[Path] = (),
    *,
    force: bool = False,
    again: str | None = None,
) -> None:
    """Raises InputError unless every path can become a report; to be asked before any work.

    None may be one of the `inputs`. `force` lets reports replace files; without, only a report of
    the command `again`, which goes on, is replaced.
    """
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise InputError(
                f"`report` is '{path}'; end it in .json, .md (Markdown), .xml (JUnit) or .html"
            )
    check_distinct(paths)
    check_places([p for p in paths if not _is_of(p, again)], inputs, force=force)


def _is_of(path: Path, command: str | None) -> bool:
    """Whether the file at `path` is a report of the command."""
    if command is None or not path.is_file() or path.stat().st_size > MAX_REPORT_BYTES:
        return False
    text = path.read_text(encoding="utf-8", errors="replace")
    told = shown(command, len(command))
    says = {".json": f'"command": {json.dumps(command)}', ".md": f"```sh\n{told}\n```\n"}
    return "lt-onnx" in text[:MAX_HEAD] and says.get(path.suffix, told) in html.unescape(text)


def write_reports(
    paths: Sequence[Path],
    document: dict[str, Any],
    *,
    force: bool = False,
    again: str | None = None,
) -> None:
    """Write a document in the formats that the suffixes ask for; the rest as `check_reports`."""
    check_reports(paths, force=force, again=again)
    finite = plain(document)
    for path in paths:
        text = FORMATS[path.suffix.lower()](finite)
        _write(path, text, force=force or _is_of(path, again))


def write_json(path: Path, document: dict[str, Any], *, force: bool = False) -> None:
    """Write any data as JSON, infinity as null; `force` lets it replace a file.

    Raises InputError when it cannot be written.
    """
    _write(path, _json(plain(document)), force=force)


def _write(path: Path, text: str, *, force: bool) -> None:
    with atomic_write(path, force=force) as (stream,):
        stream.write(text.encode())
