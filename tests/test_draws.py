"""A large seeded ticket makes its numbers in several draws, one after the other."""

import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import Builder, save
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator
from paths import MODELS
from resealed import Change, drawn, failures_of, flipped, node_of

from lt_onnx import convert, deploy, verify
from lt_onnx.runtime import Session
from lt_onnx.verification import generator_nodes
from lt_onnx.writing import generator
from lt_onnx.writing.generator import MAX_DRAWS, draws

SEVERAL = 100  # numbers of a draw, in place of a quarter of a million


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tickets of one draw, and the same of several."""
    folder = tmp_path_factory.mktemp("draws")
    target, plain = MODELS / "residual.onnx", folder / "plain.onnx"
    convert(target, plain, mode="2l", base_size=4, price=1e-3, validate=False)
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("one", "several"):
            deploy(plain, folder / f"{kind}.onnx")
            deploy(plain, folder / f"{kind}.c.onnx", collapse=True, target=target)
            patch.setattr(generator, "MIN_DRAWN", SEVERAL)
            patch.setattr(generator_nodes, "MIN_DRAWN", SEVERAL)
    return folder


@pytest.fixture
def parted(monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof takes draws to be as small as those of the fixture `folder`."""
    monkeypatch.setattr(generator_nodes, "MIN_DRAWN", SEVERAL)


@pytest.mark.parametrize("name", ["in", "out"])
def test_a_target_may_call_its_input_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parted: None, name: str
) -> None:
    """What stands in a Scan's body has no name of the graph around it."""
    monkeypatch.setattr(generator, "MIN_DRAWN", SEVERAL)
    b = Builder()
    x = b.conv(b("Relu", b.conv("x", 3, 4)), 4, 2)
    model = b.model(x)
    for node in model.graph.node:
        node.input[:] = [name if read == "x" else read for read in node.input]
    model.graph.input[0].name = name
    words = {"mode": "2l", "base_size": 4, "price": 1e-3, "weights": "seeded", "validate": False}
    convert(model, tmp_path / "t.onnx", **words)

    assert verify(tmp_path / "t.onnx").failures == []
    assert any(n.op_type == "Scan" for n in onnx.load(str(tmp_path / "t.onnx")).graph.node)
    Session(tmp_path / "t.onnx").run(drawn(tmp_path / "t.onnx"))


@pytest.mark.parametrize("form", ["", ".c"], ids=["seeded", "collapsed"])
def test_several_draws_make_the_numbers_of_one(folder: Path, form: str, parted: None) -> None:
    several = folder / f"several{form}.onnx"
    x = drawn(several)
    made, wanted = Session(several).run(x), Session(folder / f"one{form}.onnx").run(x)
    reference = ReferenceEvaluator(str(several)).run(None, x)
    operators = [node.op_type for node in onnx.load(str(several)).graph.node]

    assert operators.count("Scan") in range(3, MAX_DRAWS)
    for (name, value), other in zip(wanted.items(), reference, strict=True):
        assert np.array_equal(made[name], value)
        assert np.abs(value - other).max() < 1e-4 * np.abs(value).max()
    assert verify(several, target=MODELS / "residual.onnx").failures == []
    assert not verify(folder / f"one{form}.onnx").genuine


@pytest.mark.parametrize("form", ["", ".c"], ids=["seeded", "collapsed"])
def test_nothing_is_left_of_them_when_onnxruntime_has_opened_it(
    folder: Path, form: str, tmp_path: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "opened.onnx")
    onnxruntime.InferenceSession(
        str(folder / f"several{form}.onnx"), options, providers=["CPUExecutionProvider"]
    )

    operators = {node.op_type for node in onnx.load(str(tmp_path / "opened.onnx")).graph.node}
    assert not operators & {"Scan", "Shape", "BitwiseXor", "ScatterElements", "CumSum"}


@pytest.mark.parametrize("seed", range(20))
def test_the_largest_draw_is_as_small_as_can_be(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(seed)
    least = int(rng.integers(1, 60))
    monkeypatch.setattr(generator, "MIN_DRAWN", least)
    counts = rng.integers(1, 100, int(rng.integers(1, 40))).tolist()
    made = draws([SimpleNamespace(codes=(None, 0, count)) for count in counts])  # type: ignore[misc]
    parts = [[piece.codes[2] for piece in part] for part in made]

    assert [count for part in parts for count in part] == counts
    assert len(parts) <= MAX_DRAWS
    largest = max(map(sum, parts))
    if len(counts) <= 12:  # every way to part them
        ways = range(1 << len(counts) - 1)
        ends = ([0, *(i + 1 for i in range(len(counts)) if w >> i & 1)] for w in ways)
        ends = ([*way, len(counts)] for way in ends)
        sums = (
            [sum(counts[a:b]) for a, b in pairwise(way)]
            for way in ends
            if len(way) <= MAX_DRAWS + 1
        )
        assert largest <= max(least, min(map(max, sums)))


def another_body(model: onnx.ModelProto) -> None:
    node_of(model, "draw_2/wait").attribute[0].g.node[0].op_type = "Neg"


def a_tensor_in_the_body(model: onnx.ModelProto) -> None:
    body = node_of(model, "draw_2/wait").attribute[0].g
    body.initializer.add(name="more", data_type=TensorProto.FLOAT, dims=[1], raw_data=b"abcd")


def a_text_in_the_body(model: onnx.ModelProto) -> None:
    node_of(model, "draw_2/wait").attribute[0].g.doc_string = "0.1 0.2 0.3"


def no_wait(model: onnx.ModelProto) -> None:
    node_of(model, "draw_3/factor").input[0] = "draw_2/gate"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (another_body, "what makes 'draw_2/wait'"),
        (a_tensor_in_the_body, "what makes 'draw_2/wait'"),
        (a_text_in_the_body, "what makes 'draw_2/wait'"),
        (no_wait, "what makes 'draw_3/factor'"),
        (flipped("draw/gate"), "tensor 'draw/gate'"),
        (flipped("draw_2/counts"), "tensor 'draw_2/counts'"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_is_changed_is_named(
    folder: Path, tmp_path: Path, parted: None, change: Change, told: str
) -> None:
    assert told in failures_of(folder / "several.onnx", tmp_path, change)


PEAK = """
import resource, sys
import onnxruntime
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
before = peak()
onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
print((peak() - before) * 1024)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="peaks as Linux tells them")
def test_a_runtime_opens_several_draws_in_less_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    b = Builder()
    x = "x"
    for _ in range(8):
        x = b("Relu", b.gemm(x, 200, 200))
    target = save(b.model(x, ("N", 200)), tmp_path)
    peaks = []
    for kind, least in (("one", 1 << 20), ("several", 1 << 14)):
        monkeypatch.setattr(generator, "MIN_DRAWN", least)
        ticket = tmp_path / f"{kind}.onnx"
        convert(
            target, ticket, mode="2l", weights="seeded", base_size=3, price=1e-9, validate=False
        )
        command = [sys.executable, "-c", PEAK, str(ticket)]
        peaks.append(int(subprocess.run(command, capture_output=True, check=True).stdout))

    assert peaks[1] < 0.5 * peaks[0], peaks
