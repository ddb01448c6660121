"""The document: what was found, under the keys that users read, in their order."""

import json
import math
from dataclasses import replace

import msgspec
import numpy as np
import pytest
from documents import (
    BROKEN,
    HELD,
    LAYERS,
    MISSED,
    MODEL,
    OUTPUT,
    PROOF,
    TRACE,
    compared,
    report,
    zoo,
)

from lt_onnx.report.document import plain

HEAD = ["schema", "kind", "version", "command", "verdict", "checks"]


def test_a_conversions_keys_and_counts() -> None:
    found = report().to_dict()

    assert list(found) == [
        *HEAD,
        *("target", "ticket", "options", "calibration", "layers", "fit", "dense"),
        *("verify", "validate", "trace", "bound", "seconds"),
    ]
    assert found["target"] == {"file": "net.onnx", "sha256": "ab" * 32, "weights": 40}
    assert list(found["ticket"].items()) == [
        ("file", "net.ticket.onnx"),
        ("kept", 80),
        ("source", 460),
        ("density", 80 / 460),
        ("per_target_weight", 2.0),
        ("weight_bytes", 1840),
    ]
    assert list(found["verify"]) == [
        *("layers", "kept", "source", "draws", "scales", "parameters", "scalars", "dense"),
        *("dense_places", "seed", "account", "planned", "failures", "genuine"),
    ]
    assert list(found["validate"]) == ["samples", "origin", "outputs"]
    assert found["validate"]["outputs"] == [vars(OUTPUT)]
    assert found["trace"] == [vars(layer) for layer in TRACE]
    assert found["layers"] == [vars(layer) for layer in LAYERS]
    assert found["bound"]["outputs"] == {"scores": math.inf}


def test_what_was_not_asked_for_is_null() -> None:
    found = report(fidelity=None, trace=None, bound=None).to_dict()

    assert (found["validate"], found["trace"], found["bound"]) == (None, None, None)
    assert found["verdict"] == "passed"


def test_the_verdict_is_of_every_check() -> None:
    held, missed = replace(report().fidelity, checks=[HELD]), report().fidelity  # type: ignore[type-var]
    failures = ["layer 'a': weights are not the source's", "more", "still"]
    bad = replace(PROOF, failures=failures, genuine=False)

    assert report(fidelity=held).passed
    assert not report(fidelity=missed).passed
    assert not report(fidelity=held, proof=bad).passed
    assert report(proof=bad).checks[0].message == (
        "layer 'a': weights are not the source's (and 2 more)"
    )
    assert report(fidelity=held).to_dict()["verdict"] == "passed"
    assert report(fidelity=missed).to_dict()["verdict"] == "failed"


def test_a_validation_and_a_zoo() -> None:
    found = compared(HELD, MISSED)
    assert list(found) == [*HEAD, "target", "ticket", "validate", "trace"]
    assert found["verdict"] == "failed"
    assert found["checks"][1] == vars(MISSED)

    found = zoo()
    assert list(found) == [*HEAD, "models"]
    assert found["models"] == [msgspec.structs.asdict(model) for model in (MODEL, BROKEN)]
    assert [check["passed"] for check in found["checks"]] == [True, False]


def test_numbers_of_numpy_are_plain() -> None:
    found = report(seconds={"solve": np.float64(0.5)}, target_weights=np.int64(40)).to_dict()

    assert type(found["seconds"]["solve"]) is float
    assert type(found["target"]["weights"]) is int


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_null_in_json(value: float) -> None:
    found = plain({"a": [value, (1.5, value)], 3: {"b": value}})

    assert found == {"a": [None, [1.5, None]], "3": {"b": None}}
    assert json.dumps(found, allow_nan=False)
