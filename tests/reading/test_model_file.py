"""Model files: loaded with their digest, opened to be run, written for a while."""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from rewritten import model_of, relative

from lt_onnx.errors import InputError, UnsupportedError
from lt_onnx.reading import model_file
from lt_onnx.reading.model_file import load, on_disk, open_session

W = np.random.default_rng(4).normal(size=(3, 4))
TEXT = "(float[N,3] x) => (float y) { h = MatMul(x, w)\n y = Tanh(h) }"


def test_the_digest_covers_the_file_and_its_data(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(
        model_of(TEXT, w=W),
        str(path),
        save_as_external_data=True,
        size_threshold=0,
        location="d.bin",
    )
    model, digest = load(path)
    both = path.read_bytes() + (tmp_path / "d.bin").read_bytes()

    assert digest == hashlib.sha256(both).hexdigest()
    assert np.array_equal(numpy_helper.to_array(model.graph.initializer[0]), W.astype(np.float32))


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "empty graph"), (b"\x89PNG", "not an ONNX model"), (None, "no such")],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes | None, said: str) -> None:
    path = tmp_path / "m.onnx"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(InputError, match=said):
        load(path)


def test_too_many_nodes_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model_of(TEXT, w=W), str(path))
    monkeypatch.setattr(model_file, "MAX_NODES", 1)

    with pytest.raises(UnsupportedError, match="2 nodes; lt-onnx reads 1 at most"):
        load(path)


@pytest.mark.parametrize("inline", [1 << 30, 10])
def test_a_model_in_memory_has_a_file_while_it_is_needed(
    monkeypatch: pytest.MonkeyPatch, inline: int
) -> None:
    monkeypatch.setattr(model_file, "MAX_INLINE_BYTES", inline)
    wide = np.random.default_rng(5).normal(size=(3, 400))
    with on_disk(model_of(TEXT, w=wide)) as path:
        held = {t.name: t for t in load(path)[0].graph.initializer}
        assert np.array_equal(numpy_helper.to_array(held["w"]), wide.astype(np.float32))
        assert (len(list(path.parent.iterdir())) > 1) == (inline == 10)
    assert not path.parent.exists()


def test_a_path_is_its_own_file(tmp_path: Path) -> None:
    with on_disk(str(tmp_path / "m.onnx")) as path:
        assert path == tmp_path / "m.onnx"


def double(op: str) -> onnx.ModelProto:
    """A network in double precision, with an operator for which onnxruntime may lack a kernel."""
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node(op, ["h"], ["y"])],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.DOUBLE, ["N", 3])],
        [helper.make_tensor_value_info("y", onnx.TensorProto.DOUBLE, None)],
        [numpy_helper.from_array(W, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("op", ["Tanh", "HardSwish"])
@pytest.mark.parametrize("tensors", [(), ("h",)])
def test_double_precision_runs_with_or_without_kernels(
    tmp_path: Path, op: str, tensors: tuple[str, ...]
) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(double(op), str(path))
    session = open_session(path, tensors=tensors)
    x = np.random.default_rng(6).normal(size=(5, 3)).astype(np.float32)
    values = session.run({"x": x}, ["h", "y"] if tensors else None)
    h = x @ W
    y = np.tanh(h) if op == "Tanh" else h * np.clip(h / 6 + 0.5, 0, 1)

    assert session.tensors == set(tensors)
    assert values["y"].dtype == np.float32
    assert relative(values["y"], y) < 1e-5
    assert not tensors or relative(values["h"], h) < 1e-5


def test_what_cannot_be_run_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model_of("(float[N,3] x) => (float y) { y = com.they.Own(x) }"), str(path))

    with pytest.raises(InputError, match="onnxruntime cannot load it"):
        open_session(path)
