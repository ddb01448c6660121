"""The report's schema: one source for types, ranges and descriptions."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from documents import HELD, MISSED, compared, report, zoo

import lt_onnx.report.schema as declared
from lt_onnx.report.document import plain

SHIPPED = json.loads(Path(declared.__file__).with_name("schema.json").read_text())
VALIDATOR = jsonschema.Draft202012Validator(SHIPPED)
DOCUMENTS = {"conversion": report().to_dict(), "validation": compared(HELD, MISSED), "zoo": zoo()}


def document(kind: str) -> dict[str, Any]:
    found = dict(plain(DOCUMENTS[kind]))
    if kind == "conversion":
        found["options"] = {**found["options"], "prices": {"head": 0.1}, "base_sizes": {"head": 9}}
    return found


def test_the_shipped_file_is_the_generated_one() -> None:
    assert declared.json_schema() == SHIPPED
    jsonschema.Draft202012Validator.check_schema(SHIPPED)


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_documents_keep_it(kind: str) -> None:
    VALIDATOR.validate(document(kind))


@pytest.mark.parametrize(
    ("kind", "path", "wrong"),
    [
        ("conversion", ("schema",), 3),
        ("conversion", ("verdict",), "perhaps"),
        ("conversion", ("ticket", "kept"), -1),
        ("conversion", ("ticket", "kept"), None),
        ("conversion", ("layers", 1, "kind"), "three-for-one"),
        ("conversion", ("layers", 1, "size_counts"), [1.5]),
        ("conversion", ("dense", 0, "parameters"), "many"),
        ("conversion", ("options", "mode"), "3l"),
        ("conversion", ("options", "prices"), [["head", 0.1]]),
        ("conversion", ("bound", "outputs"), {"scores": "none"}),
        ("validation", ("validate", "outputs", 0, "agreement"), 1.5),
        ("validation", ("validate", "outputs", 0, "points"), [[1.0, 2.0, 3.0]]),
        ("validation", ("validate",), None),
        ("zoo", ("models", 0, "verdict"), "unknown"),
        ("zoo", ("models", 0, "bytes"), -1),
    ],
)
def test_what_is_out_of_range_breaks_it(
    kind: str, path: tuple[str | int, ...], wrong: object
) -> None:
    found = document(kind)
    part: Any = found
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = wrong

    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate(found)


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_no_key_may_be_missing_or_unknown(kind: str) -> None:
    found = document(kind)
    for key in list(found):
        with pytest.raises(jsonschema.ValidationError):
            VALIDATOR.validate({k: v for k, v in found.items() if k != key})
    with pytest.raises(jsonschema.ValidationError):
        VALIDATOR.validate({**found, "more": 1})


def test_later_versions_may_add_options() -> None:
    found = document("conversion")
    found["options"]["later"] = True

    VALIDATOR.validate(found)
