"""A ticket's layers as arrays: source × mask is what the file holds, in every form of it."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from forge.draft import Draft
from graphs import Builder, save
from onnx import numpy_helper
from paths import MODELS

from lt_onnx import convert, deploy, load, overlap, verify
from lt_onnx.cli.app import run
from lt_onnx.errors import InputError
from lt_onnx.verification.generator import weights

SETTINGS = {"base_size": 4, "price": 1e-3, "init": "kaiming", "validate": False}


@pytest.fixture(scope="module")
def tickets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one ticket in every form, a pack, and a ticket of another seed."""
    folder = tmp_path_factory.mktemp("tickets")
    target = MODELS / "plain-relu.onnx"
    convert(target, folder / "folded.onnx", **SETTINGS)
    convert(target, folder / "other.onnx", seed=1, **SETTINGS)
    for form in ("masked", "sparse", "seeded"):
        deploy(folder / "folded.onnx", folder / f"{form}.onnx", weights=form)
    assert run(["pack", str(folder / "folded.onnx"), "-o", str(folder / "packed.ltz"), "-q"]) == 0
    return folder


def test_source_times_mask_is_the_weight_in_the_file(tickets: Path) -> None:
    net = load(tickets / "folded.onnx", target=MODELS / "plain-relu.onnx")
    stored = {t.name: t for t in onnx.load(tickets / "folded.onnx").graph.initializer}
    targets = {t.name: t for t in onnx.load(MODELS / "plain-relu.onnx").graph.initializer}

    names = "image/univariate first second second.pool/univariate head".split()
    assert [*net.layers] == names
    assert (net.seed, net.options.base_size, net.options.price) == (0, 4, 1e-3)
    for name, layer in net.layers.items():
        weight = numpy_helper.to_array(stored[f"{name}/weight"])
        scale = numpy_helper.to_array(stored[f"{name}/sigma"])
        assert layer.mask.dtype == bool
        assert np.array_equal(layer.weight, weight)
        assert np.array_equal(layer.mask, weight != 0)
        assert np.array_equal(layer.scale, scale.reshape(-1))
        record = next(r for r in net._record.layers if r.weight == f"{name}/weight")
        drawn = weights(0, record, (0, len(weight)))
        assert np.array_equal(layer.source.reshape(-1), drawn)
        assert layer.is_univariate == ("univariate" in name) == (layer.target_weight is None)
    head = net.layers["head"].target_weight
    assert any(np.array_equal(head, numpy_helper.to_array(t)) for t in targets.values())


@pytest.mark.parametrize("form", ["masked.onnx", "sparse.onnx", "seeded.onnx", "packed.ltz"])
def test_layers_are_the_same_in_every_form(tickets: Path, form: str, tmp_path: Path) -> None:
    safetensors = pytest.importorskip("safetensors", reason="safetensors is not installed yet")
    net, folded = load(tickets / form), load(tickets / "folded.onnx")
    out, target = tmp_path / "l.safetensors", MODELS / "plain-relu.onnx"
    net.save_safetensors(out)
    with pytest.raises(InputError, match="exists; give `force=True`"):
        net.save_safetensors(out)

    assert [*net.layers] == [*folded.layers]
    with safetensors.safe_open(out, "numpy") as saved:
        assert saved.metadata()["seed"] == "0"
        for name, layer in folded.layers.items():
            for part in ("mask", "source", "scale", "bias", "order"):
                value = getattr(layer, part)
                assert (value is not None) == (f"{name}.{part}" in saved.keys())  # noqa: SIM118
                if value is not None:
                    assert np.array_equal(saved.get_tensor(f"{name}.{part}"), value)
    assert load(tickets / form, target=target).layers["first"].target_weight is not None


def test_what_has_no_masks_says_so(tickets: Path, tmp_path: Path) -> None:
    target, out = MODELS / "plain-relu.onnx", tmp_path / "c.onnx"
    convert(target, tmp_path / "2l.onnx", mode="2l", **SETTINGS)
    deploy(tmp_path / "2l.onnx", out, collapse=True, target=target)
    for call in (lambda net: net.layers, lambda net: net.to_torch()):
        with pytest.raises(InputError, match="is collapsed: give the ticket"):
            call(load(out))
        with pytest.raises(InputError, match="is no ticket: it has no seed, and no masks"):
            call(load(target))
    with pytest.raises(InputError, match="was made from another network than"):
        load(tickets / "folded.onnx", target=MODELS / "plain-tanh.onnx")
    with pytest.raises(InputError, match="no such file"):
        load(tickets / "folded.onnx", target=tmp_path / "none.onnx")
    assert load(target).run({"image": np.zeros((1, 1, 8, 8), np.float32)})


def test_masks_of_two_seeds_overlap_by_chance_and_of_one_ticket_wholly(
    tickets: Path, tmp_path: Path
) -> None:
    folded = load(tickets / "folded.onnx")
    for row in overlap(folded, tickets / "sparse.onnx"):
        assert row.jaccard == 1 > row.chance
        assert row.both == row.kept_a == row.kept_b == folded.layers[row.layer].kept
    rows = {row.layer: row for row in overlap(folded, str(tickets / "other.onnx"))}

    assert {"first", "second", "head"} <= rows.keys()
    for row in rows.values():
        expected = row.kept_a * row.kept_b / row.size
        union = row.kept_a + row.kept_b - expected
        assert row.chance == pytest.approx(expected / union)
        assert row.chance / 4 < row.jaccard < row.chance + 0.15
    b = Builder()
    convert(save(b.model(b.conv("x", 3, 4)), tmp_path), tmp_path / "t.onnx", **SETTINGS)
    with pytest.raises(InputError, match="no layer of one name and shape"):
        overlap(folded, tmp_path / "t.onnx")


FORGED = {
    "a layer less": lambda d: d.model.graph.sparse_initializer.pop(),
    "a weight of another layer": lambda d: d.layers[1].update(weight=d.layers[0]["weight"]),
    "another form": lambda d: [layer.update(stored="masked") for layer in d.layers],
    "half precision": lambda d: [layer.update(half=True) for layer in d.layers],
    "no scales": lambda d: d.drop(d.layers[1]["scale"]),
    "an order of nowhere": lambda d: d.put(d.layers[0]["block"]["order"], np.full(9, 10**6)),
}


@pytest.mark.parametrize("what", FORGED)
def test_a_forged_ticket_has_no_layers_to_look_at(tickets: Path, tmp_path: Path, what: str) -> None:
    draft = Draft.read(tickets / "sparse.onnx")
    FORGED[what](draft)
    draft.write(tmp_path / "t.onnx")

    with pytest.raises(InputError, match=r"is not genuine: .*: run verify"):
        _ = [*load(tmp_path / "t.onnx").layers.values()]


def test_a_pack_is_proved_and_deployed_as_the_ticket_in_it(tickets: Path, tmp_path: Path) -> None:
    packed, ticket = tickets / "packed.ltz", tickets / "folded.onnx"

    target = MODELS / "plain-relu.onnx"
    assert verify(packed, target=target) == verify(ticket, target=target)
    made = deploy(packed, tmp_path / "form.onnx")
    assert made.path.read_bytes() == (tickets / "seeded.onnx").read_bytes()
    assert made.ticket_bytes == ticket.stat().st_size
    beside = packed.with_name("packed.seeded.onnx")
    assert deploy(packed).path == beside
    beside.unlink()
