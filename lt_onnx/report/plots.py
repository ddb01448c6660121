"""The plots of a report page, as SVG text that needs nothing from outside."""

import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from lt_onnx.construct.results import EDGES
from lt_onnx.units import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# seen on white and on black; INK, of text and axes, takes the page's own colour in an SVG
BLUE, ORANGE, GREEN, GREY, INK = "#4580bf", "#d9822b", "#3f9a72", "#8a8f98", "#1d2330"
# of a picture that stands alone
STYLE = f"""<style>
svg {{ color: {INK} }}
@media (prefers-color-scheme: dark) {{ svg {{ color: #e6e9ee }} }}
</style>
"""
MAX_NAMED = 32  # layers up to which an axis names each
MAX_NAME = 22  # characters of such a name
MAX_OUTPUTS = 4  # in the scatter plot
WIDE, NARROW = 9.6, 4.7  # inches
BROAD = '<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="691'  # how wide ones begin


def plots(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """(caption, SVG) of everything that the document has figures for."""
    trace, layers = document.get("trace") or [], document.get("layers") or []
    outputs = (document.get("validate") or {}).get("outputs", [])
    drawn: list[tuple[str, str]] = []

    def draw(caption: str, width: float, function: Callable[..., None], *figures: Any) -> None:
        drawn.append((caption, _svg(width, function, *figures)))

    if trace:
        caption = "SQNR of every layer in dB: of its own subsets, and of all up to it"
        draw(f"{caption}; more is better.", WIDE, _sqnrs, trace)
    if any(layer["error_counts"] for layer in layers):
        caption = "Error of the subset sums, |z − Σ|; the line is ε."
        draw(caption, NARROW, _errors, layers, document["options"]["tolerance"])
        draw("Elements of the subsets, |S|.", NARROW, _sizes, layers)
        caption = (
            "Density: kept over random weights, layer by layer; grey: layers that open blocks."
        )
        draw(caption, WIDE, _densities, layers)
    if any(out["points"] for out in outputs):
        caption = "Output values of the ticket over those of the target; the line is equality."
        draw(caption, NARROW, _scatter, outputs)
    return drawn


def _svg(width: float, draw: Callable[..., None], *figures: Any) -> str:
    from matplotlib.figure import Figure

    with themed():
        figure = Figure(figsize=(width, 3.1), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        draw(axes, *figures)
        return svg_text(figure)


@contextmanager
def themed() -> Iterator[None]:
    """A block in which figures are drawn in `INK`, and written the same bytes each time."""
    import matplotlib

    inked = "text.color axes.edgecolor axes.labelcolor xtick.color ytick.color"
    settings: dict[Any, Any] = dict.fromkeys(inked.split(), INK)
    settings |= {"svg.fonttype": "none", "svg.hashsalt": "lt-onnx"}
    with matplotlib.rc_context(settings):
        yield


def svg_text(figure: "Figure", *, alone: bool = False) -> str:
    """A figure as SVG in the colour of the text around it; `alone`, as a file of its own."""
    out = io.StringIO()
    with warnings.catch_warnings(action="ignore", category=UserWarning):  # of glyphs it has not
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue().replace(INK, "currentColor")
    start = text.index("<svg")
    if not alone:
        return text[start:]
    inside = text.index(">", start) + 2
    return text[:inside] + STYLE + text[inside:]


def _sqnrs(axes: "Axes", trace: list[dict[str, Any]]) -> None:
    place = np.arange(len(trace))
    for key, shift, color, label in (
        ("own_sqnr_db", -0.2, BLUE, "own"),
        ("sqnr_db", 0.2, ORANGE, "up to here"),
    ):
        height = [np.nan if layer[key] is None else layer[key] for layer in trace]
        axes.bar(place + shift, height, 0.38, color=color, label=label)
    _names(axes, [layer["name"] for layer in trace])
    axes.set_ylabel("SQNR, dB", fontsize=8)
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.98))


def _errors(axes: "Axes", layers: list[dict[str, Any]], tolerance: float) -> None:
    counts = sum(np.array(layer["error_counts"]) for layer in layers if layer["error_counts"])
    axes.stairs(counts, EDGES, fill=True, color=BLUE)
    axes.set_xscale("log")
    axes.axvline(tolerance, color=ORANGE, linewidth=1.2)
    axes.set_xlabel("error |z − Σ|; line: ε", fontsize=8)
    axes.set_ylabel("subset sums", fontsize=8)
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _sizes(axes: "Axes", layers: list[dict[str, Any]]) -> None:
    every = [layer["size_counts"] for layer in layers if layer["size_counts"]]
    total = np.zeros(max((len(counts) for counts in every), default=1), np.int64)
    for counts in every:
        total[: len(counts)] += counts
    axes.bar(np.arange(len(total)), total, color=BLUE)
    axes.set_xticks(np.arange(0, len(total), max(1, len(total) // 10)))
    axes.set_xlabel("elements |S|", fontsize=8)
    axes.set_ylabel("subset sums", fontsize=8)
    axes.yaxis.set_major_formatter("{x:,.0f}")


def _densities(axes: "Axes", layers: list[dict[str, Any]]) -> None:
    density = [layer["kept"] / max(layer["source_weights"], 1) for layer in layers]
    colours = [GREY if layer["kind"] == "univariate" else BLUE for layer in layers]
    axes.bar(np.arange(len(layers)), density, color=colours)
    _names(axes, [layer["name"] for layer in layers])
    axes.set_ylabel("kept / random weights", fontsize=8)


def _scatter(axes: "Axes", outputs: list[dict[str, Any]]) -> None:
    axes.set_prop_cycle(color=[BLUE, ORANGE, GREEN, "#a86bb0"])
    for out in outputs[:MAX_OUTPUTS]:
        if out["points"]:
            x, y = np.array(out["points"], float).T
            axes.plot(x, y, ".", markersize=4, alpha=0.6, label=label(out["name"]))
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.8)
    axes.set_xlabel("the target's values", fontsize=8)
    axes.set_ylabel("the ticket's values", fontsize=8)
    if len(outputs) > 1:
        axes.legend(fontsize=8, frameon=False)


def _names(axes: "Axes", names: list[str]) -> None:
    """Layer names under the bars, or numbers where they are many."""
    if len(names) > MAX_NAMED:
        axes.set_xlabel("layer, in order", fontsize=8)
        return
    labels = [label(name) for name in names]
    axes.set_xticks(range(len(names)), labels, rotation=45, ha="right", fontsize=7)


def label(name: str) -> str:
    """A name as matplotlib draws it: the end of a long one, and no formula."""
    short = name if len(name) <= MAX_NAME else f"…{name[1 - MAX_NAME :]}"
    return shown(short).replace("$", r"\$")
