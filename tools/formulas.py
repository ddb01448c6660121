"""Formulas of the pages, typeset when these are built: a hook of mkdocs.

A block between lines of `$$` is drawn by matplotlib as an SVG in the colour of the text, so that
pages load nothing from elsewhere. What is not drawn is the source of the formula: it is read aloud.
"""

import html
import io
import re
from typing import Any

import matplotlib
from matplotlib.figure import Figure

BLOCK = re.compile(r"^\$\$\n(.*?)\n\$\$$", re.MULTILINE | re.DOTALL)
INK = "#1d2330"


def on_page_markdown(markdown: str, **_: Any) -> str:
    """A page with its formulas as pictures."""
    return BLOCK.sub(lambda match: formula(" ".join(match[1].split())), markdown)


def formula(source: str) -> str:
    """The formula as HTML."""
    settings: dict[Any, Any] = {"mathtext.fontset": "cm", "svg.hashsalt": "lt-onnx"}
    with matplotlib.rc_context({**settings, "text.color": INK}):
        figure, out = Figure(), io.StringIO()
        figure.text(0, 0, f"${source}$", fontsize=13)
        figure.savefig(
            out, format="svg", bbox_inches="tight", transparent=True, metadata={"Date": None}
        )
    drawn = out.getvalue().replace(INK, "currentColor")
    svg = drawn[drawn.index("<svg") :].replace("<svg", '<svg class="formula" role="img"', 1)
    label = html.escape(source, quote=True)
    return f'<div class="formula" aria-label="{label}">{"".join(svg.splitlines())}</div>'
