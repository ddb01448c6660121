"""The layers' stored numbers: bits, foreign values, other random numbers, masks, biases."""

from collections.abc import Callable, Iterator
from functools import partial
from itertools import combinations
from typing import Any

import numpy as np

from forge.changes import BITS, FOREIGN, both, edit, flip, place, record, with_place
from forge.draft import Change, Draft, Forgery, Record, step
from forge.reasons import (
    MISCOUNTED,
    NAMED_TOO,
    NO_MASK,
    NOT_A_WEIGHT,
    NOT_DRAWN,
    NOT_FROM_A_MASK,
    NOT_THE_NODE,
    SCALE_READ,
    STORED_OTHERWISE,
    UNFIT,
    UNSORTED,
)


def of_weights(draft: Draft) -> Iterator[Forgery]:
    """Every layer's stored numbers."""
    for number, layer in enumerate(draft.layers):
        name, kept = draft.numbers(layer), draft.mask(layer)
        held = draft.get(name).reshape(-1)
        ones = np.flatnonzero(kept)
        other = next((v for v in held[ones[::-1]] if v != held[ones[0]]), held[ones[0]] / 2)
        numbers: dict[str, Callable[[np.ndarray], Any]] = {
            **{f"{what} of a kept one": flip(ones[0], bit) for what, bit in BITS.items()},
            "another's number": place(ones[0], other),
        }
        if not np.array_equal(array := draft.get(name), array[::-1]):  # as that of one row
            numbers["all of it reversed"] = lambda array: array[::-1]
        if layer["stored"] != "masked":
            numbers["all doubled"] = lambda array: array * 2
        for what, change in numbers.items():
            yield Forgery(name, what, edit(name, change), NOT_DRAWN)
        for what, others in {
            "drawn from another seed": {"seed": draft.manifest["seed"] + 1},
            "drawn from another layer": {"index": layer["index"] + 1},
            "drawn from a higher layer": {"index": layer["index"] + 2**31},
        }.items():
            drawn = draft.source(layer, **others)
            yield Forgery(name, what, partial(Draft.draw, layer=layer, drawn=drawn), NOT_DRAWN)
        yield from STORED[layer["stored"]](draft, number, other)
        if layer["bias"] is not None:
            yield from _biases(draft, number)
    for first, second in combinations(draft.layers, 2):
        if first["shape"] == second["shape"]:
            told = f"{NOT_DRAWN}|{STORED_OTHERWISE}"
            yield Forgery(first["weight"], "swapped with another's", _swap(first, second), told)


def _folded(draft: Draft, number: int, other: Any) -> Iterator[Forgery]:
    layer = draft.layers[number]
    name, kept = draft.numbers(layer), draft.mask(layer)
    at = np.flatnonzero(~kept)[0]
    for what, value in {**FOREIGN, "another's number": other}.items():
        counted = record(number, kept=layer["kept"] + int(value != 0))
        change = both(edit(name, place(at, value)), counted)
        yield Forgery(name, f"a zero becomes {what}", change, NOT_DRAWN)
    change = edit(name, place(np.flatnonzero(kept)[0], 0))
    yield Forgery(name, "one more is zero", change, MISCOUNTED)


def _masked(draft: Draft, number: int, other: Any) -> Iterator[Forgery]:
    layer = draft.layers[number]
    name, mask, kept = draft.numbers(layer), f"{layer['weight']}/mask", draft.mask(layer)
    one, zero = np.flatnonzero(kept)[0], np.flatnonzero(~kept)[0]
    for what, value in {**FOREIGN, "0": 0.0, "another's number": other}.items():
        change = edit(name, place(zero, value))
        yield Forgery(name, f"a masked one becomes {what}", change, NOT_DRAWN)
    for what, bit in BITS.items():
        yield Forgery(name, f"{what} of a masked one", edit(name, flip(zero, bit)), NOT_DRAWN)
    for what, at, value, told in (
        ("a mask cleared", one, 0, MISCOUNTED),
        ("a mask set", zero, 1, MISCOUNTED),
        ("a mask of 2", one, 2, NO_MASK),
        ("a mask of 255", one, 255, NO_MASK),
        ("a hidden mask of 2", zero, 2, NO_MASK),
    ):
        yield Forgery(mask, what, edit(mask, place(at, value)), told)
    two = both(edit(mask, place(one, 2)), edit(mask, place(np.flatnonzero(kept)[1], 0)))
    yield Forgery(mask, "2 for two ones", two, NO_MASK)
    for kind in (np.bool_, np.int8, np.float32):
        value = draft.get(mask).astype(kind)
        change = partial(Draft.replace, name=mask, value=value)
        yield Forgery(mask, f"a mask as {kind.__name__}", change, f"{NO_MASK}|bytes|goes on")
    yield Forgery(mask, "reshaped", lambda d: d.put(mask, d.get(mask).reshape(-1)), NO_MASK)
    readers = {
        "a mask read by another": (step("Cast", [mask], "k", to=1), step("Mul", ["was", "k"])),
        "a mask's cast read by another": (step("Mul", ["was", f"{mask}_cast"]),),
        "a source read by another": (step("Mul", ["was", name]),),
    }
    for what, steps in readers.items():
        change = partial(_insert_last, steps=steps)
        yield Forgery(mask, what, change, NOT_FROM_A_MASK)
    bare = partial(_read_instead, weight=layer["weight"], name=name)
    yield Forgery(name, "read without its mask", bare, NOT_A_WEIGHT)
    yield Forgery(
        name,
        "no product but a sum",
        lambda d: setattr(d.reader(name), "op_type", "Add"),
        NOT_FROM_A_MASK,
    )


def _insert_last(draft: Draft, steps: tuple[Any, ...]) -> None:
    draft.insert(draft.edges()[-1], *steps)


def _read_instead(draft: Draft, weight: str, name: str) -> None:
    draft.reader(weight).input[1] = name


def _sparse(draft: Draft, number: int, other: Any) -> Iterator[Forgery]:
    layer = draft.layers[number]
    name, places = draft.numbers(layer), draft.places(layer)
    values = draft.get(name)
    size, count = int(np.prod(layer["shape"])), len(values)
    free = int(np.setdiff1d(np.arange(size), places)[0])
    at = int(np.searchsorted(places, free))

    def stored(what: str, places: Any, values: Any, kept: int, told: str) -> Forgery:
        change = both(
            lambda d: d.set_sparse(d.layers[number], np.asarray(places), np.asarray(values)),
            record(number, kept=kept),
        )
        return Forgery(name, what, change, told)

    for what, value in {**FOREIGN, "0": 0.0, "another's number": other}.items():
        more = np.insert(values, at, np.float32(value))
        filled = np.insert(places, at, free)
        yield stored(f"a zero becomes {what}", filled, more, count + 1, NOT_DRAWN)
    yield stored("0 for a kept one", places, with_place(values, 0, 0), count, NOT_DRAWN)
    yield stored("one less", places[1:], values[1:], count, MISCOUNTED)
    swapped, again = [1, 0, *range(2, count)], [0, *range(count)]
    yield stored("unsorted", places[swapped], values[swapped], count, UNSORTED)
    yield stored("an index twice", places[again], values[again], count + 1, UNSORTED)
    yield stored("a negative index", with_place(places, 0, -1), values, count, UNFIT)
    yield stored("an index out of range", with_place(places, -1, size), values, count, UNFIT)
    yield stored("an index far out", with_place(places, -1, 2**62), values, count, UNFIT)
    yield stored("shifted", places[:-1] + 1, values[:-1], count - 1, NOT_DRAWN)
    yield stored("fewer indices", places[:-1], values, count, UNFIT)
    yield stored("fewer values", places, values[:-1], count, UNFIT)
    yield stored("indices of 32 bits", places.astype(np.int32), values, count, UNFIT)
    by_axis = np.stack(np.unravel_index(places, layer["shape"]), 1)
    yield stored("indices by axis", by_axis, values, count, UNFIT)
    yield stored("doubles", places, values.astype(np.float64), count, STORED_OTHERWISE)


STORED = {"folded": _folded, "masked": _masked, "sparse": _sparse}


def _biases(draft: Draft, number: int) -> Iterator[Forgery]:
    layer = draft.layers[number]
    name, held = layer["bias"], draft.get(layer["bias"])
    one = int(np.flatnonzero(held)[0])
    for what, bit in BITS.items():
        yield Forgery(name, f"{what} of a kept bias", edit(name, flip(one, bit)), NOT_DRAWN)
    for at in np.flatnonzero(held == 0)[:1]:
        for what, value in FOREIGN.items():
            counted = record(number, kept_bias=layer["kept_bias"] + int(value != 0))
            change = both(edit(name, place(at, value)), counted)
            yield Forgery(name, f"a bias of zero becomes {what}", change, NOT_DRAWN)
    yield Forgery(name, "one more bias is zero", edit(name, place(one, 0)), MISCOUNTED)
    yield Forgery(name, "biases reversed", edit(name, lambda array: array[::-1]), NOT_DRAWN)
    forgotten = record(number, bias=None, kept_bias=0)
    unrecorded = f"{NOT_THE_NODE}|{SCALE_READ}"
    yield Forgery(name, "a bias not in the record", forgotten, unrecorded)
    declared = both(forgotten, lambda d: d.declare(name))
    yield Forgery(name, "a bias as a parameter", declared, f"{unrecorded}|{NAMED_TOO}")
    fewer = record(number, kept_bias=layer["kept_bias"] - 1)
    yield Forgery(name, "a bias counted wrongly", fewer, MISCOUNTED)


def _swap(first: Record, second: Record) -> Change:
    """Exchange two layers' numbers, and what their records count of them."""

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
            kept = {first["weight"]: second["kept"], second["weight"]: first["kept"]}
            for layer in draft.layers:
                layer["kept"] = kept.get(layer["weight"], layer["kept"])

    return forge
