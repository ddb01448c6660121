"""What was found, as plain data: the document that every face of a report shows.

Measures nothing. Counts are kept, source and target weights; density = kept / source. Every kind of
document begins alike: schema, kind, version, command, verdict, checks.
"""

import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from lt_onnx.blueprint import Blueprint
from lt_onnx.construct.results import LayerStats
from lt_onnx.options import Options
from lt_onnx.validation.bound import Bound
from lt_onnx.validation.fidelity import Check, Fidelity
from lt_onnx.validation.per_layer import LayerError
from lt_onnx.verification import Proof
from lt_onnx.version import __version__

SCHEMA = 2


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
    def checks(self) -> list[Check]:
        """The proof, and every limit asked for."""
        return [_genuine(self.proof), *(self.fidelity.checks if self.fidelity else [])]

    @property
    def passed(self) -> bool:
        """Verdict: genuine, and within every limit asked for."""
        return all(check.passed for check in self.checks)

    def to_dict(self) -> dict[str, Any]:
        """The document."""
        return {
            **_head("conversion", self.command, self.checks),
            "target": {
                "file": self.target,
                "sha256": self.target_sha256,
                "weights": self.target_weights,
            },
            "ticket": {
                "file": self.ticket,
                "kept": self.kept,
                "source": self.source_weights,
                "density": self.kept / max(self.source_weights, 1),
                "per_target_weight": self.per_target_weight,
                "weight_bytes": self.weight_bytes,
            },
            "options": self.options,
            "calibration": self.calibration,
            "layers": [asdict(layer) for layer in self.layers],
            "dense": self.dense,
            "verify": {**asdict(self.proof), "genuine": self.proof.genuine},
            "validate": _fidelity(self.fidelity) if self.fidelity else None,
            "trace": _trace(self.trace),
            "bound": asdict(self.bound) if self.bound else None,
            "seconds": self.seconds,
        }


def conversion(
    blueprint: Blueprint,
    ticket: Path,
    command: str,
    layers: list[LayerStats],
    proof: Proof,
    fidelity: Fidelity | None,
    trace: list[LayerError] | None,
    bound: Bound | None,
    calibration: str,
    seconds: dict[str, float],
) -> Report:
    """Gather what the steps of a conversion produced."""
    target = blueprint.target
    return Report(
        target=str(target.path),
        target_sha256=target.sha256,
        ticket=str(ticket),
        command=command,
        options={
            **asdict(blueprint.options),
            "prices": dict(blueprint.options.prices),
            "base_sizes": dict(blueprint.options.base_sizes),
        },
        layers=layers,
        dense=[asdict(place) for place in blueprint.dense],
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
    target: Path, ticket: Path, command: str, fidelity: Fidelity, trace: list[LayerError] | None
) -> dict[str, Any]:
    """The document of kind `validation`: a comparison of two files."""
    return {
        **_head("validation", command, fidelity.checks),
        "target": {"file": str(target)},
        "ticket": {"file": str(ticket)},
        "validate": _fidelity(fidelity),
        "trace": _trace(trace),
    }


def collection(command: str, models: list[dict[str, Any]]) -> dict[str, Any]:
    """The document of kind `zoo`: one entry per target, one check per entry."""
    checks = [
        Check(model["name"], model["verdict"] == "passed", model["message"]) for model in models
    ]
    return {**_head("zoo", command, checks), "models": models}


def command_of(
    verb: str, paths: Sequence[object], options: Options | None, words: dict[str, object]
) -> str:
    """The command that does it again: what differs from the defaults, quoted for a shell."""
    said = ["lt-onnx", verb, *[str(path) for path in paths]]
    given: dict[str, object] = {}
    for field in fields(Options) if options is not None else ():
        value = getattr(options, field.name)
        if value != field.default and field.name not in ("prices", "base_sizes"):
            given[field.name] = value
    for name, value in (*given.items(), *words.items()):
        if value in (None, False):
            continue
        option = f"--{name.replace('_', '-')}"
        values = value if isinstance(value, list) else [value]
        for one in values:
            said += [option] if one is True else [option, str(one)]
    for layer, price in options.prices if options is not None else ():
        said += ["--price", f"{layer}={price:g}"]
    for layer, size in options.base_sizes if options is not None else ():
        said += ["--base-size", f"{layer}={size}"]
    return shlex.join(said)


def _head(kind: str, command: str, checks: Sequence[Check]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "kind": kind,
        "version": __version__,
        "command": command,
        "verdict": "passed" if all(check.passed for check in checks) else "failed",
        "checks": [asdict(check) for check in checks],
    }


def _genuine(proof: Proof) -> Check:
    if proof.genuine:
        return Check("genuine", True, f"all {proof.layers} random layers match seed {proof.seed}")
    more = len(proof.failures) - 1
    return Check("genuine", False, proof.failures[0] + (f" (and {more} more)" if more else ""))


def _fidelity(fidelity: Fidelity) -> dict[str, Any]:
    return {
        "samples": fidelity.samples,
        "origin": fidelity.origin,
        "outputs": [asdict(out) for out in fidelity.outputs],
    }


def _trace(layers: list[LayerError] | None) -> list[dict[str, Any]] | None:
    if layers is None:
        return None
    return [
        {
            **asdict(layer),
            "sqnr_db": layer.sqnr_db,
            "own_sqnr_db": layer.own_sqnr_db,
            "amplification": layer.amplification,
        }
        for layer in layers
    ]


def plain(value: Any) -> Any:
    """A document as JSON can hold it: infinity and NaN become null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
