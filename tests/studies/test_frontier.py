"""The frontier: which points are best, from values and from real tickets."""

import csv
import json
import math
import subprocess
import sys
import warnings
from dataclasses import asdict, replace
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import pytest
from paths import MODELS
from test_reports import SCHEMA

from lt_onnx.cli.app import run
from lt_onnx.cli.frontier import Grid
from lt_onnx.errors import InputError
from lt_onnx.options import Mode, changed
from lt_onnx.report.schema import Point
from lt_onnx.studies.frontier import by_size, known_points, leading
from lt_onnx.studies.plots import COLOURS, check_picture, draw_frontier
from lt_onnx.version import __version__


def test_the_frontier_of_a_small_network(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report, picture = tmp_path / "f.json", tmp_path / "f.png"
    words = [
        "frontier",
        str(MODELS / "plain-relu.onnx"),
        "--base-size",
        "4",
        "--price",
        "0,0.01",
        "--samples",
        str(MODELS / "digits.samples.npz"),
    ]

    tables = ["--report", str(report), "--report", str(report.with_suffix(".csv"))]
    assert run([*words, *tables, "--picture", str(picture)]) == 0
    assert "the target's own accuracy" in capsys.readouterr().out
    document = json.loads(report.read_text())
    jsonschema.validate(document, SCHEMA)
    points = document["points"]
    assert len(points) == 4
    assert all(0 < p["packed_bytes"] < p["dense_bytes"] for p in points)
    rows = [*csv.DictReader(report.with_suffix(".csv").open())]
    assert [float(row["sqnr_db"]) for row in rows] == [p["sqnr_db"] for p in points]
    for mode in ("l+1", "2l"):
        best = [p["sqnr_db"] for p in points if p["mode"] == mode and p["best"]]
        assert best == sorted(best)
        assert max(p["sqnr_db"] for p in points if p["mode"] == mode) == best[-1]
    assert picture.read_bytes().startswith(b"\x89PNG")
    # two workers make the same
    two = [*words, "--workers", "2", "--mode", "2l", "--price", "0.01", "--json"]
    assert run(two) == 0
    (point,) = json.loads(capsys.readouterr().out)["points"]
    same = next(p for p in points if (p["mode"], p["price"]) == ("2l", 0.01))
    assert {**point, "seconds": 0, "best": 0} == {**same, "seconds": 0, "best": 0}
    # the report is of this command: nothing of it is made again
    assert run([*words, "--report", str(report), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["points"] == points
    # the words beside it are those of the run, and others go before them
    config = ["frontier", "--config", str(report.with_suffix(".toml"))]
    assert run([*config, "--report", str(report)]) == 0
    assert run([*config, "--price", "x"]) == 2
    assert run([*words[:2], "--price", "x"]) == 2
    assert run([*words[:3], "4,x"]) == 2


INTERRUPTED = """
import sys
from lt_onnx.cli.app import run
from lt_onnx.studies import frontier

one = frontier._point
made = []

def counted(*words):
    if len(made) == int(sys.argv[1]):
        raise KeyboardInterrupt
    made.append(one(*words))
    return made[-1]

frontier._point = counted
code = run(sys.argv[2:])
print(len(made), file=sys.stderr)
sys.exit(code)
"""


def test_interrupted_it_keeps_its_points_and_goes_on(tmp_path: Path) -> None:
    report, model = tmp_path / "f.json", str(MODELS / "plain-relu.onnx")
    words = ["frontier", model, "--mode", "2l", "--base-size", "4", "--price", "0,0.01"]
    words += ["--report", str(report)]

    def typed(most: int) -> tuple[int, list[str]]:
        command = [sys.executable, "-c", INTERRUPTED, str(most), *words]
        ended = subprocess.run(command, capture_output=True, text=True)
        return ended.returncode, ended.stderr.splitlines()

    code, said = typed(1)
    told = f"{report} keeps what is finished: the same command goes on from there"
    assert (code, said) == (3, [f"lt-onnx: error: interrupted; {told}", "1"])
    first = json.loads(report.read_text())["points"]
    assert typed(1) == (0, ["1"])  # one more was made
    assert len(json.loads(report.read_text())["points"]) == 2
    assert first[0]["kept"] in [p["kept"] for p in json.loads(report.read_text())["points"]]


def test_points_of_another_file_or_version_are_not_known() -> None:
    document = {"target": {"sha256": "a"}, "version": __version__}
    document["points"] = [{**asdict(point), "sqnr_db": None} for point in points()[:1]]

    assert [p.sqnr_db for p in known_points(document, "a")] == [math.inf]
    assert known_points(document, "b") == []
    assert known_points({**document, "version": "0"}, "a") == []
    assert known_points({**document, "points": [{}]}, "a") == []


def points() -> list[Point]:
    """Sizes 1 to 4 of each mode; the third is larger than the second and no better."""
    shares = dict.fromkeys(("agreement", "accuracy", "target_accuracy"))
    sizes = dict.fromkeys(("per_target_weight", "kept", "dense_bytes", "packed_bytes"), 0)
    rest = {"price": None, "parameters": 0, "sqnr_db": 0.0, "seconds": 0.0}
    point = Point("l+1", 5, 30.0, **rest, **sizes, **shares)  # type: ignore[arg-type]
    return [
        replace(point, mode=mode, per_target_weight=size, dense_bytes=-int(size), sqnr_db=sqnr)
        for mode, more in (("2l", 1.0), ("l+1", 0.0))
        for size, sqnr in ((4.0, 30 + more), (2.0, 20 + more), (1.0, 10 + more), (3.0, 19 + more))
    ]


def test_settings_are_all_pairs_and_out_of_range_ones_are_refused_before_any_work() -> None:
    grid = Grid(base_size=(6, 8), price=(0.0, 0.01), seeds=2)
    chosen = [(s.mode.value, s.base_size, s.price) for s in grid.settings()]

    assert chosen == [(mode, m, μ) for mode in ("l+1", "2l") for m in (6, 8) for μ in (0.0, 0.01)]
    assert changed(grid) == {"base_size": "6,8", "price": "0,0.01", "seeds": 2}
    assert [s.sqnr for s in Grid(Mode.TWO_L, (20.0, 30.0)).settings()] == [20.0, 30.0]
    for wrong, said in (
        ({"seeds": 0}, "`seeds` is 0; give 1 or more"),
        ({"sqnr": (20.0, 70.0)}, "`sqnr` is 70; give decibels, above 0 up to 60"),
        ({"base_size": (4, 40)}, "`base_size` is 40; give 2 to 32"),
    ):
        with pytest.raises(InputError, match=said):
            Grid(**wrong)


def test_the_best_are_those_that_no_smaller_one_is_as_faithful_as() -> None:
    found = by_size(points())

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
    drawn = [replace(point, packed_bytes=1000) for point in points()]
    with warnings.catch_warnings(action="error"):
        draw_frontier(drawn, title, path=tmp_path / "f.svg", target_bytes=1500)
    ElementTree.parse(tmp_path / "f.svg")
    assert "target's file, 2 kB" in (tmp_path / "f.svg").read_text()


def test_a_picture_shows_every_mode() -> None:
    assert set(COLOURS) == set(Mode)
    assert len(set(COLOURS.values())) == len(COLOURS)
