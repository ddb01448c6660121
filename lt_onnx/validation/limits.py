"""What a comparison must hold: limits by output, and the checks that come of them."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from lt_onnx.errors import InputError
from lt_onnx.target import Port
from lt_onnx.validation.fidelity import Check, OutputFidelity

Limit: TypeAlias = float | Mapping[str, float] | None  # by output; "" stands for every other one


@dataclass(frozen=True)
class Limits:
    """What must hold for the exit code 0; None is not asked.

    A limit is a number for every output, or numbers by output name. Raises InputError for negative
    ones.
    """

    max_abs: Limit = None
    max_rel: Limit = None
    min_sqnr: Limit = None
    min_agreement: Limit = None
    max_accuracy_drop: Limit = None

    def __post_init__(self) -> None:
        for name in vars(self):
            for value in self.of(name).values():
                if not (math.isfinite(value) and value >= 0):
                    option = name.replace("_", "-")
                    raise InputError(f"--{option} is {value}; give a number that is not negative")

    def refuse(self, outputs: Sequence[Port], labelled: bool) -> None:
        """Raises InputError for limits that these outputs and samples can never be judged by."""
        names = [port.name for port in outputs]
        for name, (_, _, needs) in FIGURES.items():
            asked, option = self.of(name), f"--{name.replace('_', '-')}"
            unknown = [output for output in asked if output and output not in names]
            if unknown:
                raise InputError(
                    f"{option} names the output '{unknown[0]}'; there are {', '.join(names)}"
                )
            scored = any(len(port.shape) in (0, 2) for port in outputs)
            if asked and (
                (name == "max_accuracy_drop" and not (labelled and scored))
                or (name == "min_agreement" and not scored)
            ):
                raise InputError(f"{option} needs {needs}")

    def of(self, name: str) -> Mapping[str, float]:
        """One limit by output."""
        limit: Limit = getattr(self, name)
        return {} if limit is None else limit if isinstance(limit, Mapping) else {"": limit}


def judge(outputs: Sequence[OutputFidelity], limits: Limits) -> list[Check]:
    """The checks: finite numbers, then every limit at every output that it is for.

    Raises InputError for a limit that no output has a figure for.
    """
    checks = []
    for out in outputs:
        word = "are finite numbers" if out.finite else "hold NaN or infinity where the target's are"
        checks.append(
            Check(f"finite: {out.name}", out.finite, f"output '{out.name}': its values {word}")
        )
    for name, (figure, least, needs) in FIGURES.items():
        option, asked = f"--{name.replace('_', '-')}", limits.of(name)
        found = 0
        for out in outputs:
            limit, value = asked.get(out.name, asked.get("")), figure(out)
            if limit is None or value is None:
                continue
            found += 1
            good = value >= limit if least else value <= limit
            checks.append(
                Check(
                    f"{name.replace('_', '-')}: {out.name}",
                    good,
                    f"output '{out.name}': {LABELS[name]} {value:.4g}, limit {limit:g}",
                )
            )
        if asked and not found:
            raise InputError(f"{option} needs {needs}")
    return checks


def _drop(out: OutputFidelity) -> float | None:
    if out.target_accuracy is None or out.ticket_accuracy is None:
        return None
    return out.target_accuracy - out.ticket_accuracy


# limit: its figure, whether that must be at least so much, and what it needs to exist
FIGURES: dict[str, tuple[Callable[[OutputFidelity], float | None], bool, str]] = {
    "max_abs": (lambda out: out.max_abs, False, "an output"),
    "max_rel": (lambda out: out.relative, False, "an output"),
    "min_sqnr": (lambda out: out.sqnr_db, True, "an output"),
    "min_agreement": (lambda out: out.agreement, True, "an output of class scores [N, classes]"),
    "max_accuracy_drop": (_drop, False, "--samples with 'labels'"),
}
LABELS = {
    "max_abs": "largest error",
    "max_rel": "relative error",
    "min_sqnr": "SQNR in dB",
    "min_agreement": "agreement",
    "max_accuracy_drop": "accuracy drops by",
}
