"""The formats of a report by file suffix, and writing them whole or not at all."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from lt_onnx.errors import InputError
from lt_onnx.files import atomic_write
from lt_onnx.report.document import plain
from lt_onnx.report.templates import render


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1) + "\n"


FORMATS: dict[str, Callable[[dict[str, Any]], str]] = {
    ".json": _json,
    **{f".{kind}": partial(render, kind=kind) for kind in ("md", "xml", "html")},
}


def check_reports(paths: Sequence[Path]) -> None:
    """Raises InputError unless every path can become a report; to be asked before any work."""
    for path in paths:
        if path.suffix.lower() not in FORMATS:
            raise InputError(
                f"`report` is '{path}'; end it in .json, .md (Markdown), .xml (JUnit) or .html"
            )
        if not path.parent.is_dir():
            raise InputError(f"`report` {path}: its folder does not exist")


def write_reports(paths: Sequence[Path], document: dict[str, Any]) -> None:
    """Write a document in the formats that the suffixes ask for. Raises InputError."""
    check_reports(paths)
    finite = plain(document)
    for path in paths:
        _write(path, FORMATS[path.suffix.lower()](finite))


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write any data as JSON, infinity as null. Raises InputError when it cannot be written."""
    _write(path, _json(plain(document)))


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as (stream,):
        stream.write(text.encode())
