"""The frontier: which points are best, from values and from real tickets."""

import json
import warnings
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
from paths import MODELS

from lt_onnx.cli.app import run
from lt_onnx.errors import InputError
from lt_onnx.studies.frontier import Point, frontier, leading
from lt_onnx.studies.plots import check_picture, draw_frontier


def test_the_frontier_of_a_small_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, picture = tmp_path / "f.json", tmp_path / "f.png"
    words = [
        "frontier",
        str(MODELS / "plain-relu.onnx"),
        "--base-size",
        "4,8",
        "--price",
        "0,0.01",
        "--samples",
        str(MODELS / "digits.samples.npz"),
    ]

    assert run([*words, "--report", str(report), "--picture", str(picture)]) == 0
    assert "the target's own accuracy" in capsys.readouterr().out
    points = json.loads(report.read_text())["points"]
    assert len(points) == 8
    for mode in ("l+1", "2l"):
        best = [p["sqnr_db"] for p in points if p["mode"] == mode and p["best"]]
        assert best == sorted(best)
        assert max(p["sqnr_db"] for p in points if p["mode"] == mode) == best[-1]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert run([*words[:2], "--price", "x"]) == 2
    assert run([*words[:3], "4,x"]) == 2


def points() -> list[Point]:
    """Sizes 1 to 4 of each mode; the third is larger than the second and no better."""
    point = Point("l+1", 5, 30.0, None, 0.0, 0.0, 0, 0, 0.0, None, None, None, 0.0)
    return [
        replace(point, mode=mode, per_target_weight=size, dense_bytes=-int(size), sqnr_db=sqnr)
        for mode, more in (("2l", 1.0), ("l+1", 0.0))
        for size, sqnr in ((4.0, 30 + more), (2.0, 20 + more), (1.0, 10 + more), (3.0, 19 + more))
    ]


def test_the_best_are_those_that_no_smaller_one_is_as_faithful_as() -> None:
    found = frontier(points())

    assert [(p.per_target_weight, p.mode, p.best) for p in found] == [
        (size, mode, size != 3) for size in (1.0, 2.0, 3.0, 4.0) for mode in ("2l", "l+1")
    ]


def test_another_size_has_another_frontier() -> None:
    of_mode = [point for point in points() if point.mode == "l+1"]

    assert [p.sqnr_db for p in leading(of_mode, lambda p: p.per_target_weight)] == [10, 20, 30]
    assert [p.sqnr_db for p in leading(of_mode, lambda p: p.dense_bytes)] == [30]
    equal = [replace(of_mode[0], sqnr_db=1.0), replace(of_mode[0], sqnr_db=2.0)]
    assert [p.sqnr_db for p in leading(equal, lambda p: p.per_target_weight)] == [2]


def test_a_picture_is_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_picture(tmp_path / "f.SVG")
    with pytest.raises(InputError, match=r"`picture` is 'f.jpg'; end it in one of .png, .svg"):
        check_picture(Path("f.jpg"))
    words = [
        "frontier",
        str(MODELS / "plain-relu.onnx"),
        "--picture",
        str(tmp_path / "no" / "f.png"),
    ]
    assert run(words) == 2
    assert "its folder does not exist" in capsys.readouterr().err


@pytest.mark.parametrize("title", ["$\\frac{$", "\x1b[31m\u202e", "caf\udce9", "名前", "n" * 4000])
def test_any_name_is_a_title(tmp_path: Path, title: str) -> None:
    drawn = [replace(point, dense_bytes=1000) for point in points()]
    with warnings.catch_warnings(action="error"):
        draw_frontier(drawn, title, path=tmp_path / "f.svg")
    ElementTree.parse(tmp_path / "f.svg")
