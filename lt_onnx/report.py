"""What a conversion came to, as data: the JSON report and the figures that the CLI prints.

Measures nothing. Counts are kept, source and target weights; density = kept / source.
"""

import json
import math
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lt_onnx import __version__
from lt_onnx.blueprint import Blueprint
from lt_onnx.bound import Bound
from lt_onnx.construct import LayerStats
from lt_onnx.errors import InputError
from lt_onnx.validation import Fidelity
from lt_onnx.verification import Proof

SCHEMA = 1


@dataclass(frozen=True)
class Report:
    """One conversion. `to_dict` is the JSON document, schema version `SCHEMA`."""

    target: str
    target_sha256: str
    ticket: str
    options: dict[str, Any]
    layers: list[LayerStats]
    dense: list[dict[str, Any]]
    proof: Proof
    fidelity: Fidelity | None  # None: it was not validated
    bound: Bound | None  # None: it was not asked for
    target_weights: int
    calibration: str
    seconds: dict[str, float]
    weight_bytes: int

    @property
    def kept(self) -> int:
        """Random weights that the ticket keeps, constants and biases included."""
        return sum(layer.kept for layer in self.layers)

    @property
    def source_weights(self) -> int:
        """Random weights of the source network."""
        return sum(layer.source_weights for layer in self.layers)

    @property
    def per_target_weight(self) -> float:
        """Ticket weights per nonzero target parameter."""
        return self.kept / max(self.target_weights, 1)

    @property
    def passed(self) -> bool:
        """Verdict: genuine, and within every limit asked for."""
        return self.proof.genuine and (self.fidelity is None or self.fidelity.passed)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document."""
        return {
            "schema": SCHEMA,
            "version": __version__,
            "verdict": "passed" if self.passed else "failed",
            "target": {"file": self.target, "sha256": self.target_sha256,
                       "weights": self.target_weights},
            "ticket": {"file": self.ticket, "kept": self.kept, "source": self.source_weights,
                       "density": self.kept / max(self.source_weights, 1),
                       "per_target_weight": self.per_target_weight,
                       "weight_bytes": self.weight_bytes},
            "options": self.options,
            "calibration": self.calibration,
            "layers": [asdict(layer) for layer in self.layers],
            "dense": self.dense,
            "verify": {**asdict(self.proof), "genuine": self.proof.genuine},
            "validate": fidelity_dict(self.fidelity) if self.fidelity else None,
            "bound": asdict(self.bound) if self.bound else None,
            "seconds": self.seconds,
        }  # fmt: skip


def make_report(
    blueprint: Blueprint, ticket: Path, layers: list[LayerStats], proof: Proof,
    fidelity: Fidelity | None, bound: Bound | None, calibration: str, seconds: dict[str, float],
) -> Report:  # fmt: skip
    """Gather what the steps of a conversion produced."""
    target = blueprint.target
    return Report(
        target=str(target.path),
        target_sha256=target.sha256,
        ticket=str(ticket),
        options={k: v for k, v in asdict(blueprint.options).items()},
        layers=layers,
        dense=[asdict(place) for place in blueprint.dense],
        proof=proof,
        fidelity=fidelity,
        bound=bound,
        target_weights=target.weight_count,
        calibration=calibration,
        seconds={key: round(value, 3) for key, value in seconds.items()},
        weight_bytes=blueprint.weight_bytes,
    )


def fidelity_dict(fidelity: Fidelity) -> dict[str, Any]:
    """The validation part of a JSON document."""
    return {**asdict(fidelity), "passed": fidelity.passed}


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a JSON document whole or not at all. Infinity is written as null.

    Raises InputError when the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        temporary.write_text(json.dumps(_plain(document), indent=1) + "\n")
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path}: cannot be written: {error.strerror}") from None


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
