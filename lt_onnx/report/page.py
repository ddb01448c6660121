"""One HTML page that needs no network: verdict, figures, plots and tables."""

from pathlib import Path
from typing import Any

from lt_onnx.report import figures
from lt_onnx.report.plots import plots

TEMPLATE = Path(__file__).with_name("page.html")


def render(document: dict[str, Any]) -> str:
    """A document as HTML; everything that comes from files is escaped."""
    from jinja2 import Environment

    single = document["kind"] != "zoo"
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        TEMPLATE.read_text(encoding="utf-8")
    )
    failed = [check for check in document["checks"] if not check["passed"]]
    return template.render(
        document=document,
        title=figures.title(document),
        failed=failed,
        summary=figures.summary(document) if single else [],
        sections=_sections(document),
        plots=plots(document) if single else [],
        weakest=figures.weakest(document) if single else "",
    )


def _sections(document: dict[str, Any]) -> list[dict[str, Any]]:
    """The tables: title, head, rows, and how many columns from the left are words."""
    if document["kind"] == "zoo":
        return [_section("Models", figures.ZOO_HEAD, figures.zoo_rows(document), 2)]
    dense = [
        [place["name"], place["op"], place["reason"], f"{place['parameters']:,}"]
        for place in document.get("dense") or []
    ]
    found = [
        _section("Layers", figures.LAYER_HEAD, figures.layer_rows(document), 2),
        _section("Where error enters", figures.TRACE_HEAD, figures.trace_rows(document), 1),
        _section("What stays dense", ("node", "op", "why", "parameters"), dense, 3),
    ]
    return [section for section in found if section["rows"]]


def _section(
    title: str, head: tuple[str, ...], rows: list[list[str]], words: int
) -> dict[str, Any]:
    return {"title": title, "head": head, "rows": rows, "words": words}
