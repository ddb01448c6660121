"""The report's schema: one source for types, ranges and descriptions."""

import json
from pathlib import Path

import jsonschema

import lt_onnx.report.schema as declared

SHIPPED = json.loads(Path(declared.__file__).with_name("schema.json").read_text())


def test_the_shipped_file_is_the_generated_one() -> None:
    assert declared.json_schema() == SHIPPED
    jsonschema.Draft202012Validator.check_schema(SHIPPED)
