"""The paper's statistics and theory, and the frontier: what the studies print and draw."""

import json
import math
from pathlib import Path

import pytest
from conftest import MODELS
from graphs import Builder, save

from lt_onnx import convert
from lt_onnx.cli.app import run
from lt_onnx.errors import InputError
from lt_onnx.options import make_options
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.studies.statistics import measure
from lt_onnx.studies.theory import required_widths


def test_the_statistics_lie_within_the_papers_intervals() -> None:
    """Figures 3 and 4, with the tolerance that the number of problems allows."""
    panels = {
        (p.variable, p.rule): p.summary() for p in measure(20_000, 15, tolerance=0.01, seed=1)
    }

    def value(variable: str, rule: str, key: str) -> float:
        return float(panels[variable, rule][key]["mean"])

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

    assert run(words) == 0
    assert "Figure 4 (c, d)" in capsys.readouterr().out
    panels = json.loads(report.read_text())["panels"]
    assert [sum(p["size_histogram"]) for p in panels] == [500] * 4
    assert picture.read_text().startswith("<?xml")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["stats.json", "stats.svg"]


@pytest.mark.parametrize(
    "words", [["--base-size", "40"], ["--count", "0"], ["--tolerance", "2"], ["--picture", "x.txt"]]
)
def test_stats_refuses_what_it_cannot_do(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["stats", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_theorems_widths_for_a_network_of_ones_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Against the formulas of Theorems 3.1 and 3.2, written out for two layers."""
    b = Builder()
    path = save(b.model(b.conv(b("Relu", b.conv("x", 3, 4)), 4, 2)), tmp_path)
    n = [4 * 27 + 4, 2 * 36 + 2]
    epsilon, delta, c, gamma = 0.1, 0.05, 2.0, 0.5
    found = {}
    for mode in ("l+1", "2l"):
        blueprint = plan(read_target(path), make_options(mode=mode))
        found[mode] = required_widths(blueprint, epsilon, delta=delta, constant=c, gamma=gamma)

    first = epsilon / (9 * n[0] * n[1])
    wanted = math.ceil(c * math.log(sum(n) / min(first, delta)))
    assert found["2l"][0].base_size == wanted
    errors = [epsilon / (2 * n[0] * 2 * n[1]), epsilon / (2 * n[1])]
    rho = c * n[0] ** (1 + gamma) * math.log(1 / min(*errors, delta))
    wanted = math.ceil(c * math.log(1 / min(errors[0], delta / (rho * n[0]))))
    assert found["l+1"][0].base_size == wanted
    assert run(["plan", str(path), "--epsilon", "0.1"]) == 0
    assert "Theorem 3.1" in capsys.readouterr().out
    assert run(["plan", str(path), "--epsilon", "3"]) == 2


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


@pytest.mark.parametrize("mode", ["l+1", "2l"])
def test_a_target_finds_the_smallest_setting(tmp_path: Path, mode: str) -> None:
    made = {
        wish: convert(
            MODELS / "residual.onnx",
            tmp_path / "t.onnx",
            mode=mode,
            target_sqnr=wish,
            force=True,
            calibration=MODELS / "digits.calibration.npz",
            samples=MODELS / "digits.samples.npz",
        ).report
        for wish in (18.0, 30.0)
    }

    assert made[18.0].kept < made[30.0].kept
    for wish, report in made.items():
        assert report.fidelity.outputs[0].sqnr_db > wish - 3
    assert [p.name for p in tmp_path.iterdir()] == ["t.onnx"]


def test_a_target_excludes_settings_of_ones_own(tmp_path: Path) -> None:
    for words in ({"target_sqnr": 20.0, "base_size": 5}, {"target_agreement": 1.5}):
        with pytest.raises(InputError):
            convert(MODELS / "residual.onnx", tmp_path / "t.onnx", **words)
