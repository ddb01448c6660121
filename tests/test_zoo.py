"""A folder of models: one failure stops nothing, nothing is done twice, bytes are the same."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from paths import MODELS, long_but
from test_reports import SCHEMA

from lt_onnx.cli.app import run
from lt_onnx.options import Options, Output, Pictures
from lt_onnx.pipeline import Job
from lt_onnx.zoo.folder import FolderJob

NAMES = ("plain-relu", "plain-tanh")
SMALL = ("--base-size", "8", "--price", "1e-4")  # what becomes of a folder matters, no promise
FEW = ("--no-validate", "--mode", "2l", *SMALL)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    models = tmp_path / "models"
    (models / "deeper").mkdir(parents=True)
    for name in NAMES:
        place = models / "deeper" if name == "plain-tanh" else models
        (place / f"{name}.onnx").write_bytes((MODELS / f"{name}.onnx").read_bytes())
    digits = (MODELS / "digits.samples.npz").read_bytes()
    (models / "plain-relu.samples.npz").write_bytes(digits)
    return models


def tickets(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.ticket.onnx"))
    }


def test_a_corrupted_model_is_named_and_the_rest_is_done(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "broken.onnx").write_bytes((MODELS / "deep.onnx").read_bytes()[:3000])
    out = tmp_path / "tickets"
    words = ["zoo", str(folder), "-o", str(out), "--mode", "2l", *SMALL]
    assert run(words) == 1
    shown = capsys.readouterr().out
    found = json.loads((out / "zoo.json").read_text())
    jsonschema.validate(found, SCHEMA)

    assert "error   broken: " in shown
    assert "not an ONNX model" in shown
    assert {m["name"]: m["verdict"] for m in found["models"]} == {
        "broken": "error",
        "deeper/plain-tanh": "passed",
        "plain-relu": "passed",
    }
    assert found["models"][2]["accuracy"] > 0.9
    assert set(tickets(out)) == {"deeper/plain-tanh.ticket.onnx", "plain-relu.ticket.onnx"}
    for face in ("md", "xml", "html"):
        assert "broken" in (out / f"zoo.{face}").read_text()
    for report in out.rglob("*.report.json"):
        jsonschema.validate(json.loads(report.read_text()), SCHEMA)
    page = (out / "zoo.html").read_text()
    for model in found["models"][1:]:
        assert Path(model["page"]).read_text().startswith("<!doctype html>")
        assert f'href="{Path(model["page"]).relative_to(out)}"' in page
    assert found["models"][0]["page"] is None
    assert run(["zoo", "--config", str(out / "zoo.toml"), "-q"]) == 1  # the same run

    times = {path: path.stat().st_mtime_ns for path in out.rglob("*.ticket.onnx")}
    assert run(words) == 1
    assert capsys.readouterr().out.count("finished before") == 2
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*.ticket.onnx")}
    # other settings are other tickets and another summary, which replace these only with --force
    assert run([*words, "--seed", "1"]) == 2
    assert "zoo.json: exists; give --force" in capsys.readouterr().err
    other = ["--report", str(out / "other.json")]
    assert run([*words, "--seed", "1", *other]) == 1
    assert capsys.readouterr().out.count("exists; give --force") == 2
    assert run([*words, "--seed", "1", *other]) == 1  # the summary of the same command
    assert times == {path: path.stat().st_mtime_ns for path in out.rglob("*.ticket.onnx")}
    assert run([*words, "--seed", "1", "-q", "--force"]) == 1
    assert times != {path: path.stat().st_mtime_ns for path in out.rglob("*.ticket.onnx")}


KILLED = """
import os, signal
from lt_onnx.cli.app import main
from lt_onnx.zoo import folder

convert_folder = folder.convert_folder

def killed(*arguments):  # as soon as the first network is finished
    for model in convert_folder(*arguments):
        if os.environ["WHO"] == "all":
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.Signals[os.environ["WHO"]])
        yield model

folder.convert_folder = killed
signal.signal(signal.SIGINT, signal.default_int_handler)  # which may be ignored
main()
"""


ENDS = ["all", "SIGKILL", "SIGINT", "SIGTERM"]


@pytest.mark.parametrize("who", long_but(["SIGKILL", "SIGINT"], ENDS))
def test_ended_half_way_it_goes_on_and_leaves_the_same_bytes(
    folder: Path, tmp_path: Path, who: str
) -> None:
    whole, halved = tmp_path / "whole", tmp_path / "halved"
    assert run(["zoo", str(folder), "-o", str(whole), "-q", *FEW]) == 0
    words = [sys.executable, "-c", KILLED, "zoo", str(folder), "-o", str(halved), "-q", *FEW]
    env = {**os.environ, "WHO": who}
    killed = subprocess.run(words, start_new_session=True, env=env, capture_output=True, text=True)
    finished = list(halved.rglob("*.report.json"))
    assert len(finished) == 1
    times = {path: path.stat().st_mtime_ns for path in finished}
    only = [str(folder), "-o", str(halved), "-q", *FEW]
    if who in ("SIGINT", "SIGTERM"):  # what is finished is told, and reported
        assert killed.returncode == 3
        assert killed.stderr == told_of(halved, *halved.rglob("*.ticket.onnx"))
        told = json.loads((halved / "zoo.json").read_text())["models"]
        assert sorted(m["verdict"] for m in told) == ["error", "passed"]
        assert not [path for path in halved.rglob(".*") if path.suffix != ".resume"]
    else:
        assert killed.returncode == -signal.SIGKILL
        assert not (halved / "zoo.json").exists()
        assert run(["zoo", *only, "--report-only"]) == 1
        assert run(["zoo", *only, "--seed", "9", "--report-only", "--force"]) == 2  # of no ticket
        told = json.loads((halved / "zoo.json").read_text())["models"]
        assert {m["message"] for m in told if m["verdict"] == "error"} == {"not converted yet"}
        assert sum(m["reused"] for m in told) == 1

    assert run(["zoo", str(folder), "-o", str(halved), "-q", *FEW]) == 0
    assert tickets(halved) == tickets(whole)
    assert times == {path: path.stat().st_mtime_ns for path in finished}
    assert not [path for path in halved.rglob("*") if path.name.endswith(".part")]


def told_of(output: Path, *there: Path) -> str:
    """What a zoo says that was interrupted when these tickets were finished."""
    more = f" and {len(there) - 1} more" if len(there) > 1 else ""
    return (
        f"lt-onnx: error: interrupted; finished and there: {max(there)}{more} (lt-onnx verify and "
        f"validate judge it); {output} keeps what is finished: the same command goes on from there"
        "\n"
    )


@pytest.mark.parametrize("at", ["the first report", "the last word"])
def test_whenever_it_is_interrupted_it_tells_every_finished_ticket(
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    at: str,
) -> None:
    output = tmp_path / "tickets"
    words = ["zoo", str(folder), "-o", str(output), *FEW]

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def run_interrupted() -> str:
        place = "_Summary.write" if at == "the first report" else "_print_counts"
        with monkeypatch.context() as patch:
            patch.setattr(f"lt_onnx.cli.zoo.{place}", interrupt)
            assert run(words) == 3
        return capsys.readouterr().err

    told = run_interrupted()
    there = [output / f"{name}.ticket.onnx" for name in ("plain-relu", "deeper/plain-tanh")]
    assert all(path.is_file() for path in there)
    assert (output / "zoo.json").is_file() == (at == "the last word")
    assert told == run_interrupted() == told_of(output, *there)
    assert run(words) == 0
    assert capsys.readouterr().out.count("finished before") == 2
    # tickets of another command are there, too, and none of this one's
    words += ["--seed", "1", "--report", str(tmp_path / "other.json")]
    told = run_interrupted()
    assert told.startswith(f"lt-onnx: error: interrupted; {output} keeps what is finished")


def test_the_output_may_lie_in_the_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "broken.onnx").write_bytes(b"\xff" * 99)
    words = ["zoo", str(tmp_path), "-o", str(tmp_path / "out"), "-q"]
    assert run(words) == run(words) == 1
    before = (tmp_path / "out" / "zoo.json").read_bytes()
    assert run([*words, "--seed", "1"]) == 2
    assert "zoo.json: exists; give --force" in capsys.readouterr().err
    assert (tmp_path / "out" / "zoo.json").read_bytes() == before
    assert run([*words, "--seed", "1", "--force"]) == 1
    assert (tmp_path / "out" / "zoo.json").read_bytes() != before


def test_inputs_beside_a_network_may_be_folders_of_images(folder: Path, tmp_path: Path) -> None:
    (folder / "deeper" / "plain-tanh.calibration").mkdir()
    how = Pictures(mean=(0.5,))
    each = Job(folder, Options(), Output())
    zoo = FolderJob(folder, tmp_path / "out", each, how)
    tanh, relu = (network.job for network in zoo.networks())

    assert tanh.calibration == folder / "deeper" / "plain-tanh.calibration"
    assert (tanh.samples, tanh.pictures) == (None, how)
    assert "--mean 0.5" in tanh.command
    assert relu.samples == folder / "plain-relu.samples.npz"
    assert relu.pictures == Pictures()  # arrays are taken as they are


def test_nothing_to_do_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for words, said in (
        ([str(tmp_path / "empty")], "there is no ONNX file"),
        ([str(tmp_path / "nowhere")], "no such folder"),
        ([str(tmp_path), "--workers", "0"], "--workers is 0"),
    ):
        assert run(["zoo", *words, "-o", str(tmp_path / "out")]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
