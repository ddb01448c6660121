"""The pictures of `statistics` and `frontier`; the file's suffix decides the format."""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lt_onnx.errors import InputError
from lt_onnx.files import atomic_write
from lt_onnx.options import Mode
from lt_onnx.report.plots import BLUE, GREEN, GREY, ORANGE, label, svg_text, themed
from lt_onnx.report.schema import Point
from lt_onnx.studies.frontier import leading
from lt_onnx.studies.statistics import Panel
from lt_onnx.units import size_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = {Mode.L_PLUS_1: BLUE, Mode.L_PLUS_K: GREEN, Mode.TWO_L: ORANGE}
PICTURE_SUFFIXES = (".png", ".svg", ".pdf")


def check_picture(path: Path) -> None:
    """Raises InputError unless a picture can be called `path`; to be asked before any work."""
    if path.suffix.lower() not in PICTURE_SUFFIXES:
        raise InputError(f"`picture` is '{path}'; end it in one of {', '.join(PICTURE_SUFFIXES)}")


def draw_statistics(panels: Sequence[Panel], path: Path, *, force: bool = False) -> None:
    """Error and size of every rule and variable, two panels each, as Figures 3 and 4 have them.

    `force` lets the picture replace a file. Raises InputError when it cannot be written.
    """
    with themed():
        figure = _figure(10.5, 5.2)
        axes = figure.subplots(2, len(panels)).T
        for (above, below), panel in zip(axes, panels, strict=True):
            bins = 10.0 ** np.arange(-7, 0.51, 0.125)
            above.hist(np.maximum(panel.error, bins[0]), bins, color=BLUE)
            above.set_xscale("log")
            above.set_xticks([1e-6, 1e-4, 1e-2, 1])
            above.axvline(panel.tolerance, color=ORANGE, linewidth=1)
            above.set_title(f"{panel.title}\n{panel.rule}, {panel.variable}", fontsize=9)
            above.set_xlabel("|error|; line: ε", fontsize=8)
            sizes = np.bincount(panel.size)
            below.bar(np.arange(len(sizes)), sizes, color=BLUE)
            below.axvline(float(panel.size.mean()), color=ORANGE, linewidth=1)
            below.set_xlabel("elements kept, |S|; line: mean", fontsize=8)
            below.xaxis.get_major_locator().set_params(integer=True)
        for axis in axes.reshape(-1):
            axis.tick_params(labelsize=7)
            axis.set_yticks([])
            axis.spines[["top", "right", "left"]].set_visible(False)
        for axis in axes[0]:
            axis.set_ylabel("share of problems", fontsize=8)
        _save(figure, path, force=force)


def draw_frontier(
    points: Sequence[Point], title: str, *, path: Path, target_bytes: int, force: bool = False
) -> None:
    """Fidelity against ticket weights, and against the bytes of packs beside the target's own.

    A line goes through the best of each mode. `force` lets the picture replace a file. Raises
    InputError when it cannot be written.
    """
    with themed():
        figure = _figure(10, 4.2)
        left, right = figure.subplots(1, 2, sharey=True)
        _scatter(left, points, lambda point: point.per_target_weight)
        _scatter(right, points, lambda point: float(point.packed_bytes))
        right.axvline(target_bytes, color=GREY, linewidth=1.2, linestyle="--")
        place: dict[str, Any] = {"xytext": (-5, -2), "textcoords": "offset points"}
        place |= {"rotation": 90, "ha": "right", "va": "top", "fontsize": 8}
        top = target_bytes, right.get_ylim()[1]
        right.annotate(f"target's file, {size_text(target_bytes)}", top, **place)
        right.xaxis.set_major_formatter(lambda value, _: size_text(value))
        left.set_xlabel("ticket weights per target weight", fontsize=9)
        right.set_xlabel("size of the packed ticket (.ltz)", fontsize=9)
        left.set_ylabel("SQNR of the outputs' variation, dB", fontsize=9)
        left.legend(frameon=False, fontsize=8)
        labels = "μ" if any(point.price is not None for point in points) else "promised dB"
        figure.suptitle(f"{label(title)}: fidelity against size (labels: {labels})", fontsize=10)
        _save(figure, path, force=force)


def _scatter(axis: "Axes", points: Sequence[Point], size: Callable[[Point], float]) -> None:
    from matplotlib.ticker import LogLocator, NullFormatter

    for mode, colour in COLOURS.items():
        of_mode = [point for point in points if point.mode == mode]
        if not of_mode:
            continue
        style: dict[str, Any] = {"color": colour, "label": f"mode {mode}", "markersize": 5}
        axis.plot([size(p) for p in of_mode], [p.sqnr_db for p in of_mode], "o", **style)
        best = leading(of_mode, size)
        axis.plot([size(p) for p in best], [p.sqnr_db for p in best], color=colour, linewidth=1)
        for p in best:
            place = {"xytext": (4, -9), "textcoords": "offset points", "fontsize": 7}
            axis.annotate(_setting(p), (size(p), p.sqnr_db), **place)  # type: ignore[arg-type]
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
    axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)


def _setting(point: Point) -> str:
    return f"{point.sqnr:g}" if point.price is None else f"{point.price:g}"


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: "Figure", path: Path, *, force: bool) -> None:
    """Write it whole, or not at all."""
    with atomic_write(path, force=force) as (stream,):
        if path.suffix.lower() == ".svg":
            stream.write(svg_text(figure, alone=True).encode())
            return
        with warnings.catch_warnings(action="ignore", category=UserWarning):  # of missing glyphs
            figure.savefig(stream, format=path.suffix[1:].lower(), dpi=150)
