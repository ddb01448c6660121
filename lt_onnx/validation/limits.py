"""What a comparison must hold: limits by output, and the checks that come of them.

A limit is declared once, as a field of `Limits`: how the command line asks for it, the figure that
it limits, and what an output must be to have one. Options, checks and reports follow.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeAlias, get_type_hints

from lt_onnx.errors import InputError
from lt_onnx.options import Param, is_number, params_of
from lt_onnx.units import share
from lt_onnx.validation.fidelity import Check, Judged, OutputFidelity

if TYPE_CHECKING:
    from lt_onnx.target import Port

SHARE = "SHARE"  # unit of what is up to 1
Limit: TypeAlias = float | Mapping[str, float] | None  # by output; "" stands for every other one


class Needs(StrEnum):
    """What an output must come with so that a figure exists."""

    VALUES = "an output of floats"
    CLASSES = "an output of class scores [N, classes] or of integers"
    LABELS = "`samples` with 'labels'"


@dataclass(frozen=True)
class Figure:
    """What a limit is of: a largest value, or with `least` a smallest one."""

    label: str
    of: Callable[[OutputFidelity], float | None]
    least: bool = False
    needs: Needs = Needs.VALUES


def _param(help: str, unit: str = "X") -> Param:
    return Param(help, unit=unit, read=share if unit == SHARE else float, key="OUTPUT:")


@dataclass(frozen=True)
class Limits:
    """What must hold for the exit code 0; None is not asked.

    A limit is a number for every output, or numbers by output name. Raises InputError for negative
    ones.
    """

    max_abs: Annotated[
        Limit,
        _param("Largest error, at an output or all."),
        Figure("largest error", lambda out: out.max_abs),
    ] = None
    max_rel: Annotated[
        Limit, _param("Largest relative error."), Figure("relative error", lambda out: out.relative)
    ] = None
    min_sqnr: Annotated[
        Limit,
        _param("Least SQNR of what varies.", unit="DB"),
        Figure("SQNR of its variation in dB", lambda out: out.judged_db, least=True),
    ] = None
    min_agreement: Annotated[
        Limit,
        _param("Least share of equal top-1.", unit=SHARE),
        Figure("agreement", lambda out: out.agreement, least=True, needs=Needs.CLASSES),
    ] = None
    max_accuracy_drop: Annotated[
        Limit,
        _param("Largest loss of accuracy.", unit=SHARE),
        Figure("accuracy drops by", lambda out: out.accuracy_drop, needs=Needs.LABELS),
    ] = None

    def __post_init__(self) -> None:
        for name in FIGURES:
            for value in self.of(name).values():
                if not (is_number(value) and math.isfinite(value) and value >= 0):
                    raise InputError(f"`{name}` is {value}; give a number that is not negative")
                if name in SHARES and value > 1:
                    hundredth = f"{value / 100:g} or {value:g}%" if value <= 100 else "0.97 or 97%"
                    raise InputError(
                        f"`{name}` is {value:g}; give a share, up to 1, as in {hundredth}"
                    )

    def refuse(self, outputs: "Sequence[Port]", labelled: bool) -> None:
        """Raises InputError for limits that these outputs and samples can never be judged by."""
        names = [port.name for port in outputs]
        scored = any((len(p.shape) in (0, 2) and p.scores) or p.dtype.kind != "f" for p in outputs)
        there = {Needs.VALUES: True, Needs.CLASSES: scored, Needs.LABELS: scored and labelled}
        for name, figure in FIGURES.items():
            asked = self.of(name)
            unknown = [output for output in asked if output and output not in names]
            if unknown:
                raise InputError(
                    f"`{name}` names the output '{unknown[0]}'; there are {', '.join(names)}"
                )
            if asked and not there[figure.needs]:
                raise InputError(f"`{name}` needs {figure.needs}")

    def of(self, name: str) -> Mapping[str, float]:
        """One limit by output."""
        limit: Limit = getattr(self, name)
        return {} if limit is None else limit if isinstance(limit, Mapping) else {"": limit}

    def arguments(self) -> dict[str, object]:
        """The limits as the command line has them: `[OUTPUT:]number`, by name."""
        return {
            name: [f"{out}:{value:g}" if out else f"{value:g}" for out, value in asked.items()]
            for name in FIGURES
            for asked in [self.of(name)]
        }


def _said(out: OutputFidelity) -> str:
    """What is told of values that are not finite."""
    if out.judged is Judged.EQUALITY:
        return "its entries can be compared" if out.finite else "there is nothing to compare"
    if not out.finite:
        if out.max_abs is None:
            return "there is nothing finite to compare"
        return "its values are NaN or infinite where the target's are not, or otherwise so"
    if out.non_finite:
        return f"{out.non_finite:,} values are NaN or infinite, alike in both, and not compared"
    return "its values are finite numbers"


def _check(kind: str, out: OutputFidelity, passed: bool, said: str) -> Check:
    return Check(f"{kind}: {out.name}", passed, f"output '{out.name}': {said}")


def judge(outputs: Sequence[OutputFidelity], limits: Limits) -> list[Check]:
    """The checks: finite numbers, then every limit at every output that it is for.

    Raises InputError for a limit that no output has a figure for.
    """
    checks = []
    for out in outputs:
        checks.append(_check("finite", out, out.finite, _said(out)))
    for name, figure in FIGURES.items():
        asked = limits.of(name)
        limited = [
            (out, limit, figure.of(out))
            for out in outputs
            if (limit := asked.get(out.name, asked.get(""))) is not None
        ]
        judged = [(out, limit, value) for out, limit, value in limited if value is not None]
        # floats without the figure do not vary, or are not finite, which is told above
        told = any(out.judged is not Judged.EQUALITY for out, _, _ in limited)
        if asked and not judged and not (told and figure.needs is Needs.VALUES):
            raise InputError(f"`{name}` needs {figure.needs}")
        for out, limit, value in judged:
            passed = value >= limit if figure.least else value <= limit
            said = f"{figure.label} {value:.4g}, limit {limit:g}"
            checks.append(_check(name.replace("_", "-"), out, passed, said))
    return checks


FIGURES: dict[str, Figure] = {
    name: part
    for name, hint in get_type_hints(Limits, include_extras=True).items()
    for part in hint.__metadata__
    if isinstance(part, Figure)
}
SHARES = frozenset(n for n, (_, param) in params_of(Limits).items() if param.unit == SHARE)
