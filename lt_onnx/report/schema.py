"""The report document, version 2: its types once, and the JSON Schema generated from them.

Counts are kept, source and target weights; density = kept / source. Figures that are infinite or
not a number are null in JSON. `python -m lt_onnx.report.schema` prints what `schema.json` holds.
"""

import json
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from lt_onnx.construct.results import LayerStats
from lt_onnx.fitting.scales import ScaleFit
from lt_onnx.manifest import DensePlace
from lt_onnx.options import Options
from lt_onnx.validation.bound.certify import Bound
from lt_onnx.validation.fidelity import Check, OutputFidelity, Share
from lt_onnx.validation.per_layer import LayerError
from lt_onnx.verification.verify import Proof

VERSION = 2
Count = Annotated[int, Meta(ge=0)]


class Head(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every kind of document begins with."""

    schema: Literal[2]
    kind: str
    version: Annotated[str, Meta(description="of lt-onnx")]
    command: Annotated[str, Meta(description="makes it again")]


class Document(Head, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One that ends with a verdict."""

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
    fit: ScaleFit | None
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
    page: Annotated[str | None, Meta(description="its report as HTML")] = None
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


@dataclass(frozen=True)
class Point:
    """One ticket of a frontier: its setting, its size and how faithful it is. Means over seeds."""

    mode: str
    base_size: Annotated[int | None, Meta(description="m; null: each block has its own")]
    sqnr: Annotated[float, Meta(description="the promise in decibels, where there is no price")]
    price: Annotated[float | None, Meta(description="μ, in place of a promise")]
    per_target_weight: float
    kept: float
    dense_bytes: Annotated[Count, Meta(description="of the ticket's weights, zeros included")]
    packed_bytes: Annotated[Count, Meta(description="of its pack (.ltz)")]
    parameters: Annotated[Count, Meta(description="of the target that stay dense")]
    sqnr_db: Annotated[float, Meta(description="of the variation of the worst output")]
    agreement: float | None
    accuracy: float | None
    target_accuracy: float | None
    seconds: float
    best: Annotated[bool, Meta(description="no smaller one of its mode is as faithful")] = False


class FrontierTarget(Struct, frozen=True, forbid_unknown_fields=True):
    """The target of a frontier."""

    file: str
    sha256: str
    bytes: Annotated[int, Meta(ge=0, description="of its files")]


class Frontier(Head, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `lt-onnx frontier` reports."""

    kind: Literal["frontier"]
    target: FrontierTarget
    points: list[Point]


class Mean(Struct, frozen=True, forbid_unknown_fields=True):
    """A mean and the half-width of its 95 % interval."""

    mean: float
    half_width: float


class Histogram(Struct, frozen=True, forbid_unknown_fields=True):
    """How often figures lie between one edge and the next."""

    edges: list[float]
    counts: list[Count]


class SubsetFigures(Struct, frozen=True, forbid_unknown_fields=True):
    """How well one rule fits one kind of random variables."""

    figure: Annotated[str, Meta(description="of the paper")]
    variable: Annotated[str, Meta(description="uniform, or product of two uniform ones")]
    rule: Annotated[str, Meta(description="best, or smallest within the tolerance")]
    problems: Count
    mean_error: Mean
    mean_size: Mean
    misses: Annotated[Mean, Meta(description="share of errors above the tolerance")]
    error_histogram: Histogram
    size_histogram: Annotated[list[Count], Meta(description="by size, from 0")]
    paper: Annotated[str, Meta(description="what the paper prints")]


class Statistics(Head, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What `lt-onnx stats` reports."""

    kind: Literal["statistics"]
    base_size: Count
    tolerance: float
    seed: Count
    panels: list[SubsetFigures]


KINDS = Conversion, Validation, Zoo, Frontier, Statistics


def json_schema() -> dict[str, Any]:
    """The JSON Schema (2020-12) of every kind of document."""
    kinds, components = msgspec.json.schema_components((*KINDS, Options))
    del components["Options"]["description"]  # which is for programmers
    options = components["Options"]["properties"]
    for name in ("prices", "base_sizes"):  # pairs (layer, number) in `Options`
        number = options[name]["items"]["prefixItems"][1]
        options[name] = {"type": "object", "additionalProperties": number}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lt-onnx report",
        "description": "What lt-onnx convert, validate, zoo, frontier and stats write with "
        "--report FILE.json. Infinity and NaN are null.",
        "oneOf": list(kinds[: len(KINDS)]),
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
