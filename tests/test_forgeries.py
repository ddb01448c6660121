"""Forgeries, each sealed again: `verify` lets none pass and says why; genuine tickets pass."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from forge.blocks import of_blocks
from forge.changes import both, edit, place, record
from forge.constants import of_blocks_between, of_constants
from forge.counted import counted
from forge.draft import Catalogue, Draft, Forgery, Record
from forge.external import of_external
from forge.files import of_file
from forge.hidden import of_hidden
from forge.networks import of_outputs, of_target
from forge.records import of_manifest
from forge.scales import of_scales
from forge.smuggled import of_smuggled
from forge.trial import failures, misses, one_of_each
from forge.weights import of_weights
from forge.wiring import of_wiring
from graphs import Builder, save
from paths import MODELS
from torch_networks import export

from lt_onnx import convert, verify
from lt_onnx.cli.app import run


def mixed(folder: Path) -> Path:
    """A network with an index, an attribute and a parameter of each kind."""
    b = Builder()
    x = b("LeakyRelu", b.conv("x", 3, 4, pads=[1, 1, 1, 1]), alpha=0.1)
    x = b("Clip", b.conv(x, 4, 4), b.constant(0.0), b.constant(6.0))
    x = b("PRelu", x, b.constant(b.rng.random((4, 1, 1))))
    x = b.reshape(b("MaxPool", x, kernel_shape=[2, 2]), [-1, 4 * 25])
    x = b("Mod", x, b.constant(b.rng.uniform(1, 2, 100)), fmod=1)
    return save(b.model(b.gemm(x, 100, 5)), folder)


def constant(folder: Path) -> Path:
    """A network whose slopes and positions are constructed, with a norm that is folded."""
    b = Builder()
    x = b("PRelu", b.conv("x", 3, 4, pads=[1, 1, 1, 1]), b.constant(b.rng.random((4, 1, 1))))
    x = b("Add", x, b.constant(b.rng.standard_normal((4, 10, 10))))
    x = b.reshape(b("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2]), [-1, 4 * 25])
    norm = b("LayerNormalization", x, b.constant(b.rng.random(100)), b.constant(b.rng.random(100)))
    return save(b.model(b.gemm(norm, 100, 5), ("N", 3, 10, 10)), folder)


NETWORKS = {"mixed": mixed, "constant": constant}


@dataclass(frozen=True)
class Genuine:
    """A ticket to forge, and the target that it was made from."""

    path: Path
    target: Path
    draft: Draft


KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "folded": ("plain-relu", {"mode": "l+1"}),
    "masked": ("residual", {"mode": "2l", "weights": "masked"}),
    "sparse": ("depthwise", {"mode": "l+1", "weights": "sparse"}),
    "mirrored": ("plain-sigmoid", {"mode": "2l"}),
    "half": ("plain-sigmoid", {"mode": "l+1", "weights": "masked", "fp16": True}),
    "external": ("plain-relu", {"mode": "2l", "weights": "masked"}),
    "dense": ("hybrid", {"mode": "l+1"}),
    "convnext": ("convnext", {"mode": "2l", "weights": "sparse", "fp16": True}),
    "outputs": ("odd", {"mode": "l+1"}),
    "mixed": ("mixed", {"mode": "2l"}),
    "constant": ("constant", {"mode": "2l"}),
    "fitted": ("plain-relu", {"mode": "2l", "fit_scales": True}),
    "between": ("plain-relu", {"mode": "l+k", "base_sizes": {"second": 4}, "price": 1e-3}),
}
WHOLE_FILES = ["folded", "masked", "sparse", "mirrored", "half", "dense", "convnext", "mixed"]
TRIALS: list[tuple[str, Catalogue]] = [
    ("folded", of_weights),
    ("masked", of_weights),
    ("sparse", of_weights),
    ("half", of_weights),
    ("mirrored", of_scales),
    ("fitted", of_scales),
    ("between", of_scales),
    ("mirrored", of_blocks),
    ("masked", of_blocks),
    ("folded", of_wiring),
    ("masked", of_wiring),
    ("mixed", of_target),
    ("dense", of_target),
    ("folded", of_manifest),
    ("dense", of_manifest),
    ("folded", of_hidden),
    ("folded", of_smuggled),
    ("sparse", of_file),
    ("external", of_external),
    ("outputs", of_outputs),
    ("constant", of_constants),
    ("between", of_blocks_between),
]
EVERYWHERE: list[tuple[str, Catalogue]] = [
    *[(kind, of_weights) for kind in [*WHOLE_FILES, "external"]],
    *[(kind, of_scales) for kind in WHOLE_FILES],
    *[(kind, of_blocks) for kind in WHOLE_FILES],
    *[(kind, of_wiring) for kind in WHOLE_FILES],
    *[(kind, of_target) for kind in WHOLE_FILES],
    *[(kind, of_manifest) for kind in ("folded", "sparse", "half", "dense")],
    *[(kind, of_hidden) for kind in ("folded", "sparse", "dense")],
    *[(kind, of_file) for kind in ("folded", "sparse")],
    ("external", of_external),
    ("outputs", of_outputs),
]


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Genuine]:
    """A ticket of a kind, made when it is asked for first."""

    @cache
    def made(kind: str) -> Genuine:
        name, words = KINDS[kind]
        folder = tmp_path_factory.mktemp(kind)
        target = MODELS / f"{name}.onnx"
        if not target.exists():
            target = NETWORKS[name](folder) if name in NETWORKS else export(name, folder)
        with pytest.MonkeyPatch.context() as patch:
            if kind == "external":
                patch.setattr("lt_onnx.files.INLINE_LIMIT", 0)
            convert(target, folder / "t.onnx", **{"base_size": 3, "validate": False, **words})
        return Genuine(folder / "t.onnx", target, Draft.read(folder / "t.onnx"))

    return made


@pytest.mark.parametrize("kind", KINDS)
def test_genuine_tickets_are_proved_and_the_forgers_seal_is_the_right_one(
    genuine: Callable[[str], Genuine], tmp_path: Path, kind: str
) -> None:
    made = genuine(kind)
    made.draft.copy().write(tmp_path / "t.onnx")

    assert verify(made.path).failures == []
    assert run(["verify", str(made.path), "--target", str(made.target), "-q"]) == 0
    assert (tmp_path / "t.onnx").read_bytes() == made.path.read_bytes()


@pytest.mark.parametrize(("kind", "catalogue"), TRIALS)
def test_a_forgery_of_every_sort_is_caught_for_what_it_is(
    genuine: Callable[[str], Genuine], tmp_path: Path, kind: str, catalogue: Catalogue
) -> None:
    made = genuine(kind)
    forgeries = list(one_of_each(catalogue(made.draft)))

    assert forgeries
    assert list(misses(made.draft, forgeries, tmp_path, made.target)) == []


def test_what_passes_is_counted_under_another_name_than_masks(
    genuine: Callable[[str], Genuine], tmp_path: Path
) -> None:
    made = genuine("folded")
    before = verify(made.path).account
    assert before is not None
    for what, held in counted(made.draft).items():
        changed = made.draft.copy()
        held.change(changed)
        changed.write(tmp_path / "t.onnx")
        proof = verify(tmp_path / "t.onnx")
        assert proof.failures == [], what
        assert proof.account is not None
        assert getattr(proof.account, held.where) >= getattr(before, held.where) + held.bits, what
        assert (failures(tmp_path / "t.onnx", made.target) == []) == held.with_target, what


@pytest.mark.long
@pytest.mark.parametrize(("kind", "catalogue"), EVERYWHERE)
def test_every_forgery_is_caught_at_every_place_for_what_it_is(
    genuine: Callable[[str], Genuine], tmp_path: Path, kind: str, catalogue: Catalogue
) -> None:
    made = genuine(kind)
    forgeries = catalogue(made.draft)

    assert list(misses(made.draft, forgeries, tmp_path, made.target)) == []


def test_there_are_hundreds_of_sorts(genuine: Callable[[str], Genuine]) -> None:
    sorts = {
        (catalogue.__name__, forgery.what)
        for kind, catalogue in TRIALS
        for forgery in catalogue(genuine(kind).draft)
    }

    assert len(sorts) > 1000


def legal(draft: Draft) -> Iterator[Forgery]:
    """Other masks and scales than the construction chose, of the layers where they are free."""
    for number, layer in enumerate(draft.layers):
        if layer["block"]:
            continue
        weight, scale = layer["weight"], layer["scale"]
        yield Forgery(weight, "one less", lambda d, n=number: drop_one(d, d.layers[n]), "")
        yield Forgery(scale, "doubled", edit(scale, lambda a: a * 2), "")
        if layer["kept_bias"]:
            one = int(np.flatnonzero(draft.get(layer["bias"]))[0])
            fewer = record(number, kept_bias=layer["kept_bias"] - 1)
            change = both(edit(layer["bias"], place(one, 0)), fewer)
            yield Forgery(layer["bias"], "one bias less", change, "")


def drop_one(draft: Draft, layer: Record) -> None:
    """Mask one more weight, and count it."""
    layer["kept"] -= 1
    if layer["stored"] == "sparse":
        draft.set_sparse(layer, draft.places(layer)[1:], draft.get(draft.numbers(layer))[1:])
        return
    name = f"{layer['weight']}/mask" if layer["stored"] == "masked" else draft.numbers(layer)
    edit(name, place(int(np.flatnonzero(draft.mask(layer))[0]), 0))(draft)


@pytest.mark.parametrize("kind", KINDS)
def test_another_legal_choice_is_genuine_once_it_is_sealed(
    genuine: Callable[[str], Genuine], tmp_path: Path, kind: str
) -> None:
    made = genuine(kind)
    for change in one_of_each(legal(made.draft)):
        changed = made.draft.copy()
        change.change(changed)
        changed.comment()
        changed.write(tmp_path / "t.onnx")
        assert failures(tmp_path / "t.onnx", made.target) == [], change.name
        assert failures(tmp_path / "t.onnx") == [], change.name
        changed.write(tmp_path / "t.onnx", sealed=False)
        assert "seal" in failures(tmp_path / "t.onnx")[0], change.name


# the kit itself --------------------------------------------------------------------------------


def test_surgery_without_a_cut_leaves_a_genuine_ticket(
    genuine: Callable[[str], Genuine], tmp_path: Path
) -> None:
    for kind in ("folded", "masked", "sparse", "external"):
        draft = genuine(kind).draft.copy()
        with draft.surgery():
            pass
        draft.write(tmp_path / "t.onnx")

        assert failures(tmp_path / "t.onnx", genuine(kind).target) == []


def test_a_forgery_that_passes_crashes_or_is_told_otherwise_is_a_miss(
    genuine: Callable[[str], Genuine], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = genuine("folded")
    scale = made.draft.layers[1]["scale"]
    doubled = Forgery(scale, "doubled", edit(scale, lambda a: a * 2), "")
    dropped = Forgery(scale, "dropped", lambda d: d.drop(scale), "not finite")

    def missed(forgery: Forgery) -> list[tuple[str, str]]:
        return list(misses(made.draft, [forgery], tmp_path, made.target))

    assert ("passes" in missed(doubled)[0][1], len(missed(doubled))) == (True, 2)
    ((name, told),) = missed(dropped)
    assert name == f"{scale}: dropped"
    assert "is missing" in told

    def crash(path: Path, target: Path | None = None) -> Any:
        raise ZeroDivisionError

    monkeypatch.setattr("forge.trial.verify", crash)
    assert "ZeroDivisionError" in missed(dropped)[0][1]
