"""A seeded ticket makes the numbers of the ticket it stands for; its nodes prove it."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import Builder, save
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from paths import MODELS

from lt_onnx import convert, deploy, load, verify
from lt_onnx.cli.app import run
from lt_onnx.errors import InputError
from lt_onnx.manifest import SEAL_KEY
from lt_onnx.runtime import Session
from lt_onnx.target import Array
from lt_onnx.verification.seeded import _decoded
from lt_onnx.writing.generator import encoded

TICKETS = {  # with mirrored rows, mirrored columns, biases, MatMul, half precision
    "copies": ("plain-leakyrelu", {"mode": "l+1"}),
    "mirrored": ("plain-sigmoid", {"mode": "l+1"}),
    "grouped": ("depthwise", {"mode": "2l"}),
    "half": ("plain-tanh", {"mode": "l+1", "fp16": True}),
}
FORMS = ("folded", "masked", "sparse", "seeded")


@pytest.fixture(scope="module", params=TICKETS)
def forms(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a ticket as it is converted to each form that is not a product."""
    folder = tmp_path_factory.mktemp("forms")
    name, words = TICKETS[request.param]
    for weights in ("folded", "seeded"):
        convert(
            MODELS / f"{name}.onnx",
            folder / f"{weights}.onnx",
            base_size=4,
            price=1e-4,
            validate=False,
            weights=weights,
            **words,
        )
    (folder / "target.onnx").symlink_to((MODELS / f"{name}.onnx").resolve())
    return folder


def drawn(path: Path) -> dict[str, Array]:
    """Some inputs of the model at `path`."""
    rng = np.random.default_rng(0)
    inputs = onnx.load(str(path)).graph.input
    sizes = {i.name: [d.dim_value or 3 for d in i.type.tensor_type.shape.dim] for i in inputs}
    return {name: rng.standard_normal(size).astype(np.float32) for name, size in sizes.items()}


def test_a_seeded_ticket_computes_the_same_bits(forms: Path) -> None:
    folded, seeded = forms / "folded.onnx", forms / "seeded.onnx"
    x = drawn(folded)
    ours, theirs = Session(folded).run(x), Session(seeded).run(x)
    reference = ReferenceEvaluator(str(seeded)).run(None, x)

    for (name, value), other in zip(ours.items(), reference, strict=True):
        assert np.array_equal(value, theirs[name])
        assert np.abs(value - other).max() < 1e-4 * np.abs(value).max()
    assert verify(seeded, target=forms / "target.onnx").failures == []
    proofs = [verify(path) for path in (folded, seeded)]
    assert proofs[0] == proofs[1]


def test_every_form_is_made_of_every_form(forms: Path) -> None:
    for first in ("folded", "seeded"):
        for second in FORMS:
            out = forms / f"{first}.{second}.onnx"
            made = deploy(forms / f"{first}.onnx", out, weights=second)
            assert made.bytes == out.stat().st_size
            assert verify(out, target=forms / "target.onnx").genuine
        (forms / f"{first}.again.onnx").unlink(missing_ok=True)
        deploy(forms / f"{first}.masked.onnx", forms / f"{first}.again.onnx", weights="folded")
        assert (forms / f"{first}.again.onnx").read_bytes() == (forms / "folded.onnx").read_bytes()
    for form in FORMS:
        assert (forms / f"folded.{form}.onnx").read_bytes() == (
            forms / f"seeded.{form}.onnx"
        ).read_bytes()


def test_nothing_is_left_to_make_when_onnxruntime_has_opened_it(
    forms: Path, tmp_path: Path
) -> None:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "folded.onnx")
    onnxruntime.InferenceSession(
        str(forms / "seeded.onnx"), options, providers=["CPUExecutionProvider"]
    )

    operators = {node.op_type for node in onnx.load(str(tmp_path / "folded.onnx")).graph.node}
    assert not operators & {"BitwiseXor", "BitShift", "ScatterElements", "CumSum", "Where"}


@pytest.mark.parametrize("bits", range(1, 13))
def test_codes_decode_to_what_was_encoded(bits: int) -> None:
    rng = np.random.default_rng(bits)
    kept = rng.random(5000) < 1.5 / 2**bits
    for mask in (kept, kept & False, kept | True, np.arange(5000) == 4999, np.arange(1) == 0):
        places = np.flatnonzero(mask)
        words, width, count = encoded(places)
        again = _decoded(words, width, count)
        assert again is not None
        assert np.array_equal(again, places)


Change = Callable[[onnx.ModelProto], None]


def flipped(name: str, bit: int = 0) -> Change:
    """A change of one bit of the numbers of an initializer whose name ends so."""

    def change(model: onnx.ModelProto) -> None:
        tensor = next(t for t in model.graph.initializer if t.name.endswith(name))
        content = bytearray(tensor.raw_data)
        content[bit // 8] ^= 1 << bit % 8
        tensor.raw_data = bytes(content)

    return change


def node_of(model: onnx.ModelProto, output: str) -> onnx.NodeProto:
    return next(node for node in model.graph.node if node.output[0].endswith(output))


def rewired(model: onnx.ModelProto) -> None:
    node_of(model, "/9/c0").input[0] = "draw/9/x1"


def another_rounding(model: onnx.ModelProto) -> None:
    node_of(model, "draw/number").attribute[0].i = TensorProto.DOUBLE


def text_in_a_node(model: onnx.ModelProto) -> None:
    node_of(model, "draw/c0").doc_string = "0.1 0.2 0.3"


def text_in_a_tensor(model: onnx.ModelProto) -> None:
    next(t for t in model.graph.initializer if t.name == "draw/m0").doc_string = "0.1 0.2"


def twice(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(numpy_helper.from_array(np.ones(9, np.float32), "draw/m0"))


def weights_of_its_own(model: onnx.ModelProto) -> None:
    """A tensor in place of the one that is made."""
    node_of(model, "fc/weight").output[0] = "unread"
    value = np.ones((10, 5), np.float32)
    model.graph.initializer.append(numpy_helper.from_array(value, "fc/weight"))


def read_by_others(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Identity", ["draw/units"], ["more"]))


def another_operator_set(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 19


def texts(model: onnx.ModelProto) -> None:
    model.graph.doc_string += "0.1 0.2"


FORGERIES: list[tuple[Change, str]] = [
    (flipped("univariate/weight/codes"), "univariate/weight.* (does not decode|were changed)"),
    (flipped("3/weight/codes", 65), "Gemm_3/weight.* (does not decode|were changed)"),
    (flipped("/sigma", 3), "its mask or its scales were changed"),
    (flipped("draw/m0", 5), "tensor 'draw/m0'"),
    (flipped("draw/k0_3", 31), "tensor 'draw/k0_3'"),
    (flipped("draw/k1_9"), "tensor 'draw/k1_9'"),
    (flipped("draw/low"), "tensor 'draw/low'"),
    (flipped("draw/unit", 23), "tensor 'draw/unit'"),
    (flipped("draw/layers"), "tensor 'draw/layers'"),
    (flipped("draw/counts"), "tensor 'draw/counts'"),
    (flipped("draw/starts", 64), "tensor 'draw/starts'"),
    (flipped("weight/count"), "does not decode"),
    (flipped("weight/size"), "weight/size'"),
    (flipped("weight/shape"), "weight/shape'"),
    (flipped("weight/deviation"), "weight/deviation'"),
    (rewired, "what makes 'draw/9/c0'"),
    (another_rounding, "what makes 'draw/number'"),
    (text_in_a_node, "what makes 'draw/c0'"),
    (text_in_a_tensor, "tensor 'draw/m0'"),
    (twice, "tensor 'draw/m0'"),
    (weights_of_its_own, "what makes 'fc/weight'"),
    (read_by_others, "reads 'draw/units'"),
    (another_operator_set, "its operator set"),
    (texts, "doc string"),
]


@pytest.fixture(scope="module")
def perceptron(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small seeded ticket with a layer `fc`."""
    folder = tmp_path_factory.mktemp("small")
    b = Builder()
    target = save(b.model(b.gemm(b("Relu", b.gemm("x", 6, 8)), 8, 10), ("N", 6)), folder)
    model = onnx.load(str(target))
    model.graph.node[-1].name = "fc"
    onnx.save(model, str(target))
    convert(target, folder / "t.onnx", base_size=4, price=1e-3, validate=False, weights="seeded")
    return folder / "t.onnx"


def failures_of(path: Path, folder: Path, change: Change) -> str:
    """What is told of a changed file, sealed again as a forger would."""
    model = onnx.load(str(path))
    change(model)
    del model.metadata_props[[e.key for e in model.metadata_props].index(SEAL_KEY)]
    seal = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    model.metadata_props.add(key=SEAL_KEY, value=seal)
    (folder / "t.onnx").write_bytes(model.SerializeToString(deterministic=True))
    return "\n".join(verify(folder / "t.onnx").failures)


@pytest.mark.parametrize(
    ("change", "told"), FORGERIES, ids=lambda value: getattr(value, "__qualname__", str(value))[:40]
)
def test_what_is_changed_is_named(
    perceptron: Path, tmp_path: Path, change: Change, told: str
) -> None:
    failures = failures_of(perceptron, tmp_path, change)
    assert re.search(told, failures), failures


def test_an_older_operator_set_is_raised_and_comes_back(tmp_path: Path) -> None:
    b = Builder(opset=10)
    clipped = helper.make_node(
        "Clip", [b.conv("x", 3, 4)], ["clipped"], "bounded", max=6.0, min=0.0
    )
    b.nodes.append(clipped)
    x = b.reduce("ReduceMean", b.pad("clipped", [0, 0, 1, 1, 0, 0, 1, 1], "constant"), [2, 3])
    target = save(b.model(b.conv(x, 4, 3, k=1)), tmp_path)
    words = {"mode": "2l", "base_size": 3, "price": 1e-2, "validate": False}
    convert(target, tmp_path / "t.onnx", **words)
    deploy(tmp_path / "t.onnx", tmp_path / "c.onnx", collapse=True, target=target)
    deploy(tmp_path / "t.onnx", tmp_path / "s.onnx")
    deploy(tmp_path / "s.onnx", tmp_path / "again.onnx", weights="folded")

    assert (tmp_path / "again.onnx").read_bytes() == (tmp_path / "t.onnx").read_bytes()
    for name in ("s", "c"):
        assert verify(tmp_path / f"{name}.onnx", target=target).genuine
        assert onnx.load(str(tmp_path / f"{name}.onnx")).opset_import[0].version == 18


def test_a_softmax_over_all_axes_of_an_old_set_is_deployed(tmp_path: Path) -> None:
    b = Builder(opset=11)
    x = b("Softmax", b.conv(b("Relu", b.conv("x", 3, 4)), 4, 4), axis=1)
    target = save(b.model(b.conv(x, 4, 3, k=1)), tmp_path)
    plain, small = tmp_path / "t.onnx", tmp_path / "s.onnx"
    convert(target, plain, mode="2l", base_size=3, price=1e-2, validate=False)
    deploy(plain, small, collapse=True, target=target)
    x = drawn(plain)

    (ours,), (theirs,) = (Session(path).run(x).values() for path in (plain, small))
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(ours).max()
    assert verify(small, target=target).genuine
    model = onnx.load(str(small))
    node_of(model, "/along").attribute[0].i = 0
    onnx.save(model, str(small))
    assert not verify(small).genuine


def test_what_another_operator_set_changes_is_refused(tmp_path: Path) -> None:
    b = Builder(opset=9)
    x = b.conv("x", 3, 4)
    b.nodes.append(helper.make_node("TopK", [x], ["values", "places"], "largest", k=2))
    target = save(b.model("values"), tmp_path)

    with pytest.raises(InputError, match=r"\(TopK\) of operator set 9 is another in 18"):
        convert(target, tmp_path / "t.onnx", weights="seeded", base_size=3, price=1e-2)
    assert not (tmp_path / "t.onnx").exists()


def test_deploy_and_load(
    perceptron: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folded, packed = tmp_path / "f.onnx", tmp_path / "f.ltz"
    assert run(["deploy", str(perceptron), "--weights", "folded", "-o", str(folded)]) == 0
    assert str(folded) in capsys.readouterr().out
    assert run(["pack", str(folded), "-q"]) == 0
    assert run(["deploy", str(folded), "-o", str(folded), "--force"]) == 2
    assert "would overwrite the input" in capsys.readouterr().err
    assert run(["pack", str(perceptron), "-o", str(tmp_path / "s.ltz")]) == 2
    assert "deploy" in capsys.readouterr().err
    x = drawn(folded)

    answers = [load(path).run(x) for path in (perceptron, folded, packed)]
    assert load(packed).outputs == [*answers[0]]
    for name, value in answers[0].items():
        assert all(np.array_equal(value, answer[name]) for answer in answers[1:])
    with pytest.raises(InputError):
        load(perceptron).run({})


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
