"""Forged seeded and collapsed tickets, each sealed again: none passes, and it is said why."""

import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import onnx
import pytest
from forge.deployed import (
    of_joined,
    of_products,
    of_seeded,
    of_softmax,
    of_sums,
    rename,
    rename_layer,
)
from forge.draft import Catalogue, Draft
from forge.smuggled import TEXT
from forge.trial import failures, misses
from graphs import Builder, save
from onnx import helper
from paths import MODELS
from resealed import failures_of

from lt_onnx import convert, deploy, verify
from lt_onnx.manifest import DEPLOYED_KEY


def old(folder: Path) -> Path:
    """A network with a Softmax as it was before the operator set 13."""
    b = Builder(opset=11)
    x = b("Softmax", b.conv(b("Relu", b.conv("x", 3, 4)), 4, 4), axis=1)
    return save(b.model(b.conv(x, 4, 3, k=1)), folder)


def products(folder: Path) -> Path:
    """A network of MatMul and Add."""
    b = Builder()
    x = b("Relu", b("Add", b("MatMul", "x", b.constant(b.weight(8, 6))), b.constant(b.weight(6))))
    x = b("Add", b("MatMul", x, b.constant(b.weight(6, 3))), b.constant(b.weight(3)))
    return save(b.model(x, ("N", 5, 8)), folder)


NETWORKS = {"old": old, "products": products}
COLLAPSED = {"weights": "seeded", "collapse": True}
KINDS: dict[str, tuple[str, dict[str, Any], Catalogue]] = {
    "seeded": ("plain-relu", {"weights": "seeded"}, of_seeded),
    "softmax": ("old", {"weights": "seeded"}, of_softmax),
    "joined": ("plain-leakyrelu", COLLAPSED, of_joined),
    "sums": ("residual", COLLAPSED, of_sums),
    "products": ("products", COLLAPSED, of_products),
}


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a ticket of a kind and its target, made when it is asked for first."""

    @cache
    def made(kind: str) -> Path:
        name, words, _ = KINDS[kind]
        folder = tmp_path_factory.mktemp(kind)
        if name in NETWORKS:
            NETWORKS[name](folder)
        else:
            shutil.copy(MODELS / f"{name}.onnx", folder / "target.onnx")
        words = {"mode": "2l", "base_size": 4, "price": 1e-3, "validate": False, **words}
        convert(folder / "target.onnx", folder / "t.onnx", **words)
        return folder

    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_deployed_forgery_is_caught_for_what_it_is(
    genuine: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    folder = genuine(kind)
    draft, target = Draft.read(folder / "t.onnx"), folder / "target.onnx"
    draft.copy().write(tmp_path / "t.onnx")
    forgeries = list(KINDS[kind][2](draft))

    assert verify(tmp_path / "t.onnx", target=target).genuine
    assert (tmp_path / "t.onnx").read_bytes() == (folder / "t.onnx").read_bytes()
    assert list(misses(draft, forgeries, tmp_path, target)) == []


def untyped(node: onnx.NodeProto) -> None:
    """What was a tensor of axes, or an attribute, is of no number."""
    node.attribute.append(helper.make_attribute("axes", ["a"]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "malform",
    [lambda node: node.ClearField("input"), lambda node: node.ClearField("output"), untyped],
    ids=["no inputs", "no outputs", "an attribute of texts"],
)
def test_a_malformed_node_is_refused(
    genuine: Callable[[str], Path],
    tmp_path: Path,
    kind: str,
    malform: Callable[[onnx.NodeProto], None],
) -> None:
    draft = Draft.read(genuine(kind) / "t.onnx")
    first: dict[str, int] = {}  # node of every operator
    for number, node in enumerate(draft.model.graph.node):
        first.setdefault(node.op_type, number)
    for number in first.values():
        changed = draft.copy()
        malform(changed.model.graph.node[number])
        changed.write(tmp_path / "t.onnx")
        assert failures(tmp_path / "t.onnx"), changed.model.graph.node[number]


def test_a_tensor_that_an_attribute_would_have_been_is_not_read_elsewhere(
    genuine: Callable[[str], Path], tmp_path: Path
) -> None:
    """Nor is any of its kind but numbers."""
    draft = Draft.read(genuine("softmax") / "t.onnx")
    for tensor in (
        onnx.TensorProto(name="q/axes.0", data_type=onnx.TensorProto.STRING, string_data=[b"a"]),
        onnx.TensorProto(
            name="q/axes.0",
            data_type=onnx.TensorProto.INT64,
            data_location=onnx.TensorProto.EXTERNAL,
            external_data=[onnx.StringStringEntryProto(key="location", value="elsewhere")],
        ),
    ):
        changed = draft.copy()
        changed.model.graph.initializer.append(tensor)
        reads = helper.make_node("Squeeze", [changed.model.graph.input[0].name, "q/axes.0"], ["q"])
        changed.model.graph.node.append(reads)
        changed.write(tmp_path / "t.onnx")
        assert failures(tmp_path / "t.onnx")


@pytest.mark.parametrize("kind", ["seeded", "sums"])
def test_what_a_seeded_ticket_says_is_all_that_its_entry_holds(
    genuine: Callable[[str], Path], tmp_path: Path, kind: str
) -> None:
    """No field that ONNX does not know, and no order of the entries that would tell something."""

    def hide(model: onnx.ModelProto) -> None:
        (entry,) = (e for e in model.metadata_props if e.key == DEPLOYED_KEY)
        entry.MergeFromString(b"\xc2\xbb\x01\x04bits")  # field 3000

    def exchange(model: onnx.ModelProto) -> None:
        held = [(entry.key, entry.value) for entry in model.metadata_props]
        del model.metadata_props[:]
        for key, value in [held[1], held[0], *held[2:]]:
            model.metadata_props.add(key=key, value=value)

    ticket = genuine(kind) / "t.onnx"
    assert failures_of(ticket, tmp_path, lambda model: None) == ""
    assert "or holds more than it says" in failures_of(ticket, tmp_path, hide)
    assert "is not the second one" in failures_of(ticket, tmp_path, exchange)


@pytest.mark.parametrize("name", ["first_B", "first_R", "first_K"])
def test_a_layer_may_be_called_as_a_line_of_the_generator(
    genuine: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    draft = Draft.read(genuine("seeded") / "t.onnx")
    rename_layer(draft, name)
    draft.write(tmp_path / "t.onnx")
    assert verify(tmp_path / "t.onnx").failures == []


@pytest.mark.parametrize("end", ["/positive", "/both"])
def test_a_name_that_is_not_put_back_is_counted_as_text(
    genuine: Callable[[str], Path], tmp_path: Path, end: str
) -> None:
    folder = genuine("joined")
    before, draft = verify(folder / "t.onnx").account, Draft.read(folder / "t.onnx")
    rename(draft, end, TEXT[:1500])
    draft.write(tmp_path / "t.onnx")
    proof = verify(tmp_path / "t.onnx")

    assert proof.failures == []
    assert before is not None
    assert proof.account is not None
    assert proof.account.texts >= before.texts + 6 * 1500 - 300
    assert proof.account.masks == before.masks
    assert verify(tmp_path / "t.onnx", target=folder / "target.onnx").failures


def test_a_mask_has_one_code(
    genuine: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticket = genuine("seeded") / "t.onnx"
    monkeypatch.setattr("lt_onnx.writing.generator.MAX_CODE_BITS", 2)
    deploy(ticket, tmp_path / "t.onnx", weights="seeded")

    (failure,) = verify(tmp_path / "t.onnx").failures
    assert "codes of another width" in failure


def transposed(folder: Path) -> Path:
    b = Builder()
    weight, bias = b.constant(b.weight(3, 4, 4)), b.constant(b.weight(4))
    x = b("Relu", b("ConvTranspose", "x", weight, bias, strides=[2], pads=[1, 1]))
    return save(b.model(b.conv(x, 4, 2, 3, rank=1, pads=[3, 0]), ("N", 3, 9)), folder)


@pytest.mark.parametrize("network", [products, transposed])
def test_a_collapsed_ticket_of_any_kind_of_layer_is_genuine(
    tmp_path: Path, network: Callable[[Path], Path]
) -> None:
    target = network(tmp_path)
    words = {"mode": "2l", "base_size": 4, "price": 1e-2, "validate": False, **COLLAPSED}
    convert(target, tmp_path / "t.onnx", **words)

    for given in (None, target):
        assert verify(tmp_path / "t.onnx", target=given).failures == []
