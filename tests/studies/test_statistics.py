"""Figures 3 and 4 of the paper: within its intervals, printed, written and drawn."""

import csv
import json
from pathlib import Path

import jsonschema
import pytest
from test_reports import SCHEMA

from lt_onnx.cli.app import run
from lt_onnx.studies.statistics import measure


def test_the_statistics_lie_within_the_papers_intervals() -> None:
    """Figures 3 and 4, with the tolerance that the number of problems allows."""
    panels = {
        (p.variable, p.rule): p.summary() for p in measure(20_000, 15, tolerance=0.01, seed=1)
    }

    def value(variable: str, rule: str, key: str) -> float:
        return float(getattr(panels[variable, rule], key).mean)

    assert value("uniform", "best", "mean_error") == pytest.approx(6e-4, abs=2.5e-4)
    assert value("uniform", "best", "mean_size") == pytest.approx(7, abs=0.05)
    assert value("uniform", "smallest", "mean_size") == pytest.approx(2.3, abs=0.05)
    assert value("uniform", "smallest", "misses") == pytest.approx(0.0035, abs=0.0015)
    assert value("product", "best", "mean_error") == pytest.approx(7.6e-3, abs=1e-3)
    assert value("product", "smallest", "misses") == pytest.approx(0.035, abs=0.005)
    assert value("product", "smallest", "mean_size") == pytest.approx(2.5, abs=0.06)


def test_stats_prints_writes_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report, picture = tmp_path / "stats.json", tmp_path / "stats.svg"
    words = ["stats", "--count", "500", "--report", str(report), "--picture", str(picture)]
    words += ["--report", str(tmp_path / "stats.csv")]

    assert run(words) == 0
    assert "Figure 4 (c, d)" in capsys.readouterr().out
    document = json.loads(report.read_text())
    jsonschema.validate(document, SCHEMA)
    panels = document["panels"]
    rows = [*csv.DictReader((tmp_path / "stats.csv").open())]
    assert [float(r["mean_size_mean"]) for r in rows] == [p["mean_size"]["mean"] for p in panels]
    assert [sum(p["size_histogram"]) for p in panels] == [500] * 4
    assert picture.read_text().startswith("<?xml")
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        f"stats.{kind}" for kind in ("csv", "json", "svg", "toml")
    ]
    assert run(["stats", "--config", str(tmp_path / "stats.toml"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == document


@pytest.mark.parametrize(
    "words", [["--base-size", "40"], ["--count", "0"], ["--tolerance", "2"], ["--picture", "x.txt"]]
)
def test_stats_refuses_what_it_cannot_do(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["stats", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
