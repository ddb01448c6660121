"""The formats of a report by file suffix, and writing them whole or not at all."""

import csv
import html
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from lt_onnx.errors import InputError
from lt_onnx.files import atomic_write, check_distinct, check_places
from lt_onnx.report.document import plain
from lt_onnx.report.templates import render
from lt_onnx.units import shown

CONFIG_SUFFIX = ".toml"  # of the file beside a report that holds the words of its run
MAX_REPORT_BYTES = 1 << 26  # that are looked at for the command that they are of
TOLD = {".md": " (Markdown)", ".xml": " (JUnit)"}
MAX_HEAD = 800  # characters in which a report names what made it


def _json(document: dict[str, Any], folder: Path | None = None) -> str:
    return json.dumps(document, indent=1) + "\n"


def _csv(document: dict[str, Any], folder: Path | None = None) -> str:
    """The rows of a document of rows: numbers within a figure get columns, lists get none."""
    out = io.StringIO()
    rows = [dict(_cells(row)) for row in document.get("points") or document["panels"]]
    writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _laid_out(kind: str, document: dict[str, Any], folder: Path) -> str:
    return render(document, kind, folder)


def _cells(row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in row.items():
        if isinstance(value, Mapping):
            yield from ((f"{name}_{part}", one) for part, one in _cells(value))
        elif not isinstance(value, list):
            yield name, value


# of a document, and of the folder that it will lie in
Formats: TypeAlias = Mapping[str, Callable[[dict[str, Any], Path], str]]
FORMATS: Formats = {  # of documents with a verdict, and …
    ".json": _json,
    **{f".{kind}": partial(_laid_out, kind) for kind in ("md", "xml", "html")},
}
ROW_FORMATS: Formats = {".json": _json, ".csv": _csv}  # … of rows, and …
JSON_FORMAT: Formats = {".json": _json}  # … of any data


def check_reports(
    paths: Sequence[Path],
    inputs: Iterable[Path] = (),
    *,
    force: bool = False,
    again: str | None = None,
    formats: Formats = FORMATS,
    config: str = "",
) -> None:
    """Raises InputError unless every path can become a report; to be asked before any work.

    None may be one of the `inputs`. `force` lets reports replace files; without, only a report of
    the command `again`, which goes on, is replaced. The words of the run (`config`) are to lie
    beside them.
    """
    for path in paths:
        if path.suffix.lower() not in formats:
            raise InputError(f"`report` is '{path}'; end it in {_listed(formats)}")
    check_distinct(paths)
    places = [*paths, *_configs(paths, config)]
    check_places([p for p in places if not is_of(p, again)], inputs, force=force)


def _listed(formats: Formats) -> str:
    """Suffixes, as a sentence has them."""
    *others, last = (s + TOLD.get(s, "") for s in formats)
    return f"{', '.join(others)} or {last}" if others else last


def _configs(paths: Sequence[Path], config: str) -> list[Path]:
    """The files of a run's words, beside its reports, that do not hold them yet."""
    files = dict.fromkeys(path.with_suffix(CONFIG_SUFFIX) for path in paths if config)
    return [f for f in files if not f.is_file() or f.read_bytes() != config.encode()]


def is_of(path: Path, command: str | None) -> bool:
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
    formats: Formats = FORMATS,
    config: str = "",
) -> None:
    """Write a document in the formats that the suffixes ask for; the rest as `check_reports`."""
    check_reports(paths, force=force, again=again, formats=formats, config=config)
    finite = plain(document)
    texts = {path: formats[path.suffix.lower()](finite, path.parent) for path in paths}
    texts |= dict.fromkeys(_configs(paths, config), config)
    for path, text in texts.items():
        _write(path, text, force=force or is_of(path, again))


def _write(path: Path, text: str, *, force: bool) -> None:
    with atomic_write(path, force=force) as (stream,):
        stream.write(text.encode())
