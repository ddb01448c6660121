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

from lt_onnx.construct.results import LayerStats
from lt_onnx.fitting.scales import ScaleFit
from lt_onnx.manifest import DensePlace
from lt_onnx.options import Options
from lt_onnx.report import schema
from lt_onnx.units import html_table
from lt_onnx.validation.bound.certify import Bound
from lt_onnx.validation.fidelity import Check, Fidelity
from lt_onnx.validation.per_layer import LayerError
from lt_onnx.validation.promise import promise_checks
from lt_onnx.verification.verify import Proof
from lt_onnx.version import __version__


@dataclass(frozen=True, repr=False)
class Report:
    """One conversion. `to_dict` is the document of kind `conversion`."""

    target: str
    target_sha256: str
    ticket: str
    command: str
    options: Options
    layers: list[LayerStats]
    fit: ScaleFit | None  # None: it was not asked for
    dense: tuple[DensePlace, ...]
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
        """The proof, the promise, and every limit asked for."""
        checks = [_genuine(self.proof)]
        if self.fidelity is not None:
            checks += promise_checks(self.fidelity, self.options, self.layers)
            checks += self.fidelity.checks
        return checks

    @property
    def passed(self) -> bool:
        """Verdict: genuine, and within every limit asked for."""
        return all(check.passed for check in self.checks)

    def about(self) -> dict[str, str]:
        """What it comes to in words, for notebooks."""
        failed = [check.message for check in self.checks if not check.passed]
        texts = {
            "target": self.target,
            "ticket": self.ticket,
            "verdict": "; ".join(failed) or "passed",
            "kept": f"{self.kept:,} of {self.source_weights:,} random weights, "
            f"{self.per_target_weight:.2f} per target weight",
            "mode": f"{self.options.mode}, seed {self.options.seed}",
        }
        compared = {} if self.fidelity is None else self.fidelity.about()
        return compared | texts

    def __repr__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        sizes = f"{self.kept:,} weights kept, {self.per_target_weight:.2f} per target weight"
        compared = "not compared" if self.fidelity is None else repr(self.fidelity)
        return f"<Report {verdict}: {sizes}, {compared}>"

    def _repr_html_(self) -> str:
        return html_table(self.about())

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
        lists = {name: dict(getattr(self.options, name)) for name in ("prices", "base_sizes")}
        document = schema.Conversion(
            **_head("conversion", self.command, self.checks),
            target=schema.ConvertedTarget(self.target, self.target_sha256, self.target_weights),
            ticket=ticket,
            options={**asdict(self.options), **lists},
            calibration=self.calibration,
            layers=self.layers,
            fit=self.fit,
            dense=self.dense,
            verify=self.proof,
            validate=_comparison(self.fidelity) if self.fidelity else None,
            trace=self.trace,
            bound=self.bound,
            seconds={stage: round(value, 3) for stage, value in self.seconds.items()},
        )
        return _builtins(document)


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


def frontier(
    target: schema.FrontierTarget, points: Sequence[schema.Point], *, command: str
) -> dict[str, Any]:
    """The document of kind `frontier`: one entry per setting."""
    head = _begin("frontier", command)
    return _builtins(schema.Frontier(**head, target=target, points=list(points)))


def statistics(
    panels: Sequence[schema.SubsetFigures], command: str, **settings: Any
) -> dict[str, Any]:
    """The document of kind `statistics`: one entry per rule and variable, under their settings."""
    head = _begin("statistics", command)
    return _builtins(schema.Statistics(**head, **settings, panels=list(panels)))


def plain(value: Any) -> Any:
    """A document as JSON can hold it: infinity and NaN become null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def _begin(kind: str, command: str) -> dict[str, Any]:
    return {"schema": schema.VERSION, "kind": kind, "version": __version__, "command": command}


def _head(kind: str, command: str, checks: Sequence[Check]) -> dict[str, Any]:
    return {
        **_begin(kind, command),
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


def _builtins(document: schema.Head) -> dict[str, Any]:
    return dict(msgspec.to_builtins(document, enc_hook=methodcaller("item")))  # NumPy's numbers
