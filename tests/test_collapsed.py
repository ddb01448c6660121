"""A collapsed ticket has its target's shape, computes its ticket and proves both."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import Builder, save
from onnx import helper
from paths import MODELS
from resealed import Change, drawn, failures_of, flipped, node_of

from lt_onnx import convert, deploy, verify
from lt_onnx.cli.app import run
from lt_onnx.errors import InputError
from lt_onnx.runtime import Session


@pytest.fixture(scope="module", params=["residual", "depthwise", "plain-leakyrelu"])
def collapsed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ticket in mode 2l, `plain.onnx`, and its `collapsed.onnx`."""
    folder = tmp_path_factory.mktemp("collapsed")
    target = MODELS / f"{request.param}.onnx"
    (folder / "target.onnx").symlink_to(target.resolve())
    words = {"mode": "2l", "base_size": 8, "price": 1e-3, "validate": False}
    convert(target, folder / "plain.onnx", **words)
    convert(target, folder / "collapsed.onnx", weights="seeded", collapse=True, **words)
    return folder


def test_a_collapsed_ticket_is_its_ticket_at_its_targets_shape(collapsed: Path) -> None:
    plain, made, target = (collapsed / f"{n}.onnx" for n in ("plain", "collapsed", "target"))
    x = drawn(plain)
    ours, theirs = Session(plain).run(x), Session(made).run(x)
    for name, value in ours.items():
        assert np.abs(value - theirs[name]).max() < 1e-5 * np.abs(value).max()
    proofs = [verify(path, target=target) for path in (plain, made)]
    assert proofs[1].failures == []
    accounts = [proof.account for proof in proofs]
    assert accounts[0] is not None
    assert accounts[1] is not None
    assert replace(proofs[0], account=None) == replace(proofs[1], account=None)
    assert (accounts[0].masks, accounts[0].scales) == (accounts[1].masks, accounts[1].scales)
    negative = "LeakyRelu" in {node.op_type for node in onnx.load(str(target)).graph.node}
    shapes = {}
    for path in (target, made):
        folded = collapsed / f"opt.{path.name}"
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(folded)
        onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        model = onnx.load(str(folded))
        tensors = {t.name: tuple(t.dims) for t in model.graph.initializer}
        nodes = [node for node in model.graph.node if node.op_type in ("Conv", "FusedConv", "Gemm")]
        shapes[path] = [tensors[node.input[1]] for node in nodes]
    for number, (ours, theirs) in enumerate(zip(shapes[target], shapes[made], strict=True)):
        signed = number == 0 or negative
        assert theirs == (ours[0], (1 + signed) * ours[1], *ours[2:])


def test_deploy_collapses_to_the_same_file(
    collapsed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, target = collapsed / "again.onnx", str(collapsed / "target.onnx")
    words = ["deploy", str(collapsed / "plain.onnx"), "--collapse", "-o", str(out), "--force"]
    assert run(words) == 2
    assert run([*words, "--target", target]) == 0
    shown = capsys.readouterr().out
    assert out.read_bytes() == (collapsed / "collapsed.onnx").read_bytes()
    assert "largest difference from the ticket" in shown
    assert "ms per input" in shown
    assert run(["deploy", str(out), "--weights", "folded", "-o", f"{out}.2.onnx"]) == 2
    assert "is collapsed" in capsys.readouterr().err


def read_by_another(model: onnx.ModelProto) -> None:
    node = next(n for n in reversed(model.graph.node) if n.op_type in ("Conv", "Gemm"))
    node.input[0] = model.graph.input[0].name


def scaled_again(model: onnx.ModelProto) -> None:
    node = next(n for n in reversed(model.graph.node) if n.op_type in ("Conv", "Gemm"))
    model.graph.node.append(helper.make_node("Mul", [node.input[1], node.input[1]], ["more"]))


COLLAPSED_FORGERIES: list[tuple[Change, str]] = [
    (flipped("/end"), "/end'"),
    (flipped("/sets_shape", 64), "/sets_shape'"),
    (flipped("/constants", 20), "/constants'"),
    (flipped("/constants_begin", 64), "/constants_begin'"),
    (flipped("draw/members"), "draw/members'"),
    (flipped("head/weight/codes", 7), "head/weight"),
    (flipped("/sigma", 3), "its mask or its scales were changed"),
    (read_by_another, "reads what may be negative"),
    (scaled_again, "is not read once"),
]


@pytest.mark.parametrize("collapsed", ["residual"], indirect=True)
@pytest.mark.parametrize(
    ("change", "told"),
    COLLAPSED_FORGERIES,
    ids=lambda value: getattr(value, "__qualname__", str(value))[:40],
)
def test_what_is_changed_in_a_collapsed_ticket_is_named(
    collapsed: Path, tmp_path: Path, change: Change, told: str
) -> None:
    failures = failures_of(collapsed / "collapsed.onnx", tmp_path, change)
    assert re.search(told, failures), failures


@pytest.fixture(scope="module")
def apart(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a depthwise layer between linear ones, its ticket and the collapsed form."""
    folder = tmp_path_factory.mktemp("apart")
    b = Builder()
    pads = [1, 1, 1, 1]
    x = b.conv(b.conv("x", 3, 4), 4, 4, group=4, pads=pads)
    y = b.conv(b("Relu", b("Add", x, b.conv(x, 4, 4, group=2, pads=pads))), 4, 2)
    target = save(b.model(y), folder)
    words = {"mode": "2l", "base_size": 6, "price": 1e-3, "validate": False}
    convert(target, folder / "plain.onnx", **words)
    convert(target, folder / "collapsed.onnx", weights="seeded", collapse=True, **words)
    return folder


def test_grouped_layers_of_either_sign_keep_their_shape(apart: Path, tmp_path: Path) -> None:
    plain, made, target = (apart / f"{n}.onnx" for n in ("plain", "collapsed", "target"))
    x = drawn(plain)
    (ours,), (theirs,) = (Session(path).run(x).values() for path in (plain, made))
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(ours).max()
    for of in (None, target):
        assert verify(made, target=of).failures == []
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    onnxruntime.InferenceSession(str(made), options, providers=["CPUExecutionProvider"])
    model = onnx.load(str(tmp_path / "folded.onnx"))
    shapes = {t.name: tuple(t.dims) for t in model.graph.initializer}
    convs = [shapes[n.input[1]] for n in model.graph.node if "Conv" in n.op_type]
    assert sorted(convs) == [(2, 4, 3, 3), *[(4, 1, 3, 3)] * 2, *[(4, 2, 3, 3)] * 2, (4, 6, 3, 3)]


def node_before(model: onnx.ModelProto, name: str) -> onnx.NodeProto:
    """The node that makes the data input of the one that reads the weight of this name."""
    (reader,) = (n for n in model.graph.node if [*n.input][1:2] == [name])
    return node_of(model, reader.input[0])


def weight_of(model: onnx.ModelProto) -> str:
    """The first weight that reads max(x, 0) alone."""
    splits = (node for node in model.graph.node if node.op_type == "Split")
    return next(n.output[1] for n in splits if n.output[1].endswith("/positive"))


def another_bend(model: onnx.ModelProto) -> None:
    node_before(model, weight_of(model)).op_type = "Abs"


def another_part(model: onnx.ModelProto) -> None:
    node_of(model, weight_of(model).replace("/positive", "/bent")).input[0] = "x"


def another_stride(model: onnx.ModelProto) -> None:
    node = node_of(model, weight_of(model).replace("/positive", "/bent"))
    node.attribute.append(helper.make_attribute("auto_pad", "NOTSET"))


def another_sum(model: onnx.ModelProto) -> None:
    parts = {weight_of(model).replace("/positive", f"/{part}") for part in ("bent", "straight")}
    next(n for n in model.graph.node if {*n.input} == parts).op_type = "Max"


def read_twice(model: onnx.ModelProto) -> None:
    part = weight_of(model).replace("/positive", "/bent")
    model.graph.node.append(helper.make_node("Neg", [part], ["more"]))


def text_in_a_part(model: onnx.ModelProto) -> None:
    node_of(model, weight_of(model).replace("/positive", "/bent")).doc_string = "0.5 0.25"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (flipped("/halves"), "/halves'"),
        (flipped("draw/signs", 30), "draw/signs'"),
        (another_bend, "does not weigh what is positive"),
        (another_part, "does not weigh what is positive"),
        (another_stride, "does not weigh what is positive"),
        (another_sum, "is not added to what its layer makes"),
        (read_twice, "is not read once"),
        (text_in_a_part, "does not weigh what is positive"),
    ],
    ids=lambda value: getattr(value, "__qualname__", str(value))[:40],
)
def test_what_is_changed_in_a_layer_of_two_parts_is_named(
    apart: Path, tmp_path: Path, change: Change, told: str
) -> None:
    failures = failures_of(apart / "collapsed.onnx", tmp_path, change)
    assert re.search(told, failures), failures


@pytest.mark.parametrize(
    ("name", "words", "told"),
    [
        ("plain-relu", {"mode": "l+1"}, "has copies"),
        ("plain-tanh", {"mode": "2l"}, "open with Tanh"),
        ("plain-relu", {"mode": "2l", "sigma": "layer"}, "sigma=layer"),
        ("plain-relu", {"mode": "2l", "weights": "folded"}, "weights=seeded"),
    ],
)
def test_what_does_not_collapse_is_told_before_any_work(
    tmp_path: Path, name: str, words: dict[str, str], told: str
) -> None:
    words = {"weights": "seeded", **words}
    with pytest.raises(InputError, match=told):
        convert(MODELS / f"{name}.onnx", tmp_path / "t.onnx", collapse=True, **words)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("activation", ["Clip", "Relu"])
def test_constants_stay_below_the_limit_of_an_activation(tmp_path: Path, activation: str) -> None:
    """Behind a pool features are small, and what biases are made of large beside them."""
    b = Builder()
    limits = (b.constant(0.0), b.constant(6.0)) if activation == "Clip" else ()
    x = b(activation, b.conv("x", 3, 8, pads=[1] * 4), *limits)
    x = b(activation, b.conv(x, 8, 8, pads=[1] * 4), *limits)
    x = b("Mul", b("Flatten", b("GlobalAveragePool", x)), b.constant(0.01))
    target = save(b.model(b.gemm(x, 8, 4)), tmp_path)
    words = {"mode": "2l", "base_size": 8, "price": 1e-3, "validate": False}
    convert(target, tmp_path / "t.onnx", **words)
    made = deploy(tmp_path / "t.onnx", collapse=True, target=target, output=tmp_path / "c.onnx")

    assert made.comparison is not None
    assert made.comparison.same
    assert made.comparison.difference < 1e-5


def test_a_form_that_computes_something_else_has_failed(
    collapsed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr("lt_onnx.deployment.compare.MAX_DIFFERENCE", 0.0)
    plain, target = str(collapsed / "plain.onnx"), str(collapsed / "target.onnx")
    output = str(tmp_path / "c.onnx")
    words = ["deploy", plain, "--collapse", "--target", target, "--output", output]

    assert run(words) == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith(f"FAILED: {output} computes")
