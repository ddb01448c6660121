"""One HTML page that needs no network: verdict, figures, plots and tables."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lt_onnx.report import figures
from lt_onnx.report.plots import plots

TEMPLATE = Path(__file__).with_name("page.html")


def render(document: Mapping[str, Any]) -> str:
    """A document as HTML; everything that comes from files is escaped."""
    from jinja2 import Environment

    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    return template.render(
        document=document,
        title=figures.title(document),
        failed=[check for check in document["checks"] if not check["passed"]],
        summary=figures.summary(document),
        sections=[_section(table) for table in figures.tables(document)],
        plots=plots(document),
        weakest=figures.weakest(document),
    )


def _section(table: figures.Table) -> dict[str, Any]:
    """A table with its words on the left: title, head, rows, and how many columns are words."""
    head = sorted(table.rows[0], key=lambda column: column not in table.words)
    rows = [[row[column] for column in head] for row in table.rows]
    return {"title": table.title, "head": head, "rows": rows, "words": len(table.words)}
