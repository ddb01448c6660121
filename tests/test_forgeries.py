"""Thousands of forgeries, each sealed again: `verify` lets none pass, nor a genuine ticket fail."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import MODELS
from forgeries import both, edit, of_manifest, of_scales, of_weights, place, record
from forging import Catalogue, Draft, Forgery, Record, is_caught, uncaught
from smuggling import of_external, of_file, of_hidden, of_outputs, of_target, of_wiring
from zoo import export

from lt_onnx import convert, verify
from lt_onnx.cli.app import run

EVERY = int(os.environ.get("LT_ONNX_EVERY", 4))  # one of so many is tried; `make forgeries`: all


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
}
WHOLE_FILES = ["folded", "masked", "sparse", "mirrored", "half", "dense", "convnext"]
TRIALS: list[tuple[str, Catalogue]] = [
    *[(kind, of_weights) for kind in [*WHOLE_FILES, "external"]],
    *[(kind, of_scales) for kind in WHOLE_FILES],
    *[(kind, of_wiring) for kind in WHOLE_FILES],
    *[(kind, of_target) for kind in WHOLE_FILES],
    *[(kind, of_manifest) for kind in ("folded", "sparse", "half", "dense")],
    *[(kind, of_hidden) for kind in ("folded", "sparse", "dense")],
    *[(kind, of_file) for kind in ("folded", "sparse")],
    ("external", of_external),
    ("outputs", of_outputs),
]


@pytest.fixture(scope="module")
def genuine(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Genuine]:
    made = {}
    for kind, (name, words) in KINDS.items():
        folder = tmp_path_factory.mktemp(kind)
        target = MODELS / f"{name}.onnx"
        target = target if target.exists() else export(name, folder)
        with pytest.MonkeyPatch.context() as patch:
            if kind == "external":
                patch.setattr("lt_onnx.files.INLINE_LIMIT", 0)
            convert(target, folder / "t.onnx", base_size=3, validate=False, **words)
        made[kind] = Genuine(folder / "t.onnx", target, Draft.read(folder / "t.onnx"))
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_genuine_tickets_are_proved_and_the_forgers_seal_is_the_right_one(
    genuine: dict[str, Genuine], tmp_path: Path, kind: str
) -> None:
    made = genuine[kind]
    made.draft.copy().write(tmp_path / "t.onnx")

    assert verify(made.path).failures == []
    assert run(["verify", str(made.path), "--target", str(made.target), "-q"]) == 0
    assert (tmp_path / "t.onnx").read_bytes() == made.path.read_bytes()


@pytest.mark.parametrize(("kind", "catalogue"), TRIALS)
def test_every_forgery_is_caught(
    genuine: dict[str, Genuine], tmp_path: Path, kind: str, catalogue: Catalogue
) -> None:
    made = genuine[kind]
    passed, count = uncaught(made.draft, catalogue(made.draft), tmp_path, made.target, EVERY)

    assert count
    assert passed == [], "\n".join(passed)


def legal(draft: Draft) -> Iterator[Forgery]:
    """Other masks, scales and orders than the construction chose."""
    for number, layer in enumerate(draft.layers):
        yield Forgery(f"{layer['weight']}: one less", lambda d, n=number: drop_one(d, d.layers[n]))
        yield Forgery(f"{layer['scale']}: doubled", edit(layer["scale"], lambda a: a * 2))
        if layer["kept_bias"]:
            one = int(np.flatnonzero(draft.get(layer["bias"]))[0])
            yield Forgery(
                f"{layer['bias']}: one less",
                both(
                    edit(layer["bias"], place(one, 0)),
                    record(number, kept_bias=layer["kept_bias"] - 1),
                ),
            )
    for name in draft.manifest["order"]:
        yield Forgery(f"{name}: the other way", edit(name, lambda a: a[::-1]))


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
    genuine: dict[str, Genuine], tmp_path: Path, kind: str
) -> None:
    made = genuine[kind]
    for change in legal(made.draft):
        changed = made.draft.copy()
        change.change(changed)
        changed.write(tmp_path / "t.onnx")
        assert verify(tmp_path / "t.onnx", target=made.target).failures == [], change.name
        assert verify(tmp_path / "t.onnx").genuine, change.name
        changed.write(tmp_path / "t.onnx", sealed=False)
        assert is_caught(tmp_path / "t.onnx"), change.name


def test_there_are_many_of_them(genuine: dict[str, Genuine]) -> None:
    known = [sum(1 for _ in catalogue(genuine[kind].draft)) for kind, catalogue in TRIALS]

    assert sum(known) // EVERY >= 200
