"""Reports: one document, four faces; each is valid, complete and says the same."""

import json
from pathlib import Path
from xml.etree import ElementTree

import jsonschema
import numpy as np
import pytest
from paths import MODELS

import lt_onnx
from lt_onnx import Limits, convert
from lt_onnx.cli.app import run
from lt_onnx.options import Select
from lt_onnx.reading.graph import read_graph
from lt_onnx.report.formats import write_reports
from lt_onnx.samples.samples import load_samples

SCHEMA = json.loads((Path(lt_onnx.__file__).parent / "report" / "schema.json").read_text())
RESIDUAL, SAMPLES = str(MODELS / "residual.onnx"), str(MODELS / "digits.samples.npz")
CALIBRATION = str(MODELS / "digits.calibration.npz")
FACES = ("json", "md", "xml", "html")


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All faces of a conversion that misses one of its limits."""
    folder = tmp_path_factory.mktemp("reports")
    reports = [w for face in FACES for w in ("--report", str(folder / f"r.{face}"))]
    words = ["convert", RESIDUAL, "-o", str(folder / "t.onnx"), "--samples", SAMPLES, "-q"]
    words += ["--calibration", CALIBRATION, "--max-rel", "scores:1e-6", "--min-agreement", "0.9"]
    assert run([*words, "--bound", *reports]) == 1
    return folder


def document(path: Path) -> dict[str, object]:
    found = json.loads(path.read_text())
    jsonschema.validate(found, SCHEMA)
    return dict(found)


def test_the_schema_is_one_and_holds_for_conversions(failing: Path) -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    found = document(failing / "r.json")

    assert (found["kind"], found["verdict"]) == ("conversion", "failed")
    checks = {c["name"]: c["passed"] for c in found["checks"]}  # type: ignore[attr-defined]
    assert checks == {
        "genuine": True,
        "promise of sqnr: scores": True,
        "promise of agreement: scores": True,
        "finite: scores": True,
        "max-rel: scores": False,
        "min-agreement: scores": True,
    }
    layers = [layer for layer in found["layers"] if layer["problems"]]  # type: ignore[attr-defined]
    for layer in layers:
        assert sum(layer["size_counts"]) == sum(layer["error_counts"]) == layer["problems"]
        assert sum(i * n for i, n in enumerate(layer["size_counts"])) == pytest.approx(
            layer["mean_size"] * layer["problems"]
        )


def test_junit_has_a_case_per_check_and_says_why_one_failed(failing: Path) -> None:
    suites = ElementTree.parse(failing / "r.xml").getroot()
    cases = suites.findall("testsuite/testcase")
    failed = [case for case in cases if case.find("failure") is not None]

    assert (suites.get("tests"), suites.get("failures")) == ("6", "1")
    assert len(cases) == 6
    assert [case.get("name") for case in failed] == ["max-rel: scores"]
    assert "limit 1e-06" in failed[0].find("failure").get("message")  # type: ignore[union-attr]


def test_every_face_shows_verdict_layers_and_the_command(failing: Path) -> None:
    command = str(document(failing / "r.json")["command"])
    assert command.startswith(f"lt-onnx convert {RESIDUAL}")
    assert "--max-rel scores:1e-06" in command
    for face in ("md", "html"):
        text = (failing / f"r.{face}").read_text()
        assert "failed" in text
        for word in ("head", "two-for-one", "certified error", "Where error enters"):
            assert word in text, (face, word)
        assert command in text
    assert command in (failing / "r.xml").read_text()


def test_the_page_is_small_and_needs_no_network(failing: Path) -> None:
    page = (failing / "r.html").read_text()

    assert len(page) < 2 << 20
    assert page.count("<svg") == 5
    for word in ("src=", "<script", "@import", 'href="http'):
        assert word not in page, word


def test_names_from_files_are_escaped(tmp_path: Path) -> None:
    hostile = {
        "schema": 2,
        "kind": "zoo",
        "version": "0",
        "command": "lt-onnx zoo '<b>'",
        "verdict": "failed",
        "checks": [{"name": "<script>x|y</script>", "passed": False, "message": "a\nb & c"}],
        "models": [],
    }
    write_reports([tmp_path / f"r.{face}" for face in FACES], hostile)

    page = (tmp_path / "r.html").read_text()
    assert "<script>x|y" not in page
    assert page.count("<script") == 1  # which sorts the table
    assert "x\\|y" in (tmp_path / "r.md").read_text()
    assert ElementTree.parse(tmp_path / "r.xml").find("testsuite/testcase/failure") is not None


def test_validate_writes_the_same_faces_and_names_the_first_bad_layer(
    failing: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["validate", RESIDUAL, str(failing / "t.onnx"), "--samples", SAMPLES]
    words += ["--report", str(tmp_path / "v.json"), "--report", str(tmp_path / "v.html")]
    assert run([*words, "--min-layer-sqnr", "1"]) == 0
    capsys.readouterr()
    assert run([*words, "--min-layer-sqnr", "25", "--force"]) == 1
    shown = capsys.readouterr().out
    found = document(tmp_path / "v.json")

    assert found["kind"] == "validation"
    trace = found["trace"]
    first = next(layer for layer in trace if layer["sqnr_db"] < 25)  # type: ignore[attr-defined]
    assert f"layer '{first['name']}' is the first below 25 dB" in shown


def test_where_error_enters_adds_up(tmp_path: Path) -> None:
    """The exact layer on the ticket's input lies between target and ticket: triangle inequality."""
    samples = load_samples(Path(SAMPLES), read_graph(Path(RESIDUAL)).inputs).first(100)
    report = convert(
        RESIDUAL,
        tmp_path / "t.onnx",
        mode="2l",
        per_layer=True,
        samples=samples,
        calibration=CALIBRATION,
    ).report
    assert report.trace is not None
    assert [t.name for t in report.trace] == [
        layer.name for layer in report.layers if layer.kind != "univariate"
    ]
    for layer in report.trace:
        assert layer.own is not None
        assert layer.passed_on is not None
        limit = layer.passed_on + layer.own * (1 + layer.passed_on)
        assert layer.out <= limit * (1 + 1e-6)
        assert layer.out >= (layer.own * (1 - layer.passed_on) - layer.passed_on) * (1 - 1e-6)
    # the last layer's output is the network's: the same error, measured by another path
    assert report.fidelity is not None
    own = report.fidelity.outputs[0]
    assert report.trace[-1].out == pytest.approx(own.relative, rel=1e-3)


def test_the_trace_of_an_exact_ticket_is_silent(tmp_path: Path) -> None:
    report = convert(
        RESIDUAL, tmp_path / "t.onnx", select=Select.EXACT, per_layer=True, validate=False
    ).report

    assert report.trace is not None
    assert max(layer.out for layer in report.trace) < 1e-5


def test_layers_of_any_network_with_the_same_names_are_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["validate", RESIDUAL, RESIDUAL, "--per-layer"]) == 0
    shown = capsys.readouterr().out
    assert "stem" in shown
    assert run(["validate", RESIDUAL, str(MODELS / "depthwise.onnx"), "--per-layer"]) == 0
    shown = capsys.readouterr().out  # its stem has another shape, and is no stem of this network
    assert "head" in shown
    assert "stem" not in shown


def test_limits_are_per_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["validate", RESIDUAL, RESIDUAL]
    assert run([*words, "--max-abs", "scores:0", "--max-rel", "0", "--min-sqnr", "100"]) == 0
    for bad, said in (
        (["--max-abs", "nothere:1"], "names the output 'nothere'; there are scores"),
        (["--max-rel", "scores:x"], "give a number, or OUTPUT:number"),
        (["--min-sqnr", "-3"], "not negative"),
        (["--max-accuracy-drop", "0.1"], "needs --samples with 'labels'"),
    ):
        capsys.readouterr()
        assert run([*words, *bad]) == 2, bad
        assert said in capsys.readouterr().err


def test_limits_that_cannot_be_judged_are_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "t.onnx"
    for bad in (["--max-abs", "nothere:1"], ["--max-accuracy-drop", "0.1"]):
        assert run(["convert", RESIDUAL, "-o", str(out), *bad]) == 2
    assert run(["convert", RESIDUAL, "-o", str(out), "--report", str(tmp_path / "r.doc")]) == 2
    assert "end it in .json, .md (Markdown), .xml (JUnit) or .html" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_python_limits_take_outputs_too() -> None:
    assert Limits(max_rel={"a": 1.0, "": 2.0}).of("max_rel") == {"a": 1.0, "": 2.0}
    with pytest.raises(lt_onnx.InputError, match="not negative"):
        Limits(min_sqnr={"a": -1.0})


def test_json_goes_to_stdout_alone(failing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["validate", RESIDUAL, str(failing / "t.onnx"), "--json"]) == 0
    jsonschema.validate(json.loads(capsys.readouterr().out), SCHEMA)
    for words in (["inspect", RESIDUAL], ["plan", RESIDUAL, "--mode", "2l"]):
        assert run([*words, "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["target"]
    assert run(["verify", str(failing / "t.onnx"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["genuine"] is True


def test_inputs_are_saved_and_read_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["validate", RESIDUAL, RESIDUAL]
    assert (
        run([*words, "--count", "7", "--seed", "3", "--save-inputs", str(tmp_path / "i.npz")]) == 0
    )
    assert run([*words, "--inputs", str(tmp_path / "i.npz"), "--json"]) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown[shown.index("{") :])["validate"]["samples"] == 7
    with np.load(tmp_path / "i.npz") as file:
        np.save(tmp_path / "i.npy", file["image"])
    assert run([*words, "--inputs", str(tmp_path / "i.npy")]) == 0


def test_a_folder_of_images_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from PIL import Image

    rng = np.random.default_rng(0)
    for name in ("cat/1.png", "cat/2.png", "dog/1.png"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 31), np.uint8)).save(path)
    words = ["validate", RESIDUAL, RESIDUAL, "--inputs", str(tmp_path), "--json"]
    assert run([*words, "--mean", "0.5", "--std", "0.25"]) == 2  # another size
    assert "give --resize crop or --resize stretch" in capsys.readouterr().err
    words += ["--resize", "crop"]
    assert run([*words, "--mean", "0.5", "--std", "0.25"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["validate"]["samples"] == 3
    assert "mean 0.5, std 0.25, resize crop" in found["validate"]["origin"]
    assert "--mean 0.5 --std 0.25 --resize crop" in found["command"]
    assert found["validate"]["outputs"][0]["target_accuracy"] is not None
    for bad, said in (
        (["--mean", "1,2"], "2 numbers"),
        (["--std", "0"], "divided"),
        (["--layout", "x"], "nchw"),
    ):
        assert run([*words, *bad]) == 2
        assert said in capsys.readouterr().err
    assert run([*words[:3], *words[5:]]) == 2  # random inputs are as they are
    assert "--resize is for folders of images" in capsys.readouterr().err
    (tmp_path / "dog" / "2.png").write_text("no image")
    assert run(words) == 2
    assert "2.png: not a readable image" in capsys.readouterr().err
