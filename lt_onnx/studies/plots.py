"""The pictures, drawn by matplotlib without a display; the file's suffix decides its format."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lt_onnx.errors import InputError
from lt_onnx.studies.statistics import Panel

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
BLUE, ORANGE, GREY = "#3b6ea8", "#d9822b", "#8a8a8a"


def check_picture(path: Path) -> None:
    """Raises InputError unless `path` can become a picture; to be asked before any work."""
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"--picture is '{path}'; end it in one of {', '.join(SUFFIXES)}")
    if not path.parent.is_dir():
        raise InputError(f"--picture {path}: its folder does not exist")


def draw_statistics(panels: Sequence[Panel], path: Path) -> None:
    """Error and size of every rule and variable, two panels each, as Figures 3 and 4 have them."""
    figure = _figure(10.5, 5.2)
    axes = figure.subplots(2, len(panels)).T
    for (above, below), panel in zip(axes, panels, strict=True):
        bins = 10.0 ** np.arange(-7, 0.51, 0.125)
        above.hist(np.maximum(panel.error, bins[0]), bins, color=BLUE)
        above.set_xscale("log")
        above.axvline(panel.tolerance, color=ORANGE, linewidth=1)
        above.set_title(f"{panel.title}\n{panel.rule}, {panel.variable}", fontsize=9)
        above.set_xlabel("|error|; line: ε", fontsize=8)
        sizes = np.bincount(panel.size)
        below.bar(np.arange(len(sizes)), sizes, color=BLUE)
        below.axvline(float(panel.size.mean()), color=ORANGE, linewidth=1)
        below.set_xlabel("|S|; line: mean", fontsize=8)
        below.xaxis.get_major_locator().set_params(integer=True)
    for axis in axes.reshape(-1):
        axis.tick_params(labelsize=7)
        axis.set_yticks([])
        axis.spines[["top", "right", "left"]].set_visible(False)
    _save(figure, path)


def _figure(width: float, height: float) -> "Figure":
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _save(figure: "Figure", path: Path) -> None:
    """Write beside the name and rename, so that no half picture is left."""
    plain: dict[str, Any] = {"metadata": {"Date": None}} if path.suffix == ".svg" else {}
    part = path.with_name(f".{path.stem}.part{path.suffix}")
    try:
        figure.savefig(part, dpi=150, **plain)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
