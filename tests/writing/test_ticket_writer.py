"""A ticket's file is complete and sealed, or not there; and its files are known beforehand."""

import hashlib
from pathlib import Path

import onnx
import pytest
from paths import MODELS

from lt_onnx import convert
from lt_onnx.blueprint import Blueprint
from lt_onnx.errors import ResourceError
from lt_onnx.files import data_of
from lt_onnx.manifest import SEAL_KEY
from lt_onnx.options import make_options
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.reading.model_file import read_manifest
from lt_onnx.reading.protobuf import serialized_bytes
from lt_onnx.writing.build import write_source
from lt_onnx.writing.ticket import files_of, is_of

TARGET = MODELS / "plain-relu.onnx"


def planned(**words: object) -> Blueprint:
    return plan(read_target(TARGET), make_options(base_size=3, **words))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "s.onnx"
    write_source(planned(), path)
    return path


@pytest.mark.parametrize("limit", [0, 1 << 20])
@pytest.mark.parametrize("weights", ["folded", "masked", "sparse"])
def test_a_source_consists_of_the_files_that_were_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, weights: str, limit: int
) -> None:
    monkeypatch.setattr("lt_onnx.files.INLINE_LIMIT", limit)
    blueprint, path = planned(weights=weights), tmp_path / "s.onnx"
    write_source(blueprint, path)

    told = files_of(path, blueprint, source=True)
    assert told == ([path] if limit else [path, data_of(path)])
    assert sorted(tmp_path.iterdir()) == told
    single = files_of(path, blueprint, source=False) == [path]
    assert single == (bool(limit) or weights == "sparse")


def test_masks_count_for_the_limit_of_a_single_file(monkeypatch: pytest.MonkeyPatch) -> None:
    folded, masked = planned(), planned(weights="masked")
    monkeypatch.setattr("lt_onnx.files.INLINE_LIMIT", folded.weight_bytes)

    assert len(files_of(Path("t.onnx"), folded, source=False)) == 1
    assert len(files_of(Path("t.onnx"), masked, source=False)) == 2


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_the_seal_is_of_the_model_and_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr("lt_onnx.files.INLINE_LIMIT", limit)
    path = tmp_path / "s.onnx"
    write_source(planned(), path)
    model = onnx.load(path, load_external_data=False)
    (seal,) = [entry for entry in model.metadata_props if entry.key == SEAL_KEY]
    model.metadata_props.remove(seal)
    data = b"" if limit else data_of(path).read_bytes()

    content = model.SerializeToString(deterministic=True) + data
    assert seal.value == hashlib.sha256(content).hexdigest()


def test_a_file_larger_than_protobuf_allows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lt_onnx.files.MAX_FILE_BYTES", 1000)

    with pytest.raises(ResourceError, match="more than one file can hold: use `weights=folded`"):
        write_source(planned(), tmp_path / "s.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("price", "begun"), [(None, False), (1e-3, True)])
def test_so_large_a_ticket_is_refused_as_soon_as_it_is_known(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, price: float | None, begun: bool
) -> None:
    monkeypatch.setattr("lt_onnx.files.MAX_FILE_BYTES", 1000)
    target, shares = MODELS / "plain-leakyrelu.onnx", list[float]()

    def progress(stage: str, share: float) -> None:
        shares.extend([share] if stage == "construct" else [])

    with pytest.raises(ResourceError, match="more than one file can hold: use `weights=folded`"):
        convert(target, tmp_path / "t.onnx", weights="sparse", price=price, progress=progress)
    assert not list(tmp_path.iterdir())
    assert bool(shares) == begun
    assert max(shares, default=0.0) < 0.9


@pytest.mark.long  # 2.2 GB
def test_what_no_file_can_hold_is_measured_by_its_tensors() -> None:
    model = onnx.ModelProto()
    for name in ("a", "b"):
        tensor = model.graph.initializer.add(name=name, data_type=1, dims=[275_000_000])
        tensor.raw_data = bytes(1_100_000_000)

    assert serialized_bytes(model) == 2_200_000_000


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_what_is_broken_off_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setattr("lt_onnx.files.INLINE_LIMIT", limit)

    left: list[Path] = []

    def stop(stage: str, share: float) -> None:
        if share > 0.5:
            left.extend(tmp_path.glob(".*.part"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_source(planned(), tmp_path / "s.onnx", progress=stop)
    assert len(left) == (1 if limit else 2)  # the graph, and data that is written as it comes
    assert not list(tmp_path.iterdir())


def test_progress_ends_with_the_whole(tmp_path: Path) -> None:
    told: list[float] = []
    write_source(planned(), tmp_path / "s.onnx", progress=lambda stage, share: told.append(share))

    assert told == sorted(told)
    assert told[-1] == 1


def test_a_source_keeps_all_of_itself_and_says_what_it_is(source: Path) -> None:
    blueprint, manifest = planned(), read_manifest(source)

    assert manifest is not None
    assert [layer.weight for layer in manifest.layers] == [s.name for s in blueprint.layers]
    assert [layer.shape for layer in manifest.layers] == [s.shape for s in blueprint.layers]
    assert sum(layer.kept for layer in manifest.layers) > 0.99 * blueprint.source_weights
    assert manifest.target_sha256 == blueprint.target.sha256
    assert manifest.construction() == blueprint.options


def test_a_file_is_known_by_its_target_and_its_options(source: Path, tmp_path: Path) -> None:
    blueprint, other = planned(), read_target(MODELS / "plain-tanh.onnx")
    (tmp_path / "none.onnx").write_bytes(b"no model")

    assert is_of(source, blueprint.target, blueprint.options)
    assert is_of(source, blueprint.target, planned(weights="sparse").options)
    assert not is_of(source, blueprint.target, planned(seed=1).options)
    assert not is_of(source, blueprint.target, planned(price=0.5).options)
    assert not is_of(source, other, blueprint.options)
    for path in (tmp_path / "none.onnx", tmp_path / "missing.onnx", tmp_path, TARGET):
        assert not is_of(path, blueprint.target, blueprint.options)
