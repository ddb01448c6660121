"""The proof: genuine tickets of every form pass, what cannot be read is refused in one line.

Forgeries are in `test_forgeries.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from forge.draft import Draft
from forge.external import external
from graphs import Builder, save
from paths import MODELS

from lt_onnx import convert, verify
from lt_onnx.cli.app import run
from lt_onnx.errors import InputError
from lt_onnx.reading.model_file import read_manifest
from lt_onnx.reading.refusals import MAX_NAME
from lt_onnx.verification.statistics import source_statistics

RESIDUAL, SIGMOID = MODELS / "residual.onnx", MODELS / "plain-sigmoid.onnx"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("made") / "t.onnx"
    convert(RESIDUAL, path, base_size=3, price=1e-3, validate=False)
    return path


def test_a_broken_seal_is_told(made: Path, tmp_path: Path) -> None:
    model = onnx.load(made)
    model.producer_version = "0.0.9"
    (tmp_path / "changed.onnx").write_bytes(model.SerializeToString(deterministic=True))
    del model.metadata_props[-1]
    (tmp_path / "bare.onnx").write_bytes(model.SerializeToString(deterministic=True))

    assert ["broken" in failure for failure in verify(tmp_path / "changed.onnx").failures] == [True]
    assert ["missing" in failure for failure in verify(tmp_path / "bare.onnx").failures] == [True]


def test_a_wrong_target_is_told_from_a_forgery(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["verify", str(made), "--target", str(SIGMOID)]) == 1
    told = capsys.readouterr().out
    assert "ticket of another network; its weights match seed 0" in told
    assert "NOT GENUINE" not in told
    forged = Draft.read(made)
    forged.manifest["seed"] = 1
    forged.write(tmp_path / "forged.onnx")
    assert run(["verify", str(tmp_path / "forged.onnx"), "--target", str(SIGMOID)]) == 1
    assert "NOT GENUINE" in capsys.readouterr().out


def test_an_optimised_ticket_is_told_as_such(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    onnxruntime.InferenceSession(str(made), options, providers=["CPUExecutionProvider"])
    assert run(["verify", options.optimized_model_filepath]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("FAILED: the seal")
    assert "an optimiser (onnxsim, OnnxSlim, onnxruntime's) does so" in last
    assert "compare the optimised copy by validate" in last


def test_what_cannot_be_read_is_refused_in_one_line(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = Draft.read(made)
    damaged.manifest["layers"][0]["kept"] = -1
    damaged.write(tmp_path / "damaged.onnx")
    name = made.read_bytes().replace(b"residual_ticket", b"residual_tick\xff\xfe")
    nodes = onnx.GraphProto(node=[onnx.NodeProto()] * 600_000)
    many = made.read_bytes() + onnx.ModelProto(graph=nodes).SerializeToString()
    whole = (tmp_path / "damaged.onnx").read_bytes()
    for content in (b"", b"text", made.read_bytes()[:-9], name, many, whole):
        (tmp_path / "t.onnx").write_bytes(content)
        assert run(["verify", str(tmp_path / "t.onnx")]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1
    with pytest.raises(InputError, match="metadata is damaged"):
        read_manifest(tmp_path / "damaged.onnx")


def test_a_sparse_layer_that_claims_to_be_huge_costs_nothing(tmp_path: Path) -> None:
    convert(
        RESIDUAL, tmp_path / "s.onnx", base_size=3, price=1e-3, weights="sparse", validate=False
    )
    draft = Draft.read(tmp_path / "s.onnx")
    layer = draft.layers[1]
    shape = [2**20, 2**14, *[1] * (len(layer["shape"]) - 2)]
    draft.sparse(layer["weight"]).dims[:] = shape
    layer.update(shape=shape, mirror_rows=0, mirror_columns=0)
    draft.write(tmp_path / "t.onnx")

    assert layer["scale"] in " ".join(verify(tmp_path / "t.onnx").failures)


def test_nothing_lies_between_the_tensors_of_external_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lt_onnx.files.INLINE_LIMIT", 1000)
    convert(RESIDUAL, tmp_path / "t.onnx", base_size=3, price=1e-3, validate=False)
    assert verify(tmp_path / "t.onnx", target=RESIDUAL).genuine
    draft = Draft.read(tmp_path / "t.onnx")
    ends = [draft.span(draft.proto(name))[1] for name in external(draft)]
    gap = next(end for end in ends if end % 4096)
    draft.data = draft.data[:gap] + b"\1" + draft.data[gap + 1 :]
    for sealed in (True, False):
        draft.write(tmp_path / "t.onnx", sealed=sealed)
        with pytest.raises(InputError, match="holds bytes of no tensor before"):
            verify(tmp_path / "t.onnx")


def test_another_target_is_not_the_tickets(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = verify(made, target=SIGMOID)
    assert "another target" in proof.failures[0]
    assert proof.of_other_target
    assert not verify(made).of_other_target
    assert run(["verify", str(made), "--target", str(SIGMOID), "-q"]) == 1
    assert "another target" in capsys.readouterr().err


def test_what_is_printed_says_what_is_known(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def shown(*words: str, code: int = 0) -> list[str]:
        assert run(["verify", str(made), *words]) == code
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 6
        assert max(map(len, lines)) <= 80
        return lines

    alone, beside = shown(), shown("--target", str(RESIDUAL))
    assert alone[0] == "weights match seed 0; the graph is the author's word"
    assert alone[-1] == "PASSED: weights match seed 0"
    assert beside[0] == f"genuine ticket of {RESIDUAL}"[:80]
    assert alone[1:4] == beside[1:4]
    assert alone[2] == "dense     nothing"
    limit = "--target", str(RESIDUAL), "--max-outside-masks"
    assert shown(*limit, "50%")[-1].startswith("PASSED")
    assert "outside the masks; at most 0.1 % may be" in shown(*limit, ".001", code=1)[-1]
    assert run(["verify", str(made), "--max-outside-masks", "much"]) == 2
    assert run(["verify", str(made), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["account"]) == "masks scales indices attributes integers dense texts".split()
    assert found["planned"] is False


@pytest.mark.long
@pytest.mark.parametrize(("name", "share"), [("depthwise", 0.15), ("residual", 0.1)])
def test_little_of_a_ticket_is_outside_its_masks(tmp_path: Path, name: str, share: float) -> None:
    target = MODELS / f"{name}.onnx"
    made = convert(target, tmp_path / "t.onnx", mode="2l", validate=False)

    assert verify(made.path, target=target, max_outside_masks=share).failures == []


# genuine tickets -------------------------------------------------------------------------------

FORMS: list[dict[str, Any]] = [
    {"weights": "folded"},
    {"weights": "masked"},
    {"weights": "sparse"},
    {"weights": "folded", "fp16": True},
    {"weights": "masked", "fp16": True},
    {"weights": "sparse", "fp16": True, "init": "kaiming"},
    {"init": "lecun", "sigma": "layer"},
]


@pytest.mark.parametrize("mode", ["l+1", "2l"])
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_genuine_tickets_of_every_form_pass(
    tmp_path: Path, form: dict[str, Any], mode: str
) -> None:
    made = convert(
        SIGMOID, tmp_path / "t.onnx", mode=mode, base_size=3, price=1e-3, validate=False, **form
    )

    assert verify(made.path, target=SIGMOID).failures == []


def test_the_source_itself_is_genuine(tmp_path: Path) -> None:
    made = convert(
        RESIDUAL, tmp_path / "t.onnx", base_size=3, price=1e-3, validate=False, emit_source=True
    )
    assert made.source is not None
    assert verify(made.source).genuine


def small(name: str) -> onnx.ModelProto:
    """Networks with constants in places where a proof might look for hidden weights."""
    b = Builder()
    x = b("Relu", b.conv("x", 3, 4))
    match name:
        case "the longest name":
            x = b.conv(x, 4, 4)
            b.nodes[-1].name = "n" * MAX_NAME
        case "spatial constant":
            x = b("Relu", b.conv(b("Add", x, b.constant(b.rng.random((1, 1, 6, 6)))), 4, 4))
        case "whole exponent":
            x = b.conv(b("Pow", x, b.constant(2, np.int64)), 4, 4)
        case "products of data":
            y = b.reshape(x, [0, 4, -1])
            x = b("MatMul", y, b("Transpose", y, perm=[0, 2, 1]))
        case "truth values":
            x = b("Where", b.constant(b.rng.random((6, 6)) > 0.5, np.bool_), x, b.constant(0.0))
        case "thresholds":
            x = b("Cast", b("Greater", x, b.constant(b.rng.random((1, 4, 1, 1)))), to=1)
        case "mean by hand":
            sizes = b("Gather", b("Shape", x), b.constant([2, 3], np.int64))
            count = b("Cast", b("ReduceProd", sizes, keepdims=0), to=1)
            x = b("Div", b("ReduceSum", x, b.constant([2, 3], np.int64)), count)
            x = b.conv(x, 4, 4, 1)
    return b.model(x)


@pytest.mark.parametrize(
    "name",
    [
        "the longest name",
        "spatial constant",
        "whole exponent",
        "products of data",
        "truth values",
        "thresholds",
        "mean by hand",
    ],
)
def test_no_false_alarm(tmp_path: Path, name: str) -> None:
    target = save(small(name), tmp_path, "target.onnx")
    for mode in ("l+1", "2l"):
        made = convert(
            target, tmp_path / f"{mode}.onnx", mode=mode, base_size=3, price=1e-3, validate=False
        )
        assert verify(made.path, target=target).failures == []


# statistics ------------------------------------------------------------------------------------


def test_the_source_is_random(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tested = source_statistics(made)

    assert tested.failures == []
    assert len(tested.layers) == len(Draft.read(made).layers)
    assert run(["verify", str(made), "--statistics"]) == 0
    shown = capsys.readouterr().out
    assert "random: yes" in shown
    assert max(map(len, shown.splitlines()[:-1])) <= 80
    assert run(["verify", str(made), "--statistics", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["statistics"]["passed"] is True


def test_numbers_that_are_not_random_fail(
    made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def equal(seed: int, layer: Any, places: Any) -> Any:
        return np.float32(layer.sigma) * (places % 7 / 7).astype(np.float32)

    monkeypatch.setattr("lt_onnx.verification.statistics.weights_at", equal)

    assert len(source_statistics(made).failures) == len(source_statistics(made).layers)
    assert run(["verify", str(made), "--statistics", "-q"]) == 1
    assert "is not random" in capsys.readouterr().err


def test_statistics_of_a_huge_layer_are_a_sample(made: Path, tmp_path: Path) -> None:
    draft = Draft.read(made)
    draft.layers[1].update(shape=[2**26, 2**10], mirror_columns=2**8)
    draft.write(tmp_path / "t.onnx")

    tested = source_statistics(tmp_path / "t.onnx")
    assert tested.failures == []
    assert 2**17 <= tested.layers[1].tested <= 2**18


def test_what_half_precision_rounds_to_minus_zero_is_left_out_as_zero(tmp_path: Path) -> None:
    """Of such numbers none is kept, and there is one way to write that."""
    b = Builder()
    weight, other = b.constant(b.weight(8, 1024)), b.constant(b.weight(4, 8))
    x = b("Relu", b("Gemm", "x", weight, b.constant(b.weight(8)), transB=1))
    target = save(b.model(b("Gemm", x, other, transB=1), ("N", 1024)), tmp_path)
    path, words = tmp_path / "t.onnx", {"mode": "2l", "base_size": 2, "price": 1e-3, "seed": 5}
    convert(target, path, fp16=True, init="kaiming", validate=False, **words)
    assert verify(path, target=target).failures == []

    draft = Draft.read(path)
    layer = draft.layers[0]
    name, negative = draft.numbers(layer), np.float16(-0.0).view(np.uint16)
    drawn = draft.source(layer).view(np.uint16)
    (place, *_) = np.flatnonzero(drawn == negative)
    bits = draft.get(name).view(np.uint16).copy()
    assert bits.reshape(-1)[place] == 0
    bits.reshape(-1)[place] = negative
    draft.put(name, bits.view(np.float16))
    layer["kept"] += 1
    draft.comment()
    draft.write(path)
    assert any("-0.0" in failure for failure in verify(path).failures)
