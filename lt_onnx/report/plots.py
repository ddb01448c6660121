"""The plots of a report page, as SVG text that needs nothing from outside."""

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from lt_onnx.construct.tally import EDGES

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BLUE, ORANGE, GREY = "#3b6ea8", "#d9822b", "#8a8f98"
NAMED = 32  # layers up to which an axis names each

Draw = Callable[["Axes", dict[str, Any]], None]


def plots(document: dict[str, Any]) -> list[tuple[str, str]]:
    """(caption, SVG) of everything that the document has figures for."""
    drawn: list[tuple[str, str]] = []
    if document.get("trace"):
        drawn.append(
            (
                "SQNR of every layer in dB: its own, and of all up to it; more is better.",
                _svg(_layers, document, 9.6),
            )
        )
    if any(layer["error_counts"] for layer in document.get("layers") or []):
        drawn.append(
            ("Error of the subset sums, |z − Σ|; the line is ε.", _svg(_errors, document, 4.7))
        )
        drawn.append(("Elements of the subsets, |S|.", _svg(_sizes, document, 4.7)))
        drawn.append(
            (
                "Density: kept weights over the random ones of each layer.",
                _svg(_densities, document, 9.6),
            )
        )
    if document.get("validate") and any(o["points"] for o in document["validate"]["outputs"]):
        drawn.append(
            (
                "Output values of the ticket over those of the target; the line is equality.",
                _svg(_scatter, document, 4.7),
            )
        )
    return drawn


def _svg(draw: Draw, document: dict[str, Any], width: float) -> str:
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lt-onnx"}):
        figure = Figure(figsize=(width, 3.1), layout="constrained")
        axes = figure.subplots()
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
        draw(axes, document)
        out = io.StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None}, transparent=True)
    text = out.getvalue()
    return text[text.index("<svg") :]


def _layers(axes: "Axes", document: dict[str, Any]) -> None:
    trace = document["trace"]
    place = np.arange(len(trace))
    own = [layer["own_sqnr_db"] if layer["own_sqnr_db"] is not None else np.nan for layer in trace]
    out = [layer["sqnr_db"] if layer["sqnr_db"] is not None else np.nan for layer in trace]
    axes.bar(place - 0.2, own, 0.38, color=BLUE, label="own")
    axes.bar(place + 0.2, out, 0.38, color=ORANGE, label="up to here")
    _names(axes, [layer["name"] for layer in trace])
    axes.set_ylabel("dB", fontsize=8)
    axes.legend(fontsize=8, frameon=False, ncols=2, loc="lower right", bbox_to_anchor=(1, 0.98))


def _errors(axes: "Axes", document: dict[str, Any]) -> None:
    counts = sum(
        np.array(layer["error_counts"]) for layer in document["layers"] if layer["error_counts"]
    )
    axes.stairs(counts, EDGES, fill=True, color=BLUE)
    axes.set_xscale("log")
    axes.axvline(document["options"]["tolerance"], color=ORANGE, linewidth=1.2)
    axes.set_ylabel("problems", fontsize=8)


def _sizes(axes: "Axes", document: dict[str, Any]) -> None:
    known = [layer["size_counts"] for layer in document["layers"] if layer["size_counts"]]
    total = np.zeros(max((len(counts) for counts in known), default=1), np.int64)
    for counts in known:
        total[: len(counts)] += counts
    axes.bar(np.arange(len(total)), total, color=BLUE)
    axes.set_xticks(np.arange(0, len(total), max(1, len(total) // 10)))
    axes.set_ylabel("problems", fontsize=8)


def _densities(axes: "Axes", document: dict[str, Any]) -> None:
    layers = document["layers"]
    density = [layer["kept"] / max(layer["source_weights"], 1) for layer in layers]
    colours = [GREY if layer["kind"] == "univariate" else BLUE for layer in layers]
    axes.bar(np.arange(len(layers)), density, color=colours)
    _names(axes, [layer["name"] for layer in layers])
    axes.set_ylabel("density", fontsize=8)


def _scatter(axes: "Axes", document: dict[str, Any]) -> None:
    several = len(document["validate"]["outputs"]) > 1
    for out in document["validate"]["outputs"][:4]:
        if out["points"]:
            x, y = np.array(out["points"], float).T
            axes.plot(x, y, ".", markersize=4, alpha=0.6, label=out["name"])
    low, high = axes.get_xlim()
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.8)
    axes.set_xlabel("target", fontsize=8)
    axes.set_ylabel("ticket", fontsize=8)
    if several:
        axes.legend(fontsize=8, frameon=False)


def _names(axes: "Axes", names: list[str]) -> None:
    """Layer names under the bars, or numbers where they are many."""
    if len(names) > NAMED:
        axes.set_xlabel("layer, in order", fontsize=8)
        return
    short = [name if len(name) <= 22 else f"…{name[-21:]}" for name in names]
    axes.set_xticks(range(len(names)), short, rotation=45, ha="right", fontsize=7)
