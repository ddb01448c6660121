"""From a file to nodes: large weights are not copied, and nothing is lost by that."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from rewritten import error_of, inputs, model_of, target_of

from lt_onnx.errors import UnsupportedError
from lt_onnx.reading import graph
from lt_onnx.reading.graph import read_graph

RNG = np.random.default_rng(21)


def written(model: onnx.ModelProto, folder: Path) -> Path:
    path = folder / "model.onnx"
    onnx.save(model, str(path))
    return path


@pytest.mark.parametrize("least", [0, 1 << 18])
def test_large_weights_are_read_as_small_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int
) -> None:
    monkeypatch.setattr(graph, "MIN_LARGE_BYTES", least)
    model = model_of(
        "(float[N,5] x) => (float y) { f = ConstantOfShape<value=float[1] {0.25}>(shape)\n"
        " s = Mul(v, v)\n h = MatMul(x, w)\n i = Add(h, f)\n y = Mul(i, s) }",
        w=RNG.normal(size=(5, 6)),
        v=RNG.normal(size=(1, 6)),  # squared before any input comes in
        shape=np.array([1, 6]),
    )
    target = target_of(model, tmp_path)

    assert [port.name for port in target.inputs] == ["x"]
    assert set(target.constants) >= {"w", "f", "s"}
    assert any(target.constants["f"].strides) == (least > 0)  # else one number seen many times
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


def test_every_step_is_a_node_and_constants_are_told_apart(tmp_path: Path) -> None:
    model = model_of("(float[N,5] x) => (float y) { h = MatMul(x, w)\n y = Relu(h) }", w=np.eye(5))
    value = onnx.helper.make_tensor_value_info("w", 1, [5, 5])
    model.graph.input.append(value)  # as IR 3 had it
    model.ir_version = 3
    read = read_graph(written(model, tmp_path))

    assert [step.op for step in read.steps] == ["MatMul", "Relu"]
    assert [port.name for port in read.inputs] == ["x"]
    assert (read.ir_version, read.opset) == (4, 17)
    assert read.linears == ()


@pytest.mark.parametrize("kind", ["float16", "double"])
def test_ports_of_other_precisions_without_weights_are_refused(tmp_path: Path, kind: str) -> None:
    model = model_of(f"({kind}[N,5] x) => ({kind} y) {{ y = Relu(x) }}")

    with pytest.raises(
        UnsupportedError, match=r"'x' is float(16|64); export the network in float32"
    ):
        read_graph(written(model, tmp_path))


def test_sequences_are_no_tensors(tmp_path: Path) -> None:
    model = model_of(
        "(seq(float[N]) x) => (float y) { i = Constant<value_int=0>()\n y = SequenceAt(x, i) }"
    )

    with pytest.raises(UnsupportedError, match="'x' is not a tensor"):
        read_graph(written(model, tmp_path))


def test_weights_of_an_integer_type_are_kept(tmp_path: Path) -> None:
    model = model_of(
        "(float[N,5] x) => (float y) { y = Gather<axis=1>(x, at) }", at=np.array([3, 1])
    )
    target = target_of(model, tmp_path)

    assert target.constants["at"].dtype == np.int64
    assert np.array_equal(target.constants["at"], numpy_helper.to_array(model.graph.initializer[0]))


def test_whole_numbers_know_the_smallest_table_that_they_pick_from(tmp_path: Path) -> None:
    model = model_of(
        "(int32[N,6] ids, int64[N,6] other) => (float y) { i = Cast<to=7>(ids)\n"
        " a = Gather(large, i)\n b = Gather<axis=1>(small, i)\n c = Cast<to=1>(other)\n"
        " d = ReduceSum(b)\n e = ReduceSum(a)\n f = ReduceSum(c)\n g = Add(d, e)\n y = Add(g, f) }",
        large=RNG.normal(size=(20, 4)),
        small=RNG.normal(size=(3, 7)),
    )
    ids, other = read_graph(written(model, tmp_path)).inputs

    assert (ids.entries, other.entries) == (7, None)
