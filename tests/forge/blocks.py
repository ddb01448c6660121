"""Univariate layers: neurons, scales, orders and records that their seed does not give."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from forge.changes import edit, place
from forge.draft import Draft, Forgery, Record
from forge.reasons import ANOTHER_LAYER, DAMAGED, NOT_DERIVED, SCALE_OF_ALL


def of_blocks(draft: Draft) -> Iterator[Forgery]:
    """Every univariate layer."""
    for number, layer in enumerate(draft.layers):
        if layer["block"]:
            yield from _scales(draft, layer)
            yield from _orders(draft, layer)
            yield from _masks(draft, number)
            yield from _records(number, layer["block"], layer["shape"])
            for what, change in {"no block": None, "another's": _other(draft, number)}.items():
                record = partial(_set, number=number, value=change)
                told = f"{NOT_DERIVED}|{DAMAGED}|{SCALE_OF_ALL}"
                yield Forgery(layer["weight"], f"a record of {what}", record, told, target=True)
            told = f"{ANOTHER_LAYER}|{SCALE_OF_ALL}"
            bare = partial(_unmask, number=number)
            yield Forgery(layer["weight"], "unmasked, of free scales", bare, told, target=True)


def _scales(draft: Draft, layer: Record) -> Iterator[Forgery]:
    name = layer["scale"]
    held = draft.get(name).reshape(-1)
    used = np.flatnonzero(held)
    changes: dict[str, Callable[[np.ndarray], Any]] = {
        "a neuron's scale a bit larger": place(
            used[0], np.nextafter(held[used[0]], np.float32(np.inf))
        ),
        "a neuron's scale trained": place(used[len(used) // 2], 0.7),
        "a neuron's scale negative": place(used[-1], -held[used[-1]]),
        "a neuron's scale of 0": place(used[0], 0),
        "every scale trained": lambda a: a * np.linspace(0.5, 2, a.size).reshape(a.shape),
        "every scale doubled": lambda a: a * 2,
        "scales reversed": lambda a: a[::-1].copy(),
    }
    for what, change in changes.items():
        yield Forgery(name, what, edit(name, change), NOT_DERIVED)
    for at in np.flatnonzero(held == 0)[:1]:
        yield Forgery(name, "an idle neuron's scale", edit(name, place(at, 0.3)), NOT_DERIVED)


def _orders(draft: Draft, layer: Record) -> Iterator[Forgery]:
    name = layer["block"]["order"]
    changes: dict[str, Callable[[np.ndarray], Any]] = {
        "an order the other way": lambda a: a[::-1].copy(),
        "two neurons exchanged": lambda a: a[[1, 0, *range(2, len(a))]],
        "another neuron in a slot": lambda a: np.append(a[-1:], a[1:]),
        "a trained choice of neurons": lambda a: a[np.arange(len(a)) // 2],
    }
    for what, change in changes.items():
        yield Forgery(name, what, edit(name, change), NOT_DERIVED)


def _masks(draft: Draft, number: int) -> Iterator[Forgery]:
    """Other weights of the source than those that the block keeps, each drawn and counted."""
    layer = draft.layers[number]
    kept = np.flatnonzero(draft.mask(layer))
    free = np.setdiff1d(np.arange(int(np.prod(layer["shape"]))), kept)
    yield Forgery(
        layer["weight"],
        "one weight less",
        partial(_keep, number=number, places=kept[1:]),
        NOT_DERIVED,
    )
    for at in free[:1]:
        for what, places in (
            ("one weight more", np.union1d(kept, [at])),
            ("another weight", np.union1d(kept[1:], [at])),
        ):
            change = partial(_keep, number=number, places=places)
            yield Forgery(layer["weight"], what, change, NOT_DERIVED)


def _keep(draft: Draft, number: int, places: np.ndarray) -> None:
    """Keep the source's numbers at these flat places of the stored tensor."""
    layer = draft.layers[number]
    layer["kept"] = len(places)
    drawn = draft.source(layer)
    if layer["stored"] == "sparse":
        draft.set_sparse(layer, places, drawn[places])
        return
    kept = np.zeros(drawn.size, bool)
    kept[places] = True
    masked = layer["stored"] == "masked"
    name = f"{layer['weight']}/mask" if masked else draft.numbers(layer)
    value = kept.astype(np.uint8) if masked else np.where(kept, drawn, np.float32(0))
    draft.put(name, value.reshape(layer["shape"][::-1] if layer["transposed"] else layer["shape"]))


def _unmask(draft: Draft, number: int) -> None:
    """Every weight kept, as in a source that nothing was masked of, and scales as one likes."""
    layer = draft.layers[number]
    layer["block"] = None
    _keep(draft, number, np.arange(int(np.prod(layer["shape"]))))
    edit(layer["scale"], lambda a: a * np.linspace(1, 2, a.size).reshape(a.shape))(draft)
    draft.comment()


def _records(number: int, block: Record, shape: list[int]) -> Iterator[Forgery]:
    """Other values of the block's record."""
    others: dict[str, dict[str, Any]] = {
        "gain": {"a bit larger": float(np.nextafter(np.float32(block["gain"]), np.float32(9)))},
        "neurons": {"one more": block["neurons"] + 1, "one less": max(1, block["neurons"] - 1)},
        "channels": {"one more": block["channels"] + 1},
        "parts": {
            f"of {parts}": parts for parts in ([0], [1], [1, -1], [-1]) if parts != block["parts"]
        },
        "reads": {
            "reversed": [[at, 1] for at in range(shape[1])][::-1][: block["channels"]],
            "of none": [[-1, block["channels"]]],
            "of one, often": [[0, 1]] * block["channels"],
            "beyond": [[shape[1], block["channels"]]],
        },
        "order": {"nowhere": "nowhere"},
    }
    for key, values in others.items():
        for what, value in values.items():
            if value != block[key] and not (key == "neurons" and value < 1):
                change = partial(_set, number=number, value={**block, key: value})
                told = f"{NOT_DERIVED}|{DAMAGED}|is not the order"
                yield Forgery(block["order"], f"{key} {what}", change, told)
    if block["constants"]:
        yield from _constants(number, block, block["constants"])


def _constants(number: int, block: Record, record: Record) -> Iterator[Forgery]:
    others: dict[str, dict[str, Any]] = {
        "none": {},
        "one less": {"count": record["count"] - 1},
        "far more": {"count": 2**30},
        "of the other sign": {"sign": -record["sign"]},
        "of another size": {"levels": [record["levels"][0] + 1, *record["levels"][1:]]},
        "of one size": {"levels": record["levels"][:1]},
        "from elsewhere": {"values": [] if record["values"] else [[0, 0.5]]},
        "from an input that is not there": {"values": [[2**20, 0.5]]},
    }
    if record["values"]:
        others["said twice"] = {"values": [*record["values"], record["values"][0]]}
        others["of data"] = {"values": [[block["reads"][0][0], 0.5]]}
        others["of other values"] = {"values": [[at, 1.5 * v] for at, v in record["values"]]}
    for what, fields in others.items():
        said = {**record, **fields} if fields else None
        change = partial(_set, number=number, value={**block, "constants": said})
        told = f"{NOT_DERIVED}|{DAMAGED}|a constant listens|from biases or from inputs"
        yield Forgery(block["order"], f"constants {what}", change, told)


def _set(draft: Draft, number: int, value: Record | None) -> None:
    draft.layers[number]["block"] = value


def _other(draft: Draft, number: int) -> Record:
    """The record of another block, or of this one with another gain."""
    others = [layer["block"] for at, layer in enumerate(draft.layers) if at != number]
    blocks = [block for block in others if block]
    return blocks[0] if blocks else {**draft.layers[number]["block"], "gain": 0.25}
