"""What a forger may try on a ticket, layer by layer, field by field, node by node."""

import json
from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

import numpy as np
from forging import Change, Draft, Forgery, Record, node
from onnx import TensorProto, helper

BITS = {  # of a stored number: float16, float32
    "lowest bit": (0, 0),
    "highest bit of the mantissa": (9, 22),
    "lowest of the exponent": (10, 23),
    "highest of the exponent": (14, 30),
    "sign": (15, 31),
}
FOREIGN = {"-0": -0.0, "a denormal": 1e-45, "NaN": np.nan, "infinity": np.inf, "0.5": 0.5}


def edit(name: str, change: Callable[[np.ndarray], Any]) -> Change:
    """Change a tensor: in place, or to what `change` gives."""

    def forge(draft: Draft) -> None:
        value = draft.get(name)
        made = change(value)
        draft.put(name, value if made is None else np.asarray(made, value.dtype))

    return forge


def place(at: int, value: Any) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array.reshape(-1)[at] = value

    return change


def flip(at: int, bit: tuple[int, int]) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        kind, number = (np.uint16, bit[0]) if array.dtype == np.float16 else (np.uint32, bit[1])
        array.reshape(-1).view(kind)[at] ^= kind(1 << number)

    return change


def record(number: int, **fields: Any) -> Change:
    return lambda draft: draft.layers[number].update(fields)


def both(*changes: Change) -> Change:
    def forge(draft: Draft) -> None:
        for change in changes:
            change(draft)

    return forge


# numbers of the layers -------------------------------------------------------------------------


def of_weights(draft: Draft) -> Iterator[Forgery]:
    """Every layer's stored numbers: bits, foreign values, other random numbers, masks."""
    for number, layer in enumerate(draft.layers):
        weight, name, kept = layer["weight"], draft.numbers(layer), draft.mask(layer)
        held = draft.get(name).reshape(-1)
        ones = np.flatnonzero(kept)
        for what, bit in BITS.items():
            yield Forgery(f"{weight}: {what} of a kept one", edit(name, flip(ones[0], bit)))
        other = next((v for v in held[ones[::-1]] if v != held[ones[0]]), held[ones[0]] / 2)
        yield Forgery(f"{weight}: another's number", edit(name, place(ones[0], other)))
        yield Forgery(f"{weight}: all of it reversed", edit(name, lambda array: array[::-1]))
        if layer["stored"] != "masked":
            yield Forgery(f"{weight}: all doubled", edit(name, lambda array: array * 2))
        yield from {"folded": _folded, "masked": _masked, "sparse": _sparse}[layer["stored"]](
            draft, number, other
        )
        for what, others in (
            ("another seed", {"seed": draft.manifest["seed"] + 1}),
            ("another layer", {"index": layer["index"] + 1}),
            ("a higher layer", {"index": layer["index"] + 2**31}),
        ):
            drawn = draft.source(layer, **others)
            yield Forgery(
                f"{weight}: drawn from {what}", lambda d, at=layer, to=drawn: d.replace(at, to)
            )
        if layer["bias"] is not None:
            yield from _biases(draft, number)
    for first, second in combinations(draft.layers, 2):
        if first["shape"] == second["shape"]:
            yield Forgery(f"{first['weight']} and {second['weight']} swapped", _swap(first, second))


def _folded(draft: Draft, number: int, other: Any) -> Iterator[Forgery]:
    layer = draft.layers[number]
    name, kept = draft.numbers(layer), draft.mask(layer)
    at = np.flatnonzero(~kept)[0]
    for what, value in {**FOREIGN, "another's number": other}.items():
        counted = record(number, kept=layer["kept"] + int(value != 0))
        yield Forgery(f"{name}: a zero becomes {what}", both(edit(name, place(at, value)), counted))
    yield Forgery(f"{name}: one more is zero", edit(name, place(np.flatnonzero(kept)[0], 0)))


def _masked(draft: Draft, number: int, other: Any) -> Iterator[Forgery]:
    layer = draft.layers[number]
    name, mask, kept = draft.numbers(layer), f"{layer['weight']}/mask", draft.mask(layer)
    one, zero = np.flatnonzero(kept)[0], np.flatnonzero(~kept)[0]
    for what, value in {**FOREIGN, "0": 0.0, "another's number": other}.items():
        yield Forgery(f"{name}: a masked one becomes {what}", edit(name, place(zero, value)))
    for what, bit in BITS.items():
        yield Forgery(f"{name}: {what} of a masked one", edit(name, flip(zero, bit)))
    for what, at, value in (
        ("cleared", one, 0),
        ("set", zero, 1),
        ("2", one, 2),
        ("255", one, 255),
        ("a hidden 2", zero, 2),
    ):
        yield Forgery(f"{mask}: {what}", edit(mask, place(at, value)))
    yield Forgery(
        f"{mask}: 2 for two ones",
        both(edit(mask, place(one, 2)), edit(mask, place(np.flatnonzero(kept)[1], 0))),
    )
    for kind in (np.bool_, np.int8, np.float32):
        yield Forgery(f"{mask}: as {kind.__name__}", lambda d, to=kind: _retype(d, mask, to))
    yield Forgery(f"{mask}: reshaped", lambda d: d.put(mask, d.get(mask).reshape(-1)))
    yield Forgery(
        f"{mask}: read by another",
        lambda d: d.insert(
            d.edges()[1], node("Cast", [mask], "k", to=1), node("Mul", ["was", "k"])
        ),
    )
    yield Forgery(
        f"{mask}: its cast read by another",
        lambda d: d.insert(d.edges()[-1], node("Mul", ["was", f"{mask}_cast"])),
    )
    yield Forgery(
        f"{name}: read by another", lambda d: d.insert(d.edges()[-1], node("Mul", ["was", name]))
    )
    yield Forgery(f"{name}: read without its mask", lambda d: _read_instead(d, layer, name))
    yield Forgery(
        f"{name}: no product but a sum", lambda d: setattr(d.reader(name), "op_type", "Add")
    )


def _retype(draft: Draft, name: str, kind: Any) -> None:
    value = draft.get(name).astype(kind)
    draft.drop(name)
    draft.add(name, value)


def _read_instead(draft: Draft, layer: Record, name: str) -> None:
    linear = draft.reader(layer["weight"])
    linear.input[1] = name


def _sparse(draft: Draft, number: int, other: Any) -> Iterator[Forgery]:
    layer = draft.layers[number]
    name, places, values = (
        draft.numbers(layer),
        draft.places(layer),
        draft.get(draft.numbers(layer)),
    )
    size = int(np.prod(layer["shape"]))
    free = int(np.setdiff1d(np.arange(size), places)[0])
    at = int(np.searchsorted(places, free))

    def stored(what: str, places: Any, values: Any, kept: int) -> Forgery:
        return Forgery(
            f"{name}: {what}",
            both(
                lambda d: d.set_sparse(d.layers[number], np.asarray(places), np.asarray(values)),
                record(number, kept=kept),
            ),
        )

    for what, value in {**FOREIGN, "0": 0.0, "another's number": other}.items():
        more = np.insert(values, at, np.float32(value))
        yield stored(f"a zero becomes {what}", np.insert(places, at, free), more, len(more))
    yield stored("0 in place of a kept one", places, place_in(values, 0, 0), len(values))
    yield stored("one less", places[1:], values[1:], len(values))
    swapped = [1, 0, *range(2, len(places))]
    yield stored("unsorted", places[swapped], values[swapped], len(values))
    yield stored(
        "an index twice",
        places[[0, *range(len(places))]],
        values[[0, *range(len(values))]],
        len(values) + 1,
    )
    yield stored("negative", place_in(places, 0, -1), values, len(values))
    yield stored("out of range", place_in(places, -1, size), values, len(values))
    yield stored("far out", place_in(places, -1, 2**62), values, len(values))
    yield stored("shifted", places[:-1] + 1, values[:-1], len(values) - 1)
    yield stored("fewer indices", places[:-1], values, len(values))
    yield stored("fewer values", places, values[:-1], len(values))
    yield stored("indices of 32 bits", places.astype(np.int32), values, len(values))
    yield stored(
        "indices by axis",
        np.stack(np.unravel_index(places, layer["shape"]), 1),
        values,
        len(values),
    )
    yield stored("doubles", places, values.astype(np.float64), len(values))


def place_in(array: np.ndarray, at: int, value: Any) -> np.ndarray:
    made = array.copy()
    made[at] = value
    return made


def _biases(draft: Draft, number: int) -> Iterator[Forgery]:
    layer = draft.layers[number]
    name, held = layer["bias"], draft.get(layer["bias"])
    one = int(np.flatnonzero(held)[0])
    for what, bit in BITS.items():
        yield Forgery(f"{name}: {what} of a kept one", edit(name, flip(one, bit)))
    for at in np.flatnonzero(held == 0)[:1]:
        for what, value in FOREIGN.items():
            counted = record(number, kept_bias=layer["kept_bias"] + int(value != 0))
            yield Forgery(
                f"{name}: a zero becomes {what}", both(edit(name, place(at, value)), counted)
            )
    yield Forgery(f"{name}: one more is zero", edit(name, place(one, 0)))
    yield Forgery(f"{name}: reversed", edit(name, lambda array: array[::-1]))
    yield Forgery(f"{name}: not in the record", record(number, bias=None, kept_bias=0))
    yield Forgery(
        f"{name}: a parameter",
        both(
            record(number, bias=None, kept_bias=0), lambda d: d.manifest["parameters"].append(name)
        ),
    )
    yield Forgery(f"{name}: counted once more", record(number, kept_bias=layer["kept_bias"] - 1))


def _swap(first: Record, second: Record) -> Change:
    def forge(draft: Draft) -> None:
        names = draft.numbers(first), draft.numbers(second)
        if first["stored"] == "sparse":
            held = [
                (draft.places(layer), draft.get(draft.numbers(layer))) for layer in (first, second)
            ]
            draft.set_sparse(first, *held[1])
            draft.set_sparse(second, *held[0])
        else:
            one, other = map(draft.get, names)
            draft.put(names[0], other)
            draft.put(names[1], one)
        if first["stored"] != "masked":
            kept = first["kept"], second["kept"]
            for layer in draft.layers:
                if layer["weight"] == first["weight"]:
                    layer["kept"] = kept[1]
                elif layer["weight"] == second["weight"]:
                    layer["kept"] = kept[0]

    return forge


# scales ----------------------------------------------------------------------------------------


def of_scales(draft: Draft) -> Iterator[Forgery]:
    """Every layer's scale: its numbers, its shape, its one reader."""
    for number, layer in enumerate(draft.layers):
        name, shape = layer["scale"], layer["shape"]
        for what, value in (("NaN", np.nan), ("infinity", np.inf), ("-infinity", -np.inf)):
            yield Forgery(f"{name}: {what}", edit(name, place(-1, value)))
        rows, ones = shape[0], [1] * len(shape[2:])
        whole = np.ones((rows, *[7] * len(ones)), np.float32)
        for what, value in (
            ("one per pixel", whole if ones else np.ones((5, rows), np.float32)),
            ("a trained tensor", np.ones(shape, np.float32)),
            ("with a batch axis", np.ones((1, rows, *ones), np.float32)),
            ("a scalar", np.float32(1)),
            ("empty", np.ones((0, *ones), np.float32)),
            ("one row more", np.ones((rows + 1, *ones), np.float32)),
            ("doubles", np.ones((rows, *ones))),
            ("halves", np.ones((rows, *ones), np.float16)),
            ("whole", np.ones((rows, *ones), np.int64)),
        ):
            yield Forgery(f"{name}: {what}", lambda d, to=value, at=name: _become(d, at, to))
        yield Forgery(f"{name}: its Mul dropped", lambda d, at=name: d.bypass(d.reader(at)))
        yield Forgery(f"{name}: dropped", lambda d, at=name: _drop_read(d, at))
        other = draft.layers[number - 1]
        yield Forgery(
            f"{name}: another's",
            both(lambda d, at=name: _drop_read(d, at), record(number, scale=other["scale"])),
        )
        for op in ("Add", "Div", "Pow", "PRelu"):
            yield Forgery(
                f"{name}: read by {op}",
                lambda d, at=name, to=op: setattr(d.reader(at), "op_type", to),
            )
        yield Forgery(
            f"{name}: an attribute at its Mul",
            lambda d, at=name: d.reader(at).attribute.append(helper.make_attribute("axis", 1)),
        )
        made = draft.reader(name).output[0]
        for op in ("Mul", "Add"):
            yield Forgery(
                f"{name}: read twice, by {op}",
                lambda d, at=name, by=op, on=made: d.insert(on, node(by, ["was", at])),
            )
        yield Forgery(
            f"{name}: a graph output",
            lambda d, at=name: d.model.graph.output.append(
                helper.make_tensor_value_info(at, TensorProto.FLOAT, None)
            ),
        )
        yield Forgery(
            f"{name}: a parameter too", lambda d, at=name: d.manifest["parameters"].append(at)
        )
        yield Forgery(
            f"{name}: an input too",
            lambda d, at=name: d.model.graph.input.append(
                helper.make_tensor_value_info(at, TensorProto.FLOAT, list(d.proto(at).dims))
            ),
        )


def _become(draft: Draft, name: str, value: Any) -> None:
    draft.drop(name)
    draft.add(name, value)


def _drop_read(draft: Draft, name: str) -> None:
    draft.bypass(draft.reader(name))
    draft.drop(name)


# the manifest ----------------------------------------------------------------------------------

WRONG: dict[type, list[Any]] = {
    int: [None, True, -1, 1.5, 2**70, "1", [], {}],
    float: [None, True, "1", [], {}, 1e300, -1e300],
    str: [None, True, 7, [], {}, ["a"]],
    bool: [None, 0, 1, "true", []],
    list: [None, True, "x", {}, 7, [None], [[]], [{}]],
    dict: [None, True, "x", [], 7],
    type(None): [True, -1, [], {}],
}
EMPTY = {"price", "base_size", "bias"}  # may be null


def of_manifest(draft: Draft) -> Iterator[Forgery]:
    """Every field of the manifest: of a wrong type, missing, unknown, or another value."""
    known = draft.manifest
    tops = [("manifest", known, lambda d: d.manifest)]
    tops += [("options", known["options"], lambda d: d.manifest["options"])]
    tops += [
        (f"layer {n}", known["layers"][n], lambda d, n=n: d.manifest["layers"][n])
        for n in sorted({0, 1, len(known["layers"]) - 1})
    ]
    tops += [("dense", place, lambda d: d.manifest["dense"][0]) for place in known["dense"][:1]]
    for where, fields, reach in tops:
        for key, value in fields.items():
            for wrong in WRONG[type(value)]:
                if not (wrong is None and key in EMPTY):
                    yield Forgery(
                        f"{where}: {key} = {wrong!r}",
                        lambda d, k=key, to=wrong, at=reach: at(d).update({k: to}),
                    )
            yield Forgery(f"{where}: no {key}", lambda d, k=key, at=reach: at(d).pop(k))
        yield Forgery(f"{where}: a field more", lambda d, at=reach: at(d).update(more=1))
    yield from _texts(known)
    yield from _tops(draft)
    for number in range(len(draft.layers)):
        yield from _records(draft, number)


def _texts(known: dict[str, Any]) -> Iterator[Forgery]:
    """Metadata entries that are no manifest."""
    plain = json.dumps(known, sort_keys=True, separators=(",", ":"))
    twice = plain.replace('"seed":', '"seed":7,"seed":', 1)
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
        "a key twice": [twice],
        "deep": ["[" * 10**5],
        "NaN": [plain.replace('"tolerance":', '"tolerance":NaN,"t":')],
        "a long number": [plain.replace('"seed":0', '"seed":' + "9" * 10**4)],
        "infinity": [plain.replace('"sigma":', '"sigma":Infinity,"s":')],
        "huge float": [plain.replace('"dearness":', '"dearness":1e999,"d":')],
        "as XML": ["<manifest/>"],
    }
    for what, entries in texts.items():
        yield Forgery(f"manifest {what}", lambda d, to=entries: setattr(d, "texts", to))
    for what, seals in {
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
    }.items():
        yield Forgery(f"seal {what}", lambda d, to=seals: setattr(d, "seals", to))


def _tops(draft: Draft) -> Iterator[Forgery]:
    """Other values of the manifest itself."""
    known = draft.manifest

    def top(what: str, *, target: bool = False, **fields: Any) -> Forgery:
        return Forgery(f"manifest: {what}", lambda d: d.manifest.update(fields), target)

    def option(key: str, value: Any, *, target: bool = False) -> Forgery:
        return Forgery(
            f"options: {key} = {value!r}",
            lambda d: d.manifest["options"].update({key: value}),
            target,
        )

    for seed in (known["seed"] + 1, 2**32, 2**64 - 1, 2**64):
        yield top(f"seed {seed}", seed=seed)
    for number in (0, 1, 2, 4, 3.0, "3"):
        yield top(f"format {number!r}", format=number)
    for name in ("philox4x32-10/2", "philox4x32-7/1", "mt19937", "", "PHILOX4X32-10/1"):
        yield top(f"generator {name!r}", generator=name)
    yield top("a long version", version="1" * 1000)
    for digest in ("", "0" * 63, "g" * 64, known["target_sha256"].upper()):
        yield top(f"target {digest!r}", target_sha256=digest)
    yield top("another target", target_sha256="0" * 64, target=True)
    yield top("no layers", layers=[])
    yield top("a layer less", layers=known["layers"][:-1])
    yield top("the first layer less", layers=known["layers"][1:])
    yield top("a layer twice", layers=[*known["layers"], known["layers"][-1]])
    yield top("layers the other way", layers=known["layers"][::-1])
    ghost = {**known["layers"][-1], "weight": "ghost", "index": len(known["layers"])}
    yield top("a layer that is not there", layers=[*known["layers"], ghost])
    for key in ("order", "parameters"):
        yield top(f"{key} of nothing", **{key: [*known[key], "nowhere"]})
        for name in known[key]:
            yield top(f"{key} has {name} twice", **{key: [*known[key], name]})
            less = [other for other in known[key] if other != name]
            yield top(f"{key} without {name}", target=key == "order", **{key: less})
    weight = known["layers"][-1]["weight"]
    yield top("a weight as a parameter", parameters=[*known["parameters"], weight])
    yield top("a weight as an order", order=[*known["order"], weight])
    yield top("an order that is a parameter", parameters=[*known["parameters"], known["order"][0]])
    for mode in {"l+1", "2l"} - {known["options"]["mode"]}:
        yield option("mode", mode, target=True)
    for init in {"unit", "kaiming", "xavier", "lecun"} - {known["options"]["init"]}:
        yield option("init", init)
    for key, value in (
        ("mode", "3l"),
        ("mode", "L+1"),
        ("select", "worst"),
        ("sigma", "weight"),
        ("init", "normal"),
        ("base_size", 1),
        ("base_size", 33),
        ("tolerance", 0),
        ("tolerance", 1),
        ("dearness", 5),
        ("price", 1),
        ("price", -0.5),
        ("prices", [["a", 2]]),
        ("prices", [["a"]]),
        ("base_sizes", [["a", 1]]),
        ("base_sizes", [[1, 4]]),
        ("base_sizes", {"a": 4}),
    ):
        yield option(key, value)
    yield option("base_size", 9, target=True)


def _records(draft: Draft, number: int) -> Iterator[Forgery]:
    """Other values of a layer's record."""
    layer, others = draft.layers[number], len(draft.layers) - 1
    neighbour = draft.layers[number - 1]
    shape, size = layer["shape"], int(np.prod(layer["shape"]))
    sigma = layer["sigma"]
    mirror = {  # half of its rows, or none
        key: 0 if layer[key] * 2 == whole else whole // 2
        for key, whole in (("mirror_rows", shape[0]), ("mirror_columns", shape[1]))
        if whole > 1
    }
    edits: list[tuple[str, Any]] = [
        ("index", layer["index"] + 1),
        ("index", layer["index"] + 2**31),
        ("index", 2**32),
        ("index", neighbour["index"]),
        ("kept", layer["kept"] + 1),
        ("kept", layer["kept"] - 1),
        ("kept", 0),
        ("kept", size),
        ("kept", size + 1),
        ("kept_bias", layer["kept_bias"] + 1),
        ("sigma", sigma * 2),
        ("sigma", float(np.nextafter(np.float32(sigma), np.float32(9)))),
        ("sigma", sigma * (1 + 1e-12)),
        ("sigma", -sigma),
        ("sigma", 0.0),
        ("sigma", 1e29),
        ("shape", [*shape[::-1]] if shape[::-1] != shape else [1, size]),
        ("shape", [shape[0] + 1, *shape[1:]]),
        ("shape", [shape[0], shape[1] + 1, *shape[2:]]),
        ("shape", [2**50, *shape[1:]]),
        ("shape", [shape[0], 2**50, *shape[2:]]),
        ("shape", [2**18, 2**18, *shape[2:]]),
        ("shape", [0, *shape[1:]]),
        ("shape", [-1, *shape[1:]]),
        ("shape", [size]),
        ("shape", []),
        ("shape", [*shape, 1]),
        ("shape", [*shape, *[1] * 9]),
        ("transposed", not layer["transposed"]),
        ("half", not layer["half"]),
        ("weight", neighbour["weight"]),
        ("weight", "nowhere"),
        ("weight", ""),
        ("weight", layer["scale"]),
        ("scale", neighbour["scale"]),
        ("scale", "nowhere"),
        ("scale", layer["weight"]),
        ("bias", layer["scale"]),
        ("bias", "nowhere"),
        ("bias", ""),
        *[
            ("stored", kind)
            for kind in ("folded", "masked", "sparse", "dense", "")
            if kind != layer["stored"]
        ],
        *[(key, half) for key, half in mirror.items()],
        ("mirror_rows", shape[0]),
        ("mirror_rows", 2**40),
        ("mirror_columns", shape[1]),
    ]
    for key, value in edits:
        yield Forgery(
            f"record of {layer['weight']}: {key} = {value!r}", record(number, **{key: value})
        )
    if others:
        whose = f"record of {layer['weight']}"
        yield Forgery(
            f"{whose}: the index of another, and that this one's",
            both(
                record(number, index=neighbour["index"]), record(number - 1, index=layer["index"])
            ),
        )
        yield Forgery(f"{whose}: in another's place", lambda d: _trade(d, number))


def _trade(draft: Draft, number: int) -> None:
    layers = draft.layers
    layers[number - 1], layers[number] = layers[number], layers[number - 1]
