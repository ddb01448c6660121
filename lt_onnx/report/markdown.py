"""Markdown: verdict, checks and tables, short enough for the summary page of a CI."""

from collections.abc import Iterable, Mapping
from typing import Any

from lt_onnx.report import figures

MAX_ROWS = 100  # of a table


def render(document: Mapping[str, Any]) -> str:
    """A document as Markdown."""
    parts = [f"# lt-onnx: {document['verdict']} – {figures.title(document)}"]
    checks = [
        (check["name"], "passed" if check["passed"] else "**FAILED**", check["message"])
        for check in document["checks"]
    ]
    parts.append(_table(("check", "", "found"), checks))
    summary = figures.summary(document)
    if summary:
        parts.append(_table(("", "target", "ticket"), summary))
    compared = document.get("validate")
    if compared:
        parts.append(f"Validated on {compared['samples']:,} samples: {compared['origin']}.")
    for table in figures.tables(document):
        if document["kind"] != "zoo":
            parts.append(f"## {table.title}")
        if table.title == figures.TRACE_TITLE:
            parts.append(figures.weakest(document))
        rest = len(table.rows) - MAX_ROWS
        text = _table(table.rows[0], [row.values() for row in table.rows[:MAX_ROWS]])
        parts.append(text + (f"\n\n… and {rest} more, in the JSON report" if rest > 0 else ""))
    parts.append(f"Made by lt-onnx {document['version']} with\n\n```sh\n{document['command']}\n```")
    return "\n\n".join(part for part in parts if part) + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(head)
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(_cell(cell) for cell in line)} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
