"""Markdown: verdict, checks and tables, short enough for the summary page of a CI."""

from collections.abc import Sequence
from typing import Any

from lt_onnx.report import figures


def render(document: dict[str, Any]) -> str:
    """A document as Markdown."""
    parts = [f"# lt-onnx: {document['verdict']} – {figures.title(document)}"]
    parts.append(
        _table(
            ("check", "", "found"),
            [
                [check["name"], "passed" if check["passed"] else "**FAILED**", check["message"]]
                for check in document["checks"]
            ],
        )
    )
    if document["kind"] == "zoo":
        parts.append(_table(figures.ZOO_HEAD, figures.zoo_rows(document)))
    else:
        parts += _single(document)
    parts.append(f"Made by lt-onnx {document['version']} with\n\n```sh\n{document['command']}\n```")
    return "\n\n".join(parts) + "\n"


def _single(document: dict[str, Any]) -> list[str]:
    """What only one target and its ticket have."""
    rows = [list(row) for row in figures.summary(document)]
    parts = [_table(("", "target", "ticket"), rows)] if rows else []
    known = document["validate"]
    if known:
        parts.append(f"Validated on {known['samples']:,} samples: {known['origin']}.")
    layers = figures.layer_rows(document)
    if layers:
        parts += ["## Layers", _cut(figures.LAYER_HEAD, layers)]
    traced = figures.trace_rows(document)
    if traced:
        parts += [
            "## Where error enters",
            figures.weakest(document),
            _cut(figures.TRACE_HEAD, traced),
        ]
    dense = document.get("dense") or []
    if dense:
        rows = [
            [place["name"], place["op"], f"{place['parameters']:,}", place["reason"]]
            for place in dense
        ]
        parts += ["## What stays dense", _cut(("node", "op", "parameters", "why"), rows)]
    return [part for part in parts if part]


def _cut(head: Sequence[str], rows: list[list[str]]) -> str:
    some = rows[: figures.PLACES]
    rest = len(rows) - len(some)
    return _table(head, some) + (f"\n\n… and {rest} more, in the JSON report" if rest else "")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
