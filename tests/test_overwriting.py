"""No command overwrites what it reads, under whatever name, or writes two files under one."""

import os
import shutil
from pathlib import Path

import onnx
import pytest
from paths import MODELS

from lt_onnx import convert, files, verify
from lt_onnx.cli.app import run
from lt_onnx.errors import InputError
from lt_onnx.files import data_of

PLAIN = MODELS / "plain-relu.onnx"


@pytest.fixture(scope="module")
def reads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Everything that commands read, under their own names and others."""
    folder = tmp_path_factory.mktemp("reads")
    apart = {"save_as_external_data": True, "location": "e.bin", "size_threshold": 0}
    onnx.save(onnx.load(str(PLAIN)), str(folder / "e.onnx"), **apart)
    shutil.copy(MODELS / "digits.samples.npz", folder / "s.npz")
    convert(PLAIN, folder / "t.onnx", base_size=3, price=1e-4, validate=False)
    assert run(["pack", str(folder / "t.onnx"), "-o", str(folder / "t.ltz"), "-q"]) == 0
    (folder / "c.toml").write_text('target = "e.onnx"\n')
    (folder / "o.toml").write_text("sqnr = 20\n")
    (folder / "d.toml").write_text("count = 9\n")
    for name in ("e.onnx", "e.bin", "t.onnx", "t.ltz", "s.npz"):
        os.link(folder / name, folder / f"hard.{name}.json")
        (folder / f"soft.{name}.json").symlink_to(folder / name)
    return folder


READERS = [
    *[f"convert e.onnx -o {name}" for name in ("e.onnx", "e.bin", "hard.e.bin.json")],
    *[f"convert e.onnx --samples s.npz -o {name}" for name in ("s.npz", "soft.s.npz.json")],
    "convert e.onnx --calibration s.npz -o s.npz",
    "convert e.onnx -o new.onnx --report soft.e.onnx.json",
    *[f"source e.onnx -o {name}" for name in ("e.bin", "soft.e.onnx.json")],
    *[f"validate e.onnx t.onnx --save-inputs {name}" for name in ("e.onnx", "e.bin", "t.onnx")],
    "validate e.onnx t.onnx --samples s.npz --save-inputs s.npz",
    "validate e.onnx t.onnx --report hard.t.onnx.json",
    *[f"pack t.onnx -o {name}" for name in ("t.onnx", "hard.t.onnx.json")],
    *[f"unpack t.ltz -o {name}" for name in ("t.ltz", "soft.t.ltz.json")],
    "inspect e.onnx --report hard.e.bin.json",
    "plan e.onnx --report hard.e.onnx.json",
    "plan e.onnx --calibration s.npz --report soft.s.npz.json",
    "frontier e.onnx --samples s.npz --report soft.s.npz.json",
    "frontier e.onnx --calibration s.npz --report hard.e.bin.json",
    # what is written beside a report
    "validate e.onnx t.onnx --config d.toml --report d.xml",
    "convert e.onnx -o new.onnx --config o.toml --report o.md",
    "convert e.onnx --config o.toml -o o.toml",
    "frontier --config c.toml --sqnr 20 --report c.csv",
    "stats --config d.toml --report d.json",
    "inspect --config c.toml --report c.json",
    "plan --config c.toml --report c.json",
]


@pytest.mark.parametrize("words", READERS)
def test_no_command_overwrites_what_it_reads(
    reads: Path, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def contents() -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in reads.iterdir()}

    monkeypatch.chdir(reads)
    before = contents()
    assert run([*words.split(), "--force"]) == 2
    assert "would overwrite the input" in capsys.readouterr().err
    assert contents() == before


@pytest.mark.parametrize(
    "words",
    [
        "convert e.onnx -o r.json --report r.json",
        "convert e.onnx -o r.onnx --report r.html --report r.html",
        "validate e.onnx t.onnx --save-inputs r.json --report r.json",
        "stats --count 10 --report r.csv --report r.csv",
    ],
)
def test_no_command_writes_two_files_under_one_name(
    reads: Path, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(reads)
    before = sorted(reads.iterdir())
    assert run([*words.split(), "--force"]) == 2
    assert "two files would have this name" in capsys.readouterr().err
    assert sorted(reads.iterdir()) == before


def test_the_data_of_a_ticket_goes_with_it_when_another_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """But not what merely lies under that name."""
    words = {"base_size": 3, "price": 1e-4, "validate": False}
    ticket = tmp_path / "t.onnx"
    data = data_of(ticket)
    with monkeypatch.context() as patch:
        patch.setattr(files, "INLINE_LIMIT", 0)
        convert(PLAIN, ticket, **words)
        convert(PLAIN, ticket, force=True, **words)
        assert verify(ticket).genuine
    assert data.exists()
    with pytest.raises(InputError, match="exists"):
        convert(PLAIN, ticket, **words)
    assert data.exists()
    convert(PLAIN, ticket, force=True, **words)
    assert verify(ticket).genuine
    assert not data.exists()

    data.write_text("mine")
    convert(PLAIN, ticket, force=True, **words)
    assert data.read_text() == "mine"
