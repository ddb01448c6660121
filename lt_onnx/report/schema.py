"""The report document, version 2: its types once, and the JSON Schema generated from them.

Counts are kept, source and target weights; density = kept / source. Figures that are infinite or
not a number are null in JSON. `python -m lt_onnx.report.schema` prints what `schema.json` holds.
"""

import json
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from lt_onnx.construct.results import LayerStats
from lt_onnx.manifest import DensePlace
from lt_onnx.options import Options
from lt_onnx.validation.bound.certify import Bound
from lt_onnx.validation.fidelity import Check, OutputFidelity, Share
from lt_onnx.validation.per_layer import LayerError
from lt_onnx.verification.verify import Proof

VERSION = 2
Count = Annotated[int, Meta(ge=0)]


class Document(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every kind of document begins with."""

    schema: Literal[2]
    kind: str
    version: Annotated[str, Meta(description="of lt-onnx")]
    command: Annotated[str, Meta(description="makes it again")]
    verdict: Literal["passed", "failed"]
    checks: list[Check]


class ConvertedTarget(Struct, frozen=True, forbid_unknown_fields=True):
    """The target of a conversion."""

    file: str
    sha256: str
    weights: Annotated[int, Meta(ge=0, description="nonzero weights and biases of its layers")]


class ConvertedTicket(Struct, frozen=True, forbid_unknown_fields=True):
    """The ticket of a conversion."""

    file: str
    kept: Count
    source: Count
    density: Annotated[float, Meta(ge=0, description="kept / source")]
    per_target_weight: Annotated[float, Meta(ge=0)]
    weight_bytes: Count


class Comparison(Struct, frozen=True, forbid_unknown_fields=True):
    """The ticket's outputs against the target's."""

    samples: Count
    origin: str
    outputs: list[OutputFidelity]


class Conversion(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `lt-onnx convert` reports."""

    kind: Literal["conversion"]
    target: ConvertedTarget
    ticket: ConvertedTicket
    options: Annotated[dict[str, Any], Meta(extra_json_schema={"$ref": "#/$defs/Options"})]
    calibration: str
    layers: list[LayerStats]
    dense: tuple[DensePlace, ...]
    verify: Proof
    validate: Comparison | None
    trace: list[LayerError] | None
    bound: Bound | None
    seconds: Annotated[dict[str, float], Meta(description="by stage")]


class ComparedFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One of the two files of a validation."""

    file: str


class Validation(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `lt-onnx validate` reports."""

    kind: Literal["validation"]
    target: ComparedFile
    ticket: ComparedFile
    validate: Comparison
    trace: list[LayerError] | None


class Model(Struct, frozen=True, forbid_unknown_fields=True):
    """One network of a zoo; of several outputs the worst figures."""

    name: str
    target: str
    ticket: str | None = None
    verdict: Literal["passed", "failed", "error"] = "error"
    message: str = ""
    agreement: Share | None = None
    accuracy: Share | None = None
    target_accuracy: Share | None = None
    sqnr_db: Annotated[float | None, Meta(description="of the variation")] = None
    kept: Count | None = None
    density: float | None = None
    per_target_weight: float | None = None
    bytes: Count | None = None
    seconds: float = 0.0
    reused: Annotated[bool, Meta(description="the finished ticket of an earlier run")] = False


class Zoo(Document, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `lt-onnx zoo` reports."""

    kind: Literal["zoo"]
    models: list[Model]


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of every kind of document."""
    kinds, components = msgspec.json.schema_components((Conversion, Validation, Zoo, Options))
    del components["Options"]["description"]  # which is for programmers
    options = components["Options"]["properties"]
    for name in ("prices", "base_sizes"):  # pairs (layer, number) in `Options`
        number = options[name]["items"]["prefixItems"][1]
        options[name] = {"type": "object", "additionalProperties": number}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lt-onnx report",
        "description": "What lt-onnx convert, validate and zoo write with --report FILE.json. "
        "Infinity and NaN are null.",
        "oneOf": list(kinds[:3]),
        "$defs": {name: _written(component) for name, component in components.items()},
    }


def _written(schema: Any) -> Any:
    """The schema of a type as JSON has it: every field is there, a figure may be null."""
    if isinstance(schema, list):
        return [_written(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: _written(value) for key, value in schema.items() if key != "default"}
    if isinstance(out.get("description"), str):
        out["description"] = out["description"].splitlines()[0]
    if "properties" in schema:
        out["required"] = list(schema["properties"])
        out["additionalProperties"] = schema["title"] == "Options"
    if schema.get("type") == "number":
        out["type"] = ["number", "null"]
    return out


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=1))
