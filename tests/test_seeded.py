"""A seeded ticket makes the numbers of the ticket it stands for; its nodes prove it."""

import re
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import Builder, save
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from paths import MODELS
from resealed import Change, drawn, failures_of, flipped, node_of

from lt_onnx import convert, deploy, load, verify
from lt_onnx.cli.app import run
from lt_onnx.errors import InputError
from lt_onnx.reading import model_file
from lt_onnx.reading.model_file import open_session
from lt_onnx.runtime import Session
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


def test_what_another_ticket_left_is_not_counted(forms: Path, tmp_path: Path) -> None:
    ticket = tmp_path / "t.onnx"
    ticket.write_bytes((forms / "folded.onnx").read_bytes())
    (tmp_path / "t.onnx.data").write_bytes(bytes(1000))

    assert deploy(ticket, tmp_path / "s.onnx").ticket_bytes == ticket.stat().st_size


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


@pytest.mark.parametrize(
    ("change", "told"), FORGERIES, ids=lambda value: getattr(value, "__qualname__", str(value))[:40]
)
def test_what_is_changed_is_named(
    perceptron: Path, tmp_path: Path, change: Change, told: str
) -> None:
    failures = failures_of(perceptron, tmp_path, change)
    assert re.search(told, failures), failures


def test_a_large_one_makes_its_weights_in_every_run_where_memory_is_spared(
    perceptron: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = {"x": np.random.default_rng(0).normal(size=(5, 6)).astype(np.float32)}
    opened = open_session(perceptron, spare=True)
    assert not model_file.is_large_seeded(perceptron)
    monkeypatch.setattr(model_file, "MAX_MADE_AHEAD", 10)
    assert model_file.is_large_seeded(perceptron)
    assert not model_file.is_large_seeded(perceptron.parent / "target.onnx")
    spared = open_session(perceptron, spare=True)

    for name, value in opened.run(x).items():
        np.testing.assert_allclose(spared.run(x)[name], value, rtol=1e-5, atol=1e-6)


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
