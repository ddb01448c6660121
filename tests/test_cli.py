"""The command line as its users meet it: exit codes, one-line errors, nothing left behind."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import Builder, save
from onnx import numpy_helper
from paths import MODELS

from lt_onnx.cli.app import run
from lt_onnx.subset_sum import device

RESIDUAL = str(MODELS / "residual.onnx")
SAMPLES = str(MODELS / "digits.samples.npz")
CALIBRATION = str(MODELS / "digits.calibration.npz")


def test_convert_verify_validate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, report = str(tmp_path / "t.onnx"), tmp_path / "r.json"
    code = run(
        [
            "convert",
            RESIDUAL,
            "-o",
            out,
            "--calibration",
            CALIBRATION,
            "--samples",
            SAMPLES,
            "--min-agreement",
            "0.9",
            "--max-accuracy-drop",
            "0.05",
            "--report",
            str(report),
        ]
    )
    shown = capsys.readouterr()
    document = json.loads(report.read_text())

    assert code == 0, shown
    assert "genuine" in shown.out
    assert "memory" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80 + len(SAMPLES) + len(out)
    assert document["verdict"] == "passed"
    assert document["ticket"]["kept"] == sum(layer["kept"] for layer in document["layers"])
    assert document["validate"]["outputs"][0]["agreement"] > 0.9
    assert run(["verify", out, "--target", RESIDUAL]) == 0
    assert run(["validate", RESIDUAL, out, "--samples", SAMPLES, "--max-rel", "1"]) == 0
    assert run(["validate", RESIDUAL, out, "--samples", SAMPLES, "--max-rel", "1e-9"]) == 1
    assert run(["verify", out, "--target", str(MODELS / "plain-relu.onnx")]) == 1
    assert sorted(p.name for p in tmp_path.iterdir()) == ["r.json", "r.toml", "t.onnx"]


def test_random_inputs_are_said_to_be_random(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "t.onnx")

    assert run(["convert", RESIDUAL, "-o", out, "--mode", "2l"]) == 0
    assert "random (seed" in capsys.readouterr().out


def broken(folder: Path) -> dict[str, tuple[list[str], str]]:
    """Bad command lines by name, each with words its message must have."""
    out = ["-o", str(folder / "t.onnx")]
    content = Path(RESIDUAL).read_bytes()
    (folder / "cut.onnx").write_bytes(content[: len(content) // 2])
    (folder / "text.onnx").write_text("hello, this is no model\n" * 50)
    (folder / "empty.onnx").write_bytes(b"")
    model = onnx.load(RESIDUAL)
    value = numpy_helper.to_array(model.graph.initializer[0]).copy()
    value.flat[3] = np.nan
    name = model.graph.initializer[0].name
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(value, name))
    onnx.save(model, folder / "nan.onnx")
    image = np.load(SAMPLES)["image"]
    np.savez(folder / "name.npz", picture=image)
    np.savez(folder / "shape.npz", image=image[:, :, :4])
    np.savez(folder / "pickle.npz", image=np.array([{"a": 1}], object))
    np.savez(folder / "infinite.npz", image=image * np.inf)
    (folder / "text.npz").write_text("no zip")
    b = Builder(opset=17)
    b.nodes.append(onnx.helper.make_node("Loop", ["", "", "x"], ["y"], name="loop"))
    loop = b.model("y")
    save(loop, folder, "loop.onnx")
    external = onnx.load(RESIDUAL)
    onnx.save(
        external,
        folder / "ext.onnx",
        save_as_external_data=True,
        size_threshold=0,
        location="w.bin",
    )
    external = onnx.load(folder / "ext.onnx", load_external_data=False)
    for tensor in external.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../w.bin"
    (folder / "outside.onnx").write_bytes(external.SerializeToString())
    (folder / "w.bin").unlink()

    def convert(file: str, *more: str) -> list[str]:
        return ["convert", str(folder / file), *out, *more]

    def with_samples(file: str) -> list[str]:
        return ["convert", RESIDUAL, *out, "--samples", str(folder / file)]

    return {
        "truncated": (convert("cut.onnx"), "not an ONNX model"),
        "text": (convert("text.onnx"), "not an ONNX model"),
        "empty": (convert("empty.onnx"), "not an ONNX model"),
        "missing": (convert("absent.onnx"), "no such file"),
        "folder": (["convert", str(folder), *out], "is a folder, not a file; lt-onnx zoo converts"),
        "no folder": (["zoo", RESIDUAL, *out], "not a folder; lt-onnx convert takes files"),
        "archive": (convert("name.npz"), "an archive, as packs and torch's files are"),
        "nan": (convert("nan.onnx"), name),
        "loop": (convert("loop.onnx"), "loop"),
        "outside": (convert("outside.onnx"), "outside"),
        "no data": (convert("ext.onnx"), "w.bin"),
        "mode": (["convert", RESIDUAL, *out, "--mode", "3l"], "l+1, l+k, 2l"),
        "select": (["convert", RESIDUAL, *out, "--select", "exact"], "noise, smallest, best"),
        "base size": (["convert", RESIDUAL, *out, "--base-size", "40"], "2 to 32"),
        "tolerance": (["convert", RESIDUAL, *out, "--tolerance", "-1"], "between 0 and 1"),
        "seed": (["convert", RESIDUAL, *out, "--seed", "-1"], "2^64"),
        "no such option": (["convert", RESIDUAL, "--speed", "9"], "--speed"),
        "no number": (["convert", RESIDUAL, "--seed", "x"], "--seed"),
        "nothing": (["convert"], "Missing argument 'TARGETS'; see lt-onnx convert -h"),
        "sample name": (with_samples("name.npz"), "'image'"),
        "sample shape": (with_samples("shape.npz"), "[N, 1, 8, 8]"),
        "pickle": (with_samples("pickle.npz"), "npz"),
        "no npz": (with_samples("text.npz"), "npz"),
        "infinite": (with_samples("infinite.npz"), "NaN or infinity"),
        "no samples": (with_samples("absent.npz"), "no such file"),
        "out folder": (["convert", RESIDUAL, "-o", str(folder / "no" / "t.onnx")], "folder"),
        "no network": (["convert", RESIDUAL, "-o", str(folder / "t.ltz")], "end it in .onnx"),
        "no source": (["source", RESIDUAL, "-o", str(folder / "t.pth")], "end it in .onnx"),
        "no inputs": (
            ["validate", RESIDUAL, RESIDUAL, "--save-inputs", str(folder / "i.onnx")],
            f"--save-inputs is '{folder / 'i.onnx'}'; end it in .npz",
        ),
        "itself": (["convert", RESIDUAL, "-o", RESIDUAL], "overwrite"),
        "no ticket": (["verify", RESIDUAL], "not a ticket"),
        "memory words": (["convert", RESIDUAL, *out, "--max-memory", "lots"], "--max-memory"),
        "few": (["convert", RESIDUAL, *out, "--calibration-count", "0"], "give 1 or more"),
    }


@pytest.mark.parametrize(
    "case",
    [
        "truncated",
        "text",
        "empty",
        "missing",
        "folder",
        "no folder",
        "archive",
        "nan",
        "loop",
        "outside",
        "no data",
        "mode",
        "select",
        "base size",
        "tolerance",
        "seed",
        "no such option",
        "no number",
        "nothing",
        "sample name",
        "sample shape",
        "pickle",
        "no npz",
        "infinite",
        "no samples",
        "out folder",
        "no network",
        "no source",
        "no inputs",
        "itself",
        "no ticket",
        "memory words",
        "few",
    ],
)
def test_bad_input_is_one_line_exit_2_and_nothing_left_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    arguments, words = broken(tmp_path)[case]
    before = sorted(tmp_path.iterdir())
    code = run(arguments)
    error = capsys.readouterr().err.strip()

    assert code == 2, error
    assert len(error.splitlines()) == 1
    assert words in error
    assert sorted(tmp_path.iterdir()) == before


def test_too_little_memory_is_exit_3_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = run(["convert", RESIDUAL, "-o", str(tmp_path / "t.onnx"), "--max-memory", "1M"])

    assert code == 3
    assert "--max-memory" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_source_writes_a_network(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["source", RESIDUAL, "-o", str(tmp_path / "s.onnx"), "--base-size", "4"]) == 0
    assert "random weights" in capsys.readouterr().out
    assert (tmp_path / "s.onnx").exists()


def test_several_targets_and_the_source_beside_the_ticket(tmp_path: Path) -> None:
    names = ("plain-relu", "depthwise")
    targets = [str(MODELS / f"{name}.onnx") for name in names]

    assert run(["convert", *targets, "-o", str(tmp_path), "--mode", "2l", "--emit-source"]) == 0
    for name in names:
        assert (tmp_path / f"{name}.ticket.onnx").exists()
        assert (tmp_path / f"{name}.ticket.source.onnx").exists()


def test_help_is_quick_and_loads_nothing_heavy() -> None:
    code = (
        "import sys, lt_onnx.cli; print([m for m in ('torch', 'onnxruntime', 'numba') "
        "if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert shown.stdout.strip() == "[]"


def test_a_device_that_is_not_there_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "_missing", lambda: "there is no NVIDIA driver")
    words = ["convert", str(MODELS / "plain-relu.onnx"), "-o", str(tmp_path / "t.onnx")]

    assert run([*words, "--device", "cuda"]) == 2
    said = capsys.readouterr().err
    assert "no NVIDIA driver; use --device cpu" in said
    assert len(said.strip().splitlines()) == 1
    assert run([*words, "--device", "tpu"]) == 2
    assert "auto, cpu, cuda" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert run([*words, "--device", "auto", "-q"]) == 0


def test_without_validation_the_proof_alone_counts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "report.json"
    words = ["convert", str(MODELS / "plain-relu.onnx"), "-o", str(tmp_path / "t.onnx")]

    assert run([*words, "--no-validate", "--report", str(report)]) == 0
    assert "validated" not in capsys.readouterr().out
    document = json.loads(report.read_text())
    assert document["validate"] is None
    assert document["verify"]["genuine"]
    assert {"solve", "write", "random numbers"} <= document["seconds"].keys()
    assert run([*words, "--no-validate", "--min-agreement", "0.9"]) == 2
    assert "--no-validate" in capsys.readouterr().err


SMALL = str(MODELS / "plain-relu.onnx")
REFUSED = {
    "a seed below 0, for statistics": (["stats", "--seed", "-1"], "--seed is -1"),
    "a seed below 0, for inputs": (["validate", SMALL, SMALL, "--seed", "-1"], "--seed is -1"),
    "a limit that is none": (
        ["validate", SMALL, SMALL, "--min-layer-sqnr", "nan"],
        "--min-layer-sqnr is nan",
    ),
    "a source's unknown layer": (["source", SMALL, "--base-size", "no=5"], "names 'no'"),
    "a plan's unknown layer": (["plan", SMALL, "--base-size", "no=5"], "names 'no'"),
    "theorems for no error": (["plan", SMALL, "--epsilon", "0"], "--epsilon is 0"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_one_command_refuses_its_siblings_refuse(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words, message = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    assert run(words) == 2
    assert message in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_tickets_of_one_name_are_refused_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder in ("a", "b", "tickets"):
        (tmp_path / folder).mkdir()
    targets = [tmp_path / "a/net.onnx", tmp_path / "b/net.onnx"]
    for target in targets:
        target.write_bytes(Path(SMALL).read_bytes())
    tickets = tmp_path / "tickets"
    assert run(["convert", *map(str, targets), "-o", str(tickets), "--force"]) == 2
    assert "would have the name of that of" in capsys.readouterr().err
    assert not [*tickets.iterdir()]


def test_a_zoo_is_no_place_for_its_own_tickets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.onnx").write_bytes(Path(SMALL).read_bytes())
    assert run(["zoo", str(tmp_path), "-o", str(tmp_path)]) == 2
    assert "holds the networks: give another folder" in capsys.readouterr().err


def test_a_network_of_zeros_is_told_before_any_work(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    b = Builder()
    zeros = b.constant(np.zeros((4, 3, 3, 3), np.float32))
    target = save(b.model(b("Conv", "x", zeros)), tmp_path)
    assert run(["convert", str(target)]) == 2
    assert "its layers have only zeros, of which a ticket keeps nothing" in capsys.readouterr().err


def test_a_reader_that_leaves_does_not_end_the_work(tmp_path: Path) -> None:
    out = tmp_path / "t.onnx"
    words = [sys.executable, "-m", "lt_onnx", "convert", SMALL, "--mode", "2l", "-o", str(out)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait() == 0
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert out.is_file()


def test_what_class_random_inputs_are_of_is_not_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "t.onnx")
    assert run(["convert", SMALL, "--mode", "2l", "-o", out, "--agreement", "1"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert any(line.startswith("promise   30 dB on random inputs: ") for line in said)
    assert any("not judged: inputs are random" in line for line in said)
    assert said[-1].endswith("dB of variation on random inputs")


def test_labels_that_are_no_classes_of_an_output_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    held = dict(np.load(SAMPLES))
    for labels in (held["labels"] + 1, held["labels"] + 0.5, held["labels"] - 1):
        np.savez(tmp_path / "s.npz", **held | {"labels": labels})
        assert run(["validate", SMALL, SMALL, "--samples", str(tmp_path / "s.npz")]) == 2
        said = capsys.readouterr().err
        assert "output 'scores' has 10 classes; give whole numbers from 0 to 9" in said


def test_a_target_behind_its_ticket_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ticket = str(tmp_path / "t.onnx")
    assert run(["convert", SMALL, "--mode", "2l", "-o", ticket, "--no-validate", "-q"]) == 0
    assert run(["validate", ticket, SMALL]) == 2
    assert "is a ticket: give its target first, then the ticket" in capsys.readouterr().err
    assert run(["validate", ticket, ticket]) == 0
