"""Packs: a ticket without its random numbers comes back byte for byte, or not at all."""

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from paths import MODELS

from lt_onnx import convert, verify
from lt_onnx.cli.app import run
from lt_onnx.packing.archive import write_members
from lt_onnx.packing.pack import pack
from lt_onnx.packing.unpack import unpack
from lt_onnx.report.ticket import Ticket
from lt_onnx.runtime import Session

RESIDUAL = MODELS / "residual.onnx"


@pytest.fixture(scope="module", params=["l+1", "2l"])
def mode(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def plain(mode: str, tmp_path_factory: pytest.TempPathFactory) -> Ticket:
    """A ticket in its default form."""
    path = tmp_path_factory.mktemp("plain") / "t.onnx"
    return convert(
        RESIDUAL, path, mode=mode, base_size=5, init="xavier", price=1e-3, validate=False
    )


@pytest.mark.parametrize("weights", ["folded", "masked", "sparse"])
@pytest.mark.parametrize("fp16", [False, True])
def test_every_form_is_genuine_runs_and_packs(
    plain: Ticket, tmp_path: Path, mode: str, weights: str, fp16: bool
) -> None:
    words = {"mode": mode, "base_size": 5, "init": "xavier", "weights": weights, "fp16": fp16}
    made = convert(RESIDUAL, tmp_path / "t.onnx", price=1e-3, validate=False, **words)
    x = {"image": np.random.default_rng(0).standard_normal((3, 1, 8, 8)).astype(np.float32)}
    a, b = (Session(t.path).run(x)["scores"] for t in (plain, made))

    assert verify(made.path).genuine
    assert made.report.kept == plain.report.kept
    assert np.abs(a - b).max() <= (2e-2 if fp16 else 1e-4) * np.abs(a).max()
    assert run(["pack", str(made.path), "-o", str(tmp_path / "t.ltz"), "-q"]) == 0
    assert (tmp_path / "t.ltz").stat().st_size * 8 <= plain.path.stat().st_size
    assert run(["unpack", str(tmp_path / "t.ltz"), "-o", str(tmp_path / "u.onnx"), "-q"]) == 0
    assert (tmp_path / "u.onnx").read_bytes() == made.path.read_bytes()
    (tmp_path / "again").mkdir()
    assert run(["pack", str(tmp_path / "u.onnx"), "-o", str(tmp_path / "again/t.ltz"), "-q"]) == 0
    masks = [zipfile.ZipFile(f).read("masks.bin") for f in tmp_path.rglob("*.ltz")]
    assert masks[0] == masks[1]


@pytest.mark.parametrize("weights", ["folded", "masked"])
def test_external_data_packs_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str
) -> None:
    monkeypatch.setattr("lt_onnx.files.INLINE_LIMIT", 1000)
    made = convert(
        MODELS / "plain-relu.onnx", tmp_path / "t.onnx", weights=weights, price=1e-3, validate=False
    )
    data = tmp_path / "t.onnx.data"
    before = made.path.read_bytes(), data.read_bytes()
    assert run(["pack", str(made.path), "-q"]) == 0
    for path in (made.path, data):
        path.unlink()
    assert run(["unpack", str(tmp_path / "t.ltz"), "-q"]) == 0

    assert (made.path.read_bytes(), data.read_bytes()) == before
    assert verify(made.path).genuine
    assert run(["unpack", str(tmp_path / "t.ltz"), "-o", str(tmp_path / "other.onnx")]) == 2
    assert not (tmp_path / "other.onnx").exists()


def test_a_damaged_pack_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = convert(RESIDUAL, tmp_path / "t.onnx", base_size=5, price=1e-3, validate=False)
    packed, bad, out = tmp_path / "t.ltz", tmp_path / "bad.ltz", tmp_path / "u.onnx"
    assert run(["pack", str(made.path), "-q"]) == 0
    with zipfile.ZipFile(packed) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}

    def rewritten(**changes: bytes) -> None:
        with bad.open("w+b") as stream:
            write_members(stream, {**entries, **changes})

    about = json.loads(entries["pack.json"])
    elsewhere = {**about, "files": [{**about["files"][0], "name": "../evil.onnx"}]}
    forged = {**about, "files": [{**about["files"][0], "sha256": "0" * 64}]}
    more = {**about, "files": about["files"] * 3}
    cases = [
        {"masks.bin": entries["masks.bin"][:-200]},
        {"graph.onnx": entries["graph.onnx"][:-50]},
        {"pack.json": json.dumps(elsewhere).encode()},
        {"pack.json": json.dumps(forged).encode()},
        {"pack.json": json.dumps(more).encode()},
        {"pack.json": b"[]"},
        {"masks.bin": b""},
        {"pack.json": json.dumps({**about, "format": 9}).encode()},
    ]
    for changes in cases:
        rewritten(**changes)
        capsys.readouterr()
        assert run(["unpack", str(bad), "-o", str(out)]) == 2, changes.keys()
        assert len(capsys.readouterr().err.strip().splitlines()) == 1
    bad.write_bytes(packed.read_bytes()[:1000])
    assert run(["unpack", str(bad), "-o", str(out)]) == 2
    assert run(["pack", str(RESIDUAL), "-o", str(out)]) == 2
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bad.ltz", "t.ltz", "t.onnx"]


def test_a_ticket_built_for_its_pack_has_a_smaller_one(tmp_path: Path) -> None:
    sizes = {}
    for bits, price in ((0.0, 1e-4), (1, 3e-5)):
        ticket, packed = tmp_path / f"{bits}.onnx", tmp_path / f"{bits}.ltz"
        words = {"mode": "2l", "price": price, "price_bits": bits, "validate": False}
        made = convert(RESIDUAL, ticket, calibration=MODELS / "digits.calibration.npz", **words)
        assert verify(ticket, target=RESIDUAL).genuine
        sizes[bits] = pack(ticket, packed)[0]
        unpack(packed, tmp_path / "again.onnx", force=True)
        assert (tmp_path / "again.onnx").read_bytes() == ticket.read_bytes()
        assert made.report.kept
    assert sizes[1] < 0.97 * sizes[0]
