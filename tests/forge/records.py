"""The manifest: fields of a wrong type, missing, unknown, or of another value."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np

from forge.changes import both, record
from forge.draft import Draft, Forgery
from forge.reasons import (
    ALSO_DENSE,
    ANOTHER_LAYER,
    ANOTHER_TARGET,
    DAMAGED,
    DEFINED_TWICE,
    DRAWN_FROM,
    LAYERS,
    MISCOUNTED,
    MISSING,
    NAMED_TOO,
    NEITHER,
    NO_LAYERS_WEIGHT,
    NO_SCALE,
    NO_TICKET,
    NOT_A_WEIGHT,
    NOT_DRAWN,
    NOT_IN_THE_FILE,
    NOT_THE_FORM,
    OTHER_FORMAT,
    OUT_OF_ORDER,
    SCALE_READ,
    SEAL,
    SIGMA,
    STORED_OTHERWISE,
)

WRONG: dict[type, list[Any]] = {
    int: [None, True, -1, 1.5, 2**70, "1", [], {}],
    float: [None, True, "1", [], {}, 1e300, -1e300],
    str: [None, True, 7, [], {}, ["a"]],
    bool: [None, 0, 1, "true", []],
    list: [None, True, "x", {}, 7, [None], [[]], [{}]],
    dict: [None, True, "x", [], 7],
    type(None): [True, -1, [], {}],
}
EMPTY = {"price", "base_size", "bias", "block", "constants"}  # may be null


def of_manifest(draft: Draft) -> Iterator[Forgery]:
    """Every field of the manifest."""
    yield from _types(draft)
    yield from _texts(draft)
    yield from _seals()
    yield from _tops(draft)
    yield from _options(draft)
    for number in range(len(draft.layers)):
        yield from _records(draft, number)


def _types(draft: Draft) -> Iterator[Forgery]:
    """Every field of a wrong type, missing, and one more."""
    known = draft.manifest
    reached: list[tuple[str, Callable[[dict[str, Any]], dict[str, Any]]]] = [
        ("manifest", lambda manifest: manifest),
        ("options", lambda manifest: manifest["options"]),
    ]
    reached += [
        (f"layer {n}", lambda manifest, n=n: manifest["layers"][n])
        for n in sorted({0, 1, len(known["layers"]) - 1})
    ]
    if known["dense"]:
        reached.append(("dense", lambda manifest: manifest["dense"][0]))
    for where, reach in reached:

        def forged(what: str, change: Callable[[dict[str, Any]], Any], told: str) -> Forgery:
            return Forgery(where, what, lambda d, to=reach: change(to(d.manifest)), told)  # noqa: B023

        kind = where.split()[0]
        for key, value in reach(known).items():
            for wrong in WRONG[type(value)]:
                if not (wrong is None and key in EMPTY):
                    change = partial(dict.update, **{key: wrong})
                    yield forged(
                        f"{kind} with {key} = {wrong!r}", lambda m, c=change: c(m), DAMAGED
                    )
            yield forged(f"{kind} without {key}", lambda m, k=key: m.pop(k), DAMAGED)
        yield forged(f"{kind} with a field more", lambda m: m.update(more=1), DAMAGED)


def _texts(draft: Draft) -> Iterator[Forgery]:
    """Metadata entries that are no manifest."""
    plain = json.dumps(draft.manifest, sort_keys=True, separators=(",", ":"))
    texts: dict[str, list[str]] = {
        "missing": [],
        "duplicated": [plain, plain],
        "another before": ["{}", plain],
        "another behind": [plain, plain.replace('"seed":0', '"seed":1')],
        "empty": [""],
        "no JSON": [plain[:-1]],
        "text behind": [plain + "x"],
        "a list": [f"[{plain}]"],
        "null": ["null"],
        "a number": ["3"],
        "a key twice": [plain.replace('"seed":', '"seed":7,"seed":', 1)],
        "deep": ["[" * 10**5],
        "NaN": [plain.replace('"tolerance":', '"tolerance":NaN,"t":')],
        "a long number": [plain.replace('"seed":0', '"seed":' + "9" * 10**4)],
        "infinity": [plain.replace('"sigma":', '"sigma":Infinity,"s":')],
        "huge float": [plain.replace('"sqnr":', '"sqnr":1e999,"d":')],
        "as XML": ["<manifest/>"],
    }
    told = f"{DAMAGED}|{NO_TICKET}|{DEFINED_TWICE}"
    for what, entries in texts.items():
        yield Forgery("manifest", what, lambda d, to=entries: setattr(d, "texts", to), told)


def _seals() -> Iterator[Forgery]:
    """Seal entries, made of the right one."""
    entries: dict[str, Callable[[str], list[str]]] = {
        "missing": lambda right: [],
        "duplicated": lambda right: [right, right],
        "two": lambda right: [right, "0" * 64],
        "two, the right one last": lambda right: ["0" * 64, right],
        "wrong": lambda right: ["0" * 64],
        "empty": lambda right: [""],
        "in capitals": lambda right: [right.upper()],
        "cut": lambda right: [right[:-1]],
        "spaced": lambda right: [f" {right}"],
        "longer": lambda right: [right + "0"],
    }
    for what, seals in entries.items():
        change = lambda d, to=seals: setattr(d, "seals", to)  # noqa: E731
        yield Forgery("seal", f"a seal {what}", change, f"{SEAL}|{DEFINED_TWICE}")


def _tops(draft: Draft) -> Iterator[Forgery]:
    """Other values of the manifest itself."""
    known = draft.manifest
    layers = known["layers"]

    def top(what: str, told: str, *, target: bool = False, **fields: Any) -> Forgery:
        return Forgery("manifest", what, lambda d: d.manifest.update(fields), told, target)

    for seed in (known["seed"] + 1, 2**32, 2**64 - 1):
        yield top(f"seed {seed}", NOT_DRAWN, seed=seed)
    yield top("seed 2^64", DAMAGED, seed=2**64)
    for number in (0, 1, 3, 4, 6):
        yield top(f"format {number!r}", OTHER_FORMAT, format=number)
    for number in (5.0, "5"):
        yield top(f"format {number!r}", DAMAGED, format=number)
    for name in ("philox4x32-10/2", "philox4x32-7/1", "mt19937", "", "PHILOX4X32-10/1"):
        yield top(f"generator {name!r}", DAMAGED, generator=name)
    yield top("a long version", DAMAGED, version="1" * 1000)
    for digest in ("", "0" * 63, "g" * 64, known["target_sha256"].upper()):
        yield top(f"a target of digest {digest[:3]!r}", DAMAGED, target_sha256=digest)
    yield top("another target", ANOTHER_TARGET, target_sha256="0" * 64, target=True)
    yield top("no layers", DAMAGED, layers=[])
    yield top("a layer less", f"{NEITHER}|{NO_LAYERS_WEIGHT}", layers=layers[:-1])
    yield top("the first layer less", DRAWN_FROM, layers=layers[1:])
    yield top("a layer twice", ALSO_DENSE, layers=[*layers, layers[-1]])
    yield top("layers the other way", OUT_OF_ORDER, layers=layers[::-1])
    ghost = {**layers[-1], "weight": "ghost", "index": len(layers)}
    yield top("a layer that is not there", MISSING, layers=[*layers, ghost])
    key, names = "parameters", known["parameters"]
    yield top(f"{key} of nothing", NOT_IN_THE_FILE, parameters=sorted([*names, "nowhere"]))
    for name in names:
        yield top(f"{key} with a name twice", DAMAGED, parameters=[*names, name])
        others = [other for other in names if other != name]
        yield top(f"{key} with a name less", NEITHER, parameters=others)
    weight = layers[-1]["weight"]
    named = f"{NAMED_TOO}|{NOT_IN_THE_FILE}"
    yield top("a weight as a parameter", named, parameters=sorted([*names, weight]))
    first = next(layer["block"]["order"] for layer in layers if layer["block"])
    yield top("an order that is a parameter", NEITHER, parameters=sorted([*names, first]))


def _options(draft: Draft) -> Iterator[Forgery]:
    """Other options than the ticket was made with."""
    known = draft.manifest["options"]

    def option(key: str, value: Any, told: str, *, target: bool = False) -> Forgery:
        change = lambda d: d.manifest["options"].update({key: value})  # noqa: E731
        return Forgery("options", f"{key} = {value!r}", change, told, target)

    for mode in {"l+1", "2l"} - {known["mode"]}:
        yield option("mode", mode, f"{LAYERS}|{ANOTHER_LAYER}", target=True)
    for init in {"unit", "kaiming", "xavier", "lecun"} - {known["init"]}:
        yield option("init", init, SIGMA)
    for key, value in (
        ("mode", "3l"),
        ("mode", "L+1"),
        ("select", "worst"),
        ("sigma", "weight"),
        ("init", "normal"),
        ("base_size", 1),
        ("base_size", 33),
        ("base_size", 2**40),
        ("tolerance", 0),
        ("tolerance", 1),
        ("sqnr", 61),
        ("agreement", -0.1),
        ("price", 1),
        ("price", -0.5),
        ("prices", [["a", 2]]),
        ("prices", [["a"]]),
        ("base_sizes", [["a", 1]]),
        ("base_sizes", [[1, 4]]),
        ("base_sizes", {"a": 4}),
    ):
        yield option(key, value, DAMAGED)
    yield option("base_size", 9, ANOTHER_LAYER, target=True)


RECORDS = {  # what is told of another value of a record's field, unless that is damaged
    "index": f"{NOT_DRAWN}|{DRAWN_FROM}",
    "kept": MISCOUNTED,
    "kept_bias": MISCOUNTED,
    "sigma": SIGMA,
    "shape": STORED_OTHERWISE,
    "transposed": f"{NOT_DRAWN}|{STORED_OTHERWISE}",
    "half": NOT_THE_FORM,
    "weight": f"{NOT_THE_FORM}|{NOT_DRAWN}|{NOT_A_WEIGHT}|{ALSO_DENSE}",
    "scale": f"{MISSING}|{SCALE_READ}|{NO_SCALE}",
    "bias": f"{NOT_THE_FORM}|{NOT_DRAWN}",
    "stored": NOT_THE_FORM,
    "mirror_rows": NOT_DRAWN,
    "mirror_columns": NOT_DRAWN,
}


def _records(draft: Draft, number: int) -> Iterator[Forgery]:
    """Other values of a layer's record."""
    layer, neighbour = draft.layers[number], draft.layers[number - 1]
    where = f"record of {layer['weight']}"
    for key, values in _others(layer, neighbour).items():
        for what, value in values.items():
            told = f"{RECORDS[key]}|{DAMAGED}"
            yield Forgery(where, f"{key} {what}", record(number, **{key: value}), told)
    if len(draft.layers) > 1:
        indices = both(
            record(number, index=neighbour["index"]), record(number - 1, index=layer["index"])
        )
        yield Forgery(
            where, "its index and another's exchanged", indices, f"{NOT_DRAWN}|{DRAWN_FROM}"
        )
        yield Forgery(where, "in another's place", partial(_trade, number=number), OUT_OF_ORDER)


def _others(layer: dict[str, Any], neighbour: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Other values of a record's fields, by what they are."""
    shape, sigma = layer["shape"], layer["sigma"]
    size, rest = int(np.prod(shape)), shape[1:]
    turned = [*shape[::-1]] if shape[::-1] != shape else [1, size]

    def halved(key: str, whole: int) -> dict[str, Any]:
        """Half of the rows or columns mirrored, or none."""
        half = {"of the other half": 0 if layer[key] * 2 == whole else whole // 2}
        return {**(half if whole > 1 else {}), "of all": whole}

    return {
        "index": {
            "of the next": layer["index"] + 1,
            "of a higher one": layer["index"] + 2**31,
            "past 32 bits": 2**32,
            "of another": neighbour["index"],
        },
        "kept": {
            "one more": layer["kept"] + 1,
            "one less": layer["kept"] - 1,
            "of none": 0,
            "of all": size,
            "of more than all": size + 1,
        },
        "kept_bias": {"one more": layer["kept_bias"] + 1},
        "sigma": {
            "doubled": sigma * 2,
            "the next float": float(np.nextafter(np.float32(sigma), np.float32(9))),
            "the next double": sigma * (1 + 1e-12),
            "negative": -sigma,
            "of zero": 0.0,
            "past float32": 1e29,
            "whole": 1,
        },
        "shape": {
            "turned": turned,
            "with a row more": [shape[0] + 1, *rest],
            "with a column more": [shape[0], shape[1] + 1, *shape[2:]],
            "of 2^50 rows": [2**50, *rest],
            "of 2^50 columns": [shape[0], 2**50, *shape[2:]],
            "of 2^36 weights": [2**18, 2**18, *shape[2:]],
            "of no rows": [0, *rest],
            "of -1 rows": [-1, *rest],
            "of a real number": [float(shape[0]), *rest],
            "of a truth value": [True, *rest],
            "of a text": [str(shape[0]), *rest],
            "flat": [size],
            "empty": [],
            "with an axis more": [*shape, 1],
            "with nine axes more": [*shape, *[1] * 9],
        },
        "transposed": {"otherwise": not layer["transposed"]},
        "half": {"otherwise": not layer["half"]},
        "weight": {
            "of another": neighbour["weight"],
            "nowhere": "nowhere",
            "unnamed": "",
            "that is its scale": layer["scale"],
        },
        "scale": {
            "of another": neighbour["scale"],
            "nowhere": "nowhere",
            "that is its weight": layer["weight"],
        },
        "bias": {"that is its scale": layer["scale"], "nowhere": "nowhere", "unnamed": ""},
        "stored": {
            f"as {kind!r}": kind
            for kind in ("folded", "masked", "sparse", "dense", "")
            if kind != layer["stored"]
        },
        "mirror_rows": {**halved("mirror_rows", shape[0]), "of 2^40": 2**40},
        "mirror_columns": halved("mirror_columns", shape[1]),
    }


def _trade(draft: Draft, number: int) -> None:
    layers = draft.layers
    layers[number - 1], layers[number] = layers[number], layers[number - 1]
