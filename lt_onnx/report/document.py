"""What was found, as a document of plain data that every format shows.

Comes in: proof, comparison and counts, as the steps return them. Goes out: a dict as `schema`
declares it. Measures nothing.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from operator import methodcaller
from pathlib import Path
from typing import Any

import msgspec

from lt_onnx.blueprint import Blueprint
from lt_onnx.construct.results import LayerStats
from lt_onnx.manifest import DensePlace
from lt_onnx.report import schema
from lt_onnx.validation.bound.certify import Bound
from lt_onnx.validation.fidelity import Check, Fidelity
from lt_onnx.validation.per_layer import LayerError
from lt_onnx.verification.verify import Proof
from lt_onnx.version import __version__


@dataclass(frozen=True)
class Report:
    """One conversion. `to_dict` is the document of kind `conversion`."""

    target: str
    target_sha256: str
    ticket: str
    command: str
    options: dict[str, Any]
    layers: list[LayerStats]
    dense: list[dict[str, Any]]
    proof: Proof
    fidelity: Fidelity | None  # None: it was not validated
    trace: list[LayerError] | None  # None: it was not asked for
    bound: Bound | None  # None: it was not asked for
    target_weights: int
    calibration: str
    seconds: dict[str, float]  # by stage
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
    def checks(self) -> list[Check]:
        """The proof, and every limit asked for."""
        return [_genuine(self.proof), *(self.fidelity.checks if self.fidelity else [])]

    @property
    def passed(self) -> bool:
        """Verdict: genuine, and within every limit asked for."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """The document of kind `conversion`, see `schema.Conversion`."""
        ticket = schema.ConvertedTicket(
            file=self.ticket,
            kept=self.kept,
            source=self.source_weights,
            density=self.kept / max(self.source_weights, 1),
            per_target_weight=self.per_target_weight,
            weight_bytes=self.weight_bytes,
        )
        document = schema.Conversion(
            **_head("conversion", self.command, self.checks),
            target=schema.ConvertedTarget(self.target, self.target_sha256, self.target_weights),
            ticket=ticket,
            options=self.options,
            calibration=self.calibration,
            layers=self.layers,
            dense=msgspec.convert(self.dense, list[DensePlace]),
            verify=schema.Verified(**asdict(self.proof), genuine=self.proof.genuine),
            validate=_comparison(self.fidelity) if self.fidelity else None,
            trace=self.trace,
            bound=self.bound,
            seconds=self.seconds,
        )
        return _builtins(document)


def conversion(
    blueprint: Blueprint,
    ticket: Path,
    *,
    command: str,
    layers: list[LayerStats],
    proof: Proof,
    fidelity: Fidelity | None,
    trace: list[LayerError] | None,
    bound: Bound | None,
    calibration: str,
    seconds: dict[str, float],
) -> Report:
    """Gather what the steps of a conversion returned."""
    target, options = blueprint.target, blueprint.options
    lists = {"prices": dict(options.prices), "base_sizes": dict(options.base_sizes)}
    return Report(
        target=str(target.path),
        target_sha256=target.sha256,
        ticket=str(ticket),
        command=command,
        options={**asdict(options), **lists},
        layers=layers,
        dense=[msgspec.to_builtins(place) for place in blueprint.dense],
        proof=proof,
        fidelity=fidelity,
        trace=trace,
        bound=bound,
        target_weights=target.weight_count,
        calibration=calibration,
        seconds={key: round(value, 3) for key, value in seconds.items()},
        weight_bytes=blueprint.weight_bytes,
    )


def validation(
    target: Path, ticket: Path, *, command: str, fidelity: Fidelity, trace: list[LayerError] | None
) -> dict[str, Any]:
    """The document of kind `validation`: a comparison of two files."""
    return _builtins(
        schema.Validation(
            **_head("validation", command, fidelity.checks),
            target=schema.ComparedFile(str(target)),
            ticket=schema.ComparedFile(str(ticket)),
            validate=_comparison(fidelity),
            trace=trace,
        )
    )


def collection(command: str, models: list[schema.Model]) -> dict[str, Any]:
    """The document of kind `zoo`: an entry and a check per network."""
    checks = [Check(model.name, model.verdict == "passed", model.message) for model in models]
    return _builtins(schema.Zoo(**_head("zoo", command, checks), models=models))


def plain(value: Any) -> Any:
    """A document as JSON can hold it: infinity and NaN become null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _head(kind: str, command: str, checks: Sequence[Check]) -> dict[str, Any]:
    return {
        "schema": schema.VERSION,
        "kind": kind,
        "version": __version__,
        "command": command,
        "verdict": "passed" if all(check.passed for check in checks) else "failed",
        "checks": list(checks),
    }


def _genuine(proof: Proof) -> Check:
    if proof.genuine:
        return Check("genuine", True, f"all {proof.layers} random layers match seed {proof.seed}")
    more = len(proof.failures) - 1
    return Check("genuine", False, proof.failures[0] + (f" (and {more} more)" if more else ""))


def _comparison(fidelity: Fidelity) -> schema.Comparison:
    return schema.Comparison(fidelity.samples, fidelity.origin, fidelity.outputs)


def _builtins(document: schema.Document) -> dict[str, Any]:
    return dict(msgspec.to_builtins(document, enc_hook=methodcaller("item")))  # NumPy's numbers
