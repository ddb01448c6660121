"""Documents laid out by templates: `page.html`, `page.md` for the summary of a CI, and `page.xml`.

The XML is JUnit's: one case per check, so that any CI shows which one failed and why.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lt_onnx.report import figures
from lt_onnx.report.plots import plots

MAX_ROWS = 100  # of a table in Markdown


def render(document: Mapping[str, Any], kind: str) -> str:
    """A document as `html`, `md` or `xml`; what comes from files is escaped."""
    from jinja2 import Environment

    environment = Environment(
        autoescape=kind != "md", trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters |= {"cell": _cell, "decimal": "{:,}".format}
    template = Path(__file__).with_name(f"page.{kind}").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        document=document,
        title=figures.title(document),
        failed=[check for check in document["checks"] if not check["passed"]],
        summary=figures.summary(document),
        tables=figures.tables(document),
        trace_title=figures.TRACE_TITLE,
        weakest=figures.weakest(document),
        plots=plots,
        max_rows=MAX_ROWS,
    )


def _cell(text: str) -> str:
    """Text in a cell of a Markdown table."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
