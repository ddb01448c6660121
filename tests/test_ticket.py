"""A ticket's file: genuine, reproducible, complete, and caught when a single bit is changed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from graphs import Builder, save
from onnx import numpy_helper
from paths import MODELS
from random_graphs import random_graph

from lt_onnx import convert, verify
from lt_onnx.construct.construction import construct
from lt_onnx.errors import LostConstantsError
from lt_onnx.options import make_options
from lt_onnx.planning.plan import plan
from lt_onnx.planning.prediction import predict
from lt_onnx.reading.lowering import read_target
from lt_onnx.reading.model_file import read_manifest
from lt_onnx.runtime import Session
from lt_onnx.writing.build import write_source

RESIDUAL = MODELS / "residual.onnx"


@pytest.fixture(scope="module", params=["l+1", "2l"])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "t.onnx"
    assert convert(RESIDUAL, path, mode=request.param, base_size=6, price=0.001).passed
    return path


def test_a_ticket_is_genuine_and_uses_standard_operators(made: Path) -> None:
    proof = verify(made)
    model = onnx.load(made)

    assert proof.genuine
    assert 0 < proof.kept < proof.source
    assert {node.domain for node in model.graph.node} == {""}
    assert [o.version for o in model.opset_import] == [17]
    onnx.checker.check_model(model, full_check=True)


def flip(path: Path, out: Path, name: str, place: int, bit: int) -> None:
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            value = numpy_helper.to_array(tensor).copy()
            value.reshape(-1).view(np.uint32)[place] ^= np.uint32(1 << bit)
            tensor.CopyFrom(numpy_helper.from_array(value, name))
    onnx.save(model, out)


def test_layers_say_what_they_are_to_whoever_looks_at_the_graph(made: Path) -> None:
    model = onnx.load(str(made))
    proof = verify(made)
    said = [node.doc_string for node in model.graph.node if node.doc_string]

    assert "strong lottery ticket" in model.graph.doc_string
    assert len(said) == proof.layers
    assert said[1].startswith("Random layer 1 of seed 0, ")
    kept = [int(text.split(": ")[1].split()[0].replace(",", "")) for text in said]
    assert sum(kept) == proof.kept


def test_one_flipped_bit_anywhere_is_found_and_named(made: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    layers = json.loads(onnx.load(made).metadata_props[0].value)["layers"]
    names = [layer["weight"] for layer in layers]
    names += [layer["bias"] for layer in layers if layer["bias"]]
    sizes = {t.name: int(np.prod(t.dims)) for t in onnx.load(made).graph.initializer}
    for name in names:
        place, bit = int(rng.integers(sizes[name])), int(rng.integers(32))
        flip(made, tmp_path / "bad.onnx", name, place, bit)
        proof = verify(tmp_path / "bad.onnx")

        assert not proof.genuine, (name, place, bit)
        seal, first = proof.failures[:2]
        assert "seal" in seal
        assert name in first
        assert "[" in first


def test_dense_weights_cannot_hide(made: Path, tmp_path: Path) -> None:
    model = onnx.load(made)
    node = model.graph.node[-1]
    extra = numpy_helper.from_array(np.ones((1, 10), np.float32), "hidden")
    model.graph.initializer.append(extra)
    out = node.output[0]
    node.output[0] = "before"
    model.graph.node.append(onnx.helper.make_node("Add", ["before", "hidden"], [out], name="a"))
    onnx.save(model, tmp_path / "bad.onnx")

    assert any("hidden" in failure for failure in verify(tmp_path / "bad.onnx").failures)


def test_a_forged_seed_is_found(made: Path, tmp_path: Path) -> None:
    model = onnx.load(made)
    entry = model.metadata_props[0]
    entry.value = entry.value.replace('"seed":0', '"seed":1')
    onnx.save(model, tmp_path / "bad.onnx")

    assert not verify(tmp_path / "bad.onnx").genuine


@pytest.mark.parametrize("mode", ["l+1", "2l"])
def test_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path, mode: str) -> None:
    paths = [tmp_path / f"{i}.onnx" for i in range(3)]
    for path, seed in zip(paths, (7, 7, 8), strict=True):
        convert(RESIDUAL, path, mode=mode, seed=seed, base_size=5, price=1e-3, validate=False)
    first, second, other = (path.read_bytes() for path in paths)

    assert first == second
    assert first != other


def test_masks_do_not_depend_on_the_initial_scale(tmp_path: Path) -> None:
    kept = []
    for init in ("unit", "kaiming", "xavier", "lecun"):
        words = {"init": init, "base_size": 6, "price": 1e-3, "validate": False}
        made = convert(MODELS / "plain-relu.onnx", tmp_path / f"{init}.onnx", **words)
        assert made.report.proof.genuine
        kept.append([layer.kept for layer in made.report.layers])

    # float32 rounding of σ·u may tip a subset here and there, no more
    np.testing.assert_allclose(kept[1:], [kept[0]] * 3, rtol=0.01)


def test_external_data_lies_beside_the_ticket(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lt_onnx.files.INLINE_LIMIT", 1000)
    made = convert(RESIDUAL, tmp_path / "t.onnx", base_size=5, price=0.001)

    assert made.passed
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.onnx", "t.onnx.data"]


def test_the_source_is_a_runnable_network_that_the_ticket_is_masked_from(tmp_path: Path) -> None:
    blueprint = plan(read_target(RESIDUAL), make_options(mode="l+1", base_size=5))
    write_source(blueprint, tmp_path / "s.onnx")
    made = convert(RESIDUAL, tmp_path / "t.onnx", base_size=5, price=1e-3, validate=False)
    source, masked = (
        {t.name: numpy_helper.to_array(t) for t in onnx.load(p).graph.initializer}
        for p in (tmp_path / "s.onnx", made.path)
    )
    out = Session(tmp_path / "s.onnx").run({"image": np.ones((2, 1, 8, 8), np.float32)})

    assert np.isfinite(out["scores"]).all()
    for layer in blueprint.layers:
        whole, part = source[layer.name], masked[layer.name]
        assert np.count_nonzero(whole) > 0.99 * whole.size
        assert ((part == 0) | (part == whole)).all()


@pytest.mark.parametrize(("form", "near"), [("folded", 1.2), ("sparse", 1.6), ("seeded", 2.0)])
@pytest.mark.parametrize("mode", ["l+1", "2l"])
def test_the_plan_predicts_the_files_size(
    mode: str, form: str, near: float, tmp_path: Path
) -> None:
    words = {"mode": mode, "weights": form, "base_size": 8}
    made = convert(RESIDUAL, tmp_path / "t.onnx", price=1e-3, validate=False, **words)
    prediction = predict(blueprint := plan(read_target(RESIDUAL), make_options(**words)))

    assert made.report.source_weights >= blueprint.source_weights
    assert 1 / near < prediction.file_bytes / made.path.stat().st_size < near
    assert (prediction.file_bytes == prediction.seeded_bytes) == (form == "seeded")


def test_weights_in_every_form_and_external_data_are_read(tmp_path: Path) -> None:
    model = random_graph(5)
    as_input = onnx.ModelProto()
    as_input.CopyFrom(model)
    for tensor in as_input.graph.initializer:
        as_input.graph.input.append(
            onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    as_node = onnx.ModelProto()
    as_node.CopyFrom(model)
    for tensor in reversed(as_node.graph.initializer):
        as_node.graph.node.insert(
            0, onnx.helper.make_node("Constant", [], [tensor.name], value=tensor)
        )
    del as_node.graph.initializer[:]
    paths = [save(m, tmp_path, f"{i}.onnx") for i, m in enumerate((model, as_input, as_node))]
    onnx.save(model, tmp_path / "e.onnx", save_as_external_data=True, size_threshold=64)
    tickets = [
        convert(path, tmp_path / f"t{i}.onnx", mode="2l", base_size=6, price=1e-4, validate=False)
        for i, path in enumerate([*paths, tmp_path / "e.onnx"])
    ]

    assert len({json.dumps([layer.kept for layer in t.report.layers]) for t in tickets}) == 1


def test_a_model_in_memory_converts(tmp_path: Path) -> None:
    b = Builder()
    model = b.model(b.gemm(b("Flatten", b("Relu", b.conv("x", 3, 4)), axis=1), 4 * 36, 3))

    assert convert(model, tmp_path / "t.onnx", mode="2l").passed


def test_a_ticket_on_whose_way_constants_were_lost_is_that_of_its_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, lost = MODELS / "plain-relu.onnx", ["first.pool", "flatten"]

    def losing(*given: Any, **words: Any) -> Iterator[Any]:
        if lost:
            raise LostConstantsError("second", lost.pop())
        yield from construct(*given, **words)

    monkeypatch.setattr("lt_onnx.writing.build.construct", losing)
    made = convert(target, tmp_path / "t.onnx", base_size=3, price=1e-3, validate=False)
    record = read_manifest(made.path)

    assert record is not None
    assert record.fresh == ("first.pool", "flatten")
    assert verify(made.path, target=target).failures == []
