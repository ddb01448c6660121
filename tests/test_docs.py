"""The README cannot drift: its commands run, its Python runs, its numbers are printed."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import MODELS
from typer.main import get_command

from lt_onnx.cli import _run, app

ROOT = Path(__file__).parent.parent.resolve()
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def numbers(line: str) -> list[float]:
    return [float(n.replace(",", "")) for n in re.findall(r"-?\d[\d,]*\.?\d*", line)]


def test_the_commands_of_the_readme_run_and_print_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(MODELS.resolve())
    shown = []
    for line in blocks("sh")[0].strip().splitlines():
        words = shlex.split(line)
        assert words[0] == "lt-onnx"
        assert _run(words[1:]) == 0
        shown.append(capsys.readouterr().out)
    printed = shown[2].splitlines()

    for line in blocks("text")[0].strip().splitlines():
        start = line[:10]
        match = [
            p for p in printed if p.startswith(start) and len(numbers(p)) == len(numbers(line))
        ]
        assert match, line
        exact = start.startswith(("target", "plan", "verified"))
        for ours, theirs in zip(numbers(match[0]), numbers(line), strict=True):
            # libraries round differently from machine to machine; the error itself may shift
            slack = 0 if exact else 0.02 if start.startswith(("kept", "subsets")) else 0.5
            assert ours == pytest.approx(theirs, rel=slack, abs=1e-12), line


def test_the_python_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(MODELS.resolve())
    for block in blocks("python"):
        exec(compile(block, "README", "exec"), {})

    assert "True" in capsys.readouterr().out


def test_the_benchmark_runs(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    command = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)[0].strip()
    words = shlex.split(command.replace("resnet20.onnx", str(MODELS / "residual.onnx")))
    words[words.index("resnet20.calibration.npz")] = str(MODELS / "digits.calibration.npz")
    words[0], words[1] = sys.executable, str(ROOT / words[1])
    made = subprocess.run([*words, "--quick"], cwd=tmp_path, capture_output=True, text=True)

    assert made.returncode == 0, made.stderr[-2000:]
    figures = json.loads((tmp_path / "bench.json").read_text())
    assert {"solver", "real", "rows", "drawn", "convert", "equality"} <= set(figures)
    assert all(line["wrong"] == 0 for line in figures["real"] + figures["equality"])
    assert "compared with NumPy: 0 differ" in made.stdout


def test_every_command_and_option_has_help() -> None:
    group = get_command(app)
    for name, command in group.commands.items():  # type: ignore[attr-defined]
        assert command.help, name
        for option in command.params:
            assert option.name == "help" or option.help, f"{name} {option.name}"


def test_every_file_of_the_readmes_table_exists() -> None:
    root = ROOT / "lt_onnx"
    for name in re.findall(r"`(\w+\.py)`", README):
        assert (root / name).exists(), name


def test_the_commands_of_the_papers_page_run_and_print_its_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    page = (ROOT / "docs" / "paper.md").read_text()
    stats, frontier = (
        shlex.split(c) for c in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "python" not in c
    )
    shown = re.findall(r"```text\n(.*?)```", page, re.DOTALL)[0]

    assert _run(stats[1:]) == 0
    assert capsys.readouterr().out == shown
    stand_ins = {
        "resnet20.onnx": "residual.onnx",
        "resnet20.calibration.npz": "digits.calibration.npz",
        "resnet20.samples.npz": "digits.samples.npz",
    }
    words = [str(MODELS / stand_ins[w]) if w in stand_ins else w for w in frontier]
    words[words.index("--seeds") + 1] = "1"
    assert _run(words[1:]) == 0
    assert "best" in capsys.readouterr().out


def test_the_papers_tables_are_made(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "paper.md").read_text()
    command = next(c for c in re.findall(r"```sh\n(.*?)```", page, re.DOTALL) if "python" in c)
    words = shlex.split(command.strip())
    words = [sys.executable, str(ROOT / words[1]), str(MODELS), "--quick", "--json", "paper.json"]
    made = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)

    assert made.returncode == 0, made.stderr[-2000:]
    results = json.loads((tmp_path / "paper.json").read_text())
    assert {r["rule"] for r in results} == {"paper's", "ours"}
    assert len(made.stdout.split("Not there:")[0].strip().splitlines()) == 2 + len(results)
