"""The manifest: every field's type and range, contradictions, and the one form of its text."""

import copy
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from msgspec import structs

from lt_onnx.errors import InputError
from lt_onnx.manifest import (
    FORMAT,
    GENERATOR,
    MAX_AXES,
    MAX_LAYER_WEIGHTS,
    METADATA_KEY,
    LayerRecord,
    Manifest,
    OptionsRecord,
    parse_manifest,
)
from lt_onnx.options import Init, Mode, Options, Weights

LAYER: dict[str, Any] = {
    "weight": "w",
    "index": 0,
    "shape": [4, 6, 3, 3],
    "sigma": 1.0,
    "kept": 100,
    "transposed": False,
    "mirror_rows": 2,
    "mirror_columns": 3,
    "bias": "w/bias",
    "kept_bias": 4,
    "scale": "w/scale",
    "stored": "folded",
    "half": False,
    "block": None,
}
CONSTANTS: dict[str, Any] = {"count": 2, "sign": -1, "values": [[4, 0.5]], "levels": [93, 97]}
BLOCK: dict[str, Any] = {
    "channels": 3,
    "neurons": 2,
    "parts": [1, -1],
    "group": 1,
    "reads": [[1, 2], [-1, 1]],
    "gain": 0.5,
    "constants": CONSTANTS,
    "order": "order",
}
OPENING: dict[str, Any] = {
    **{**LAYER, "weight": "u", "shape": [16, 5, 1, 1], "block": BLOCK},
    **{"mirror_rows": 0, "mirror_columns": 0, "kept": 12},
}
DENSE: dict[str, Any] = {"name": "lrn", "op": "LRN", "reason": "mixes channels", "parameters": 0}
OPTIONS: dict[str, Any] = {
    "mode": "l+1",
    "base_size": None,
    "tolerance": 0.01,
    "select": "noise",
    "sigma": "channel",
    "init": "unit",
    "price": None,
    "sqnr": 30.0,
    "agreement": 0.99,
    "prices": [["a", 0.5], ["b", 0.0]],
    "base_sizes": [["a", 5]],
}
VALID: dict[str, Any] = {
    "format": FORMAT,
    "version": "1.0",
    "generator": GENERATOR,
    "seed": 2**64 - 1,
    "target_sha256": "0123456789abcdef" * 4,
    "target_name": "ein Netz über alles.onnx",
    "options": OPTIONS,
    "layers": [LAYER, {**LAYER, "bias": None, "kept_bias": 0, "weight": "v"}, OPENING],
    "dense": [DENSE],
    "parameters": ["c"],
    "fresh": ["t"],
}
PATH = Path("t.onnx")


def canonical(document: Any) -> str:
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def parsed(text: str) -> Manifest:
    manifest = parse_manifest(PATH, {METADATA_KEY: text})
    assert manifest is not None
    return manifest


def changed(*place: str | int, value: Any) -> str:
    """The valid manifest with another value at a place."""
    document = copy.deepcopy(VALID)
    at: Any = document
    for key in place[:-1]:
        at = at[key]
    at[place[-1]] = value
    return canonical(document)


def test_a_valid_manifest_is_read_and_written_as_it_was() -> None:
    manifest = parsed(canonical(VALID))

    assert manifest.to_json() == canonical(VALID)
    assert "\\u00fc" in manifest.to_json()
    assert manifest.seed == 2**64 - 1
    assert manifest.layers[0].shape == (4, 6, 3, 3)
    assert manifest.layers[0].stored is Weights.FOLDED
    assert manifest.options.mode is Mode.L_PLUS_1
    assert manifest.options.prices == (("a", 0.5), ("b", 0))
    assert hash(manifest) == hash(parsed(canonical(VALID)))


def test_a_model_without_the_entry_has_no_manifest() -> None:
    assert parse_manifest(PATH, {}) is None
    assert parse_manifest(PATH, {"lt_onnx.sha256": "0" * 64}) is None


WHOLE = "Expected `int`"
WRONG: list[tuple[tuple[str | int, ...], Any, str]] = [
    (("format",), 3.0, WHOLE),
    (("format",), True, WHOLE),
    (("version",), "1" * 100, "matching regex"),
    (("version",), 1, "Expected `str`"),
    (("generator",), "mt19937", "not the generator of this version"),
    (("generator",), None, "Expected `str`"),
    (("seed",), -1, ">= 0"),
    (("seed",), 2**64, r"not below 2\^64"),
    (("seed",), 1.0, WHOLE),
    (("seed",), True, WHOLE),
    (("target_sha256",), "0" * 63, "regex"),
    (("target_sha256",), "0" * 65, "regex"),
    (("target_sha256",), "A" * 64, "regex"),
    (("target_sha256",), "0" * 64 + "\n", "regex"),
    (("target_name",), None, "Expected `str`"),
    (("options",), [], "Expected `object`"),
    (("options", "mode"), "3l", "Invalid enum value '3l'"),
    (("options", "mode"), 1, "Expected `str`"),
    (("options", "base_size"), 1, ">= 2"),
    (("options", "base_size"), 33, "<= 32"),
    (("options", "base_size"), 5.0, "`int"),
    (("options", "tolerance"), 0.0, "> 0.0"),
    (("options", "tolerance"), 1.0, "< 1.0"),
    (("options", "tolerance"), 0, "> 0.0"),
    (("options", "tolerance"), "0.1", "Expected `float`"),
    (("options", "select"), "worst", "Invalid enum value"),
    (("options", "sigma"), "row", "Invalid enum value"),
    (("options", "init"), "normal", "Invalid enum value"),
    (("options", "price"), 1, "< 1.0"),
    (("options", "price"), 1.0, "< 1.0"),
    (("options", "price"), -0.5, ">= 0.0"),
    (("options", "price"), True, "Expected `float | null`"),
    (("options", "sqnr"), 61, "<= 60"),
    (("options", "sqnr"), 0.0, "> 0"),
    (("options", "sqnr"), None, "Expected `float`"),
    (("options", "agreement"), 1.5, "<= 1"),
    (("options", "agreement"), 1, "not in canonical form"),
    (("options", "agreement"), -0.0, "not in canonical form"),
    (("options", "prices"), {"a": 0.5}, "Expected `array`"),
    (("options", "prices"), [["a"]], "length 2"),
    (("options", "prices"), [["a", 0.5, 1]], "length 2"),
    (("options", "prices"), [["a", 2]], "< 1.0"),
    (("options", "base_sizes"), [["a", 1]], ">= 2"),
    (("options", "base_sizes"), [[1, 4]], "Expected `str`"),
    (("layers",), [], "length >= 1"),
    (("layers",), [None], "Expected `object`"),
    (("layers", 1, "weight"), 3, "Expected `str`"),
    (("layers", 1, "index"), -1, ">= 0"),
    (("layers", 1, "index"), 2**32, "<= 4294967295"),
    (("layers", 1, "shape"), [4], "length"),
    (("layers", 1, "shape"), [1] * (MAX_AXES + 1), "length"),
    (("layers", 1, "shape"), [0, 3], ">= 1"),
    (("layers", 1, "shape"), [4.0, 3], WHOLE),
    (("layers", 1, "shape"), [True, 3], WHOLE),
    (("layers", 1, "shape"), "43", "Expected `array`"),
    (("layers", 1, "shape"), [MAX_LAYER_WEIGHTS + 1, 1], "<= 68719476736"),
    (("layers", 1, "shape"), [2**20, 2**17], "claims 137,438,953,472 weights"),
    (("layers", 1, "shape"), [6, 2**29], "claims 3,221,225,472 weights"),
    (("layers", 1, "sigma"), 0.0, "> 0.0"),
    (("layers", 1, "sigma"), 1e30, "< 1e"),
    (("layers", 1, "sigma"), "1", "Expected `float`"),
    (("layers", 1, "sigma"), 1, "not in canonical form"),
    (("layers", 1, "kept"), -1, ">= 0"),
    (("layers", 1, "kept"), 217, "keeps more than it has"),
    (("layers", 1, "transposed"), 0, "Expected `bool`"),
    (("layers", 1, "transposed"), True, "a kernel is not transposed"),
    (("layers", 1, "mirror_rows"), 3, "mirrors more than half"),
    (("layers", 1, "mirror_columns"), 4, "mirrors more than half"),
    (("layers", 1, "mirror_columns"), -1, ">= 0"),
    (("layers", 1, "bias"), 3, r"Expected `str \| null`"),
    (("layers", 0, "kept_bias"), 5, "keeps more than it has"),
    (("layers", 1, "kept_bias"), 1, "keeps more than it has"),
    (("layers", 1, "scale"), None, "Expected `str`"),
    (("layers", 1, "stored"), "somehow", "Invalid enum value"),
    (("layers", 1, "half"), None, "Expected `bool`"),
    (("layers", 2, "shape"), [11, 5, 1, 1], "'u' is too small for its block"),
    (("layers", 2, "shape"), [16, 2, 1, 1], "'u' is too small for its block"),
    (("layers", 2, "shape"), [16, 5, 1, 3], "'u' is too small for its block"),
    (("layers", 2, "mirror_rows"), 4, "too small for its block"),
    (("layers", 2, "block", "parts"), [-1, 1], r"a block with the parts \[-1, 1\]"),
    (("layers", 2, "block", "parts"), [], r"a block with the parts \[\]"),
    (("layers", 2, "block", "channels"), 4, "channels do not fit"),
    (("layers", 2, "block", "group"), 5, "channels do not fit"),
    (("layers", 2, "block", "neurons"), 33, "<= 32"),
    (("layers", 2, "block", "reads"), [[-2, 3]], ">= -1"),
    (("layers", 2, "block", "gain"), 0.0, "> 0.0"),
    (("layers", 2, "block", "constants", "sign"), 0, "Invalid enum value 0"),
    (("layers", 2, "block", "constants", "values"), [[4, 0.0]], "a constant that is 0"),
    (("layers", 2, "block", "constants", "levels"), [], "length >= 1"),
    (("layers", 2, "block", "constants", "levels"), [121], "<= 120"),
    (("dense",), [1], "Expected `object`"),
    (("dense", 0, "name"), None, "Expected `str`"),
    (("dense", 0, "op"), 1, "Expected `str`"),
    (("dense", 0, "reason"), 1, "Expected `str`"),
    (("dense", 0, "parameters"), 2**40 + 1, "<= 1099511627776"),
    (("dense", 0, "parameters"), -1, ">= 0"),
    (("parameters",), ["a", "a"], "'parameters' has a name twice"),
    (("parameters",), [None], "Expected `str`"),
    (("fresh",), ["a", "a"], "'fresh' has a name twice"),
    *[((*at, "more"), 1, "unknown field `more`") for at in ((), ("options",), ("layers", 1))],
    (("dense", 0, "more"), 1, "unknown field `more`"),
]


@pytest.mark.parametrize(("place", "value", "message"), WRONG)
def test_a_wrong_value_is_refused_with_its_reason(
    place: tuple[str | int, ...], value: Any, message: str
) -> None:
    with pytest.raises(InputError, match=message) as refused:
        parsed(changed(*place, value=value))

    said = str(refused.value)
    assert said.startswith("t.onnx: its 'lt_onnx' metadata is damaged, or of another version: ")
    assert said.endswith("; convert again")


@pytest.mark.parametrize("number", [FORMAT - 1, FORMAT + 1])
def test_another_format_is_told_apart_by_its_number(number: int) -> None:
    for text in (changed("format", value=number), canonical({"format": number, "old": True})):
        with pytest.raises(InputError) as refused:
            parsed(text)
        assert str(refused.value) == (
            f"t.onnx: is a ticket of format {number}; this version reads format {FORMAT}: convert "
            "its target again"
        )


@pytest.mark.parametrize(
    ("record", "place"),
    [
        (VALID, ()),
        (OPTIONS, ("options",)),
        (LAYER, ("layers", 0)),
        (BLOCK, ("layers", 2, "block")),
        (CONSTANTS, ("layers", 2, "block", "constants")),
        (DENSE, ("dense", 0)),
    ],
)
def test_every_field_is_required(record: dict[str, Any], place: tuple[str | int, ...]) -> None:
    for key in record:
        less = {name: value for name, value in record.items() if name != key}
        text = changed(*place, value=less) if place else canonical(less)
        with pytest.raises(InputError, match=f"missing required field `{key}`"):
            parsed(text)


VALID_TEXT = canonical(VALID)
TEXTS = {
    "spaces": (json.dumps(VALID, sort_keys=True), "canonical"),
    "keys out of order": (json.dumps(VALID, separators=(",", ":")), "canonical"),
    "letters as they are": (VALID_TEXT.replace("\\u00fc", "ü"), "canonical"),
    "a letter escaped": (VALID_TEXT.replace('"unit"', '"\\u0075nit"'), "canonical"),
    "another zero": (VALID_TEXT.replace('"sigma":1.0', '"sigma":1.00', 1), "canonical"),
    "an exponent": (VALID_TEXT.replace('"sigma":1.0', '"sigma":1e0', 1), "canonical"),
    "a key twice": (VALID_TEXT.replace('"seed":', '"seed":1,"seed":', 1), "canonical"),
    "a key twice below": (VALID_TEXT.replace('"mode":', '"mode":"2l","mode":', 1), "canonical"),
    "a line end": (VALID_TEXT + "\n", "canonical"),
    "NaN": (VALID_TEXT.replace('"tolerance":0.01', '"tolerance":NaN'), "malformed"),
    "Infinity": (VALID_TEXT.replace('"sigma":1.0', '"sigma":Infinity'), "malformed"),
    "too large a float": (VALID_TEXT.replace('"sigma":1.0', '"sigma":1e999'), "out of range"),
    "too long a number": (VALID_TEXT.replace(f"{2**64 - 1}", "9" * 10_000), "out of range"),
    "text behind": (VALID_TEXT + "x", "trailing"),
    "cut": (VALID_TEXT[:-1], "truncated"),
    "empty": ("", "truncated"),
    "null": ("null", "Expected `object`"),
    "a list": (f"[{VALID_TEXT}]", "Expected `object`"),
    "deep": ("[" * 100_000, "Expected `object`"),
    "half a pair": (VALID_TEXT.replace("\\u00fc", "\\ud800"), "surrogate|hex escape"),
}


@pytest.mark.parametrize("name", TEXTS)
def test_another_text_is_refused_with_its_reason(name: str) -> None:
    text, message = TEXTS[name]
    with pytest.raises(InputError, match=message):
        parsed(text)


def test_what_is_told_is_one_short_line() -> None:
    with pytest.raises(InputError) as refused:
        parsed(changed("x\ny" * 1000, value=1))

    assert len(str(refused.value)) < 400
    assert "\n" not in str(refused.value)


def with_options(options: Options) -> Manifest:
    record = OptionsRecord.of(options)
    return structs.replace(parsed(VALID_TEXT), seed=options.seed, options=record)


def test_the_options_come_back_as_they_were() -> None:
    options = Options(
        mode=Mode.TWO_L,
        base_size=7,
        init=Init.KAIMING,
        seed=5,
        sqnr=25,
        agreement=1,
        prices=(("a", 0.25),),
        base_sizes=(("b", 9),),
    )
    manifest = with_options(options)

    assert '"sqnr":25.0,' in manifest.to_json()
    assert '"agreement":1.0,' in manifest.to_json()
    assert parsed(manifest.to_json()).construction() == options


def test_the_record_has_every_option_that_decides_masks() -> None:
    others = {"seed", "weights", "fp16", "collapse", "fit_scales"}
    names = {field.name for field in fields(Options)} - others

    assert set(OptionsRecord.__struct_fields__) == names


def test_numpy_scalars_among_the_options_are_written_as_numbers() -> None:
    options = Options(base_size=np.int64(5), price=np.float64(0.5))  # type: ignore[arg-type]
    text = with_options(options).to_json()

    assert parsed(text).options.base_size == 5
    assert parsed(text).options.price == 0.5


def test_a_layer_that_contradicts_itself_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="keeps more"):
        LayerRecord(**{**LAYER, "shape": (4, 6), "kept": 25})


@pytest.mark.parametrize(("given", "said"), [(0, None), (0.0, None), (1, 1), (0.5, 0.5)])
def test_a_price_of_bits_is_left_out_or_in_its_range(given: float, said: float | None) -> None:
    """What is 0, or so small that steps could not be counted, no pack is read by."""
    record = OptionsRecord.of(Options(mode=Mode.TWO_L, price_bits=given))
    told = msgspec.to_builtins(record)
    assert told.get("price_bits") == said
    assert msgspec.convert(told, OptionsRecord) == record
    for forged in (0, 0.0, 1e-9, 101, -1.0):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert({**told, "price_bits": forged}, OptionsRecord)
