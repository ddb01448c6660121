"""Documents laid out by templates: `page.html`, `page.md` for the summary of a CI, and `page.xml`.

The XML is JUnit's: one case per check, so that any CI shows which one failed and why.
"""

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from lt_onnx.report import figures
from lt_onnx.report.plots import BROAD, plots
from lt_onnx.units import shown

MAX_ROWS = 100  # of a table in Markdown
MARKUP = re.compile(r"[\\`*_\[\]<>|~$&]|:(?=//)|(?<=www)\.", re.IGNORECASE)


class Verbatim(str):
    """Text that Markdown shows as it is, between fences."""


def render(document: Mapping[str, Any], kind: str, folder: Path | None = None) -> str:
    """A document as `html`, `md` or `xml`; what comes from files is escaped and cut.

    `folder` is where it will lie: from there a zoo's page links to those of its networks.
    """
    from jinja2 import Environment

    environment = Environment(
        autoescape=kind != "md",
        finalize=_markdown if kind == "md" else None,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["decimal"] = "{:,}".format
    command = shown(document["command"], len(document["command"]))
    links = _links(document, folder) if kind == "html" and folder is not None else {}
    document = {**_shown(document), "command": command}
    template = Path(__file__).with_name(f"page.{kind}").read_text(encoding="utf-8")
    return environment.from_string(template).render(
        document=document,
        command=Verbatim(command),
        title=figures.title(document),
        failed=[check for check in document["checks"] if not check["passed"]],
        summary=figures.summary(document),
        tables=figures.tables(document),
        trace_title=figures.TRACE_TITLE,
        weakest=figures.weakest(document),
        plots=plots,
        broad=BROAD,
        max_rows=MAX_ROWS,
        links=links,
    )


def _links(document: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Where the pages of a zoo's networks lie, by the name that is shown."""
    return {
        shown(model["name"]): quote(Path(os.path.relpath(model["page"], folder)).as_posix())
        for model in document.get("models") or []
        if model["page"] is not None
    }


def _shown(value: Any) -> Any:
    """Data with every text as it can be shown."""
    match value:
        case str():
            return shown(value.replace("\n", " "))
        case list():
            return [_shown(entry) for entry in value]
        case dict():
            return {_shown(key): _shown(entry) for key, entry in value.items()}
    return value


def _markdown(value: object) -> str:
    """A value in Markdown, where nothing of it is markup or a link."""
    return value if isinstance(value, Verbatim) else MARKUP.sub(r"\\\g<0>", str(value))
