"""What a comparison of two networks comes to: figures per output, and the checks on them."""

import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from lt_onnx.units import counted, html_table, percent_text

Share = Annotated[float, Meta(ge=0, le=1)]
Distance = Annotated[float, Meta(ge=0)]


def relative_error(signal: float, error: float) -> float:
    """‖t − t̂‖ / ‖t‖ from the squares of both norms; ‖t − t̂‖ where t is zero."""
    return math.sqrt(error / signal) if signal else math.sqrt(error)


def sqnr_of(relative: float) -> float:
    """A relative error in decibels, as a ratio of signal to noise."""
    return -20 * math.log10(relative) if relative else math.inf


class Judged(StrEnum):
    """How an output is compared."""

    VARIATION = "variation"  # floats, by what of them varies with the input
    CONSTANT = "constant"  # floats that do not vary: by equality, float error apart
    EQUALITY = "equality"  # integers, truth values and texts


@dataclass(frozen=True)
class OutputFidelity:
    """How close one output t̂ of the ticket is to the target's t, over all samples and entries.

    Entries that are not finite are left out. Figures of floats are None for other types, and where
    nothing finite was compared; `variation_db`, with the mean of each place over the samples taken
    off t, is None where t does not vary. `agreement` is of class scores, or of outputs that are no
    floats; accuracies are None without labels.
    """

    name: str
    judged: Annotated[Judged, Meta(description="by decibels of its variation, or by equality")]
    finite: Annotated[bool, Meta(description="something is, and what is not is alike in both")]
    non_finite: Annotated[int, Meta(ge=0, description="entries NaN or infinite in both")] = 0
    max_abs: Annotated[Distance | None, Meta(description="largest |target - ticket|")] = None
    mean_abs: Distance | None = None
    relative: Annotated[Distance | None, Meta(description="||target - ticket|| / ||target||")] = (
        None
    )
    sqnr_db: Annotated[float | None, Meta(description="-20 log10(relative)")] = None
    variation_db: Annotated[float | None, Meta(description="the same of target - means")] = None
    cosine: float | None = None
    agreement: Annotated[Share | None, Meta(description="of top-1, or of equal entries")] = None
    target_accuracy: Share | None = None
    ticket_accuracy: Share | None = None
    smallest_tolerance: Annotated[float | None, Meta(description="least --max-rel to pass")] = None
    points: Annotated[
        list[tuple[float, float]], Meta(description="(target, ticket) values, some of all")
    ] = field(default_factory=list)

    @property
    def judged_db(self) -> float | None:
        """Decibels of the variation; of an output that does not vary, the plain ones."""
        return self.sqnr_db if self.judged is Judged.CONSTANT else self.variation_db

    @property
    def accuracy_drop(self) -> float | None:
        """By how much the target's accuracy is above the ticket's."""
        if self.target_accuracy is None or self.ticket_accuracy is None:
            return None
        return self.target_accuracy - self.ticket_accuracy


@dataclass(frozen=True)
class Check:
    """One thing that was asked and whether it holds: a case of the JUnit report."""

    name: str
    passed: bool
    message: str


@dataclass(frozen=True, repr=False)
class Fidelity:
    """Outcome of a validation: figures by output, and every check in words."""

    outputs: list[OutputFidelity]
    samples: int
    origin: str
    checks: list[Check]

    def worst(self, figure: str) -> float | None:
        """The least value of a figure among the outputs that have it."""
        values = [getattr(out, figure) for out in self.outputs]
        return min((value for value in values if value is not None), default=None)

    @property
    def failures(self) -> list[str]:
        """Messages of the checks that do not hold."""
        return [check.message for check in self.checks if not check.passed]

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return not self.failures

    def about(self) -> dict[str, str]:
        """Verdict and figures in words, by what they are of: the checks, then every output."""
        texts = {"verdict": "; ".join(self.failures) or "passed"}
        texts["samples"] = f"{self.samples:,} ({self.origin})"
        for out in self.outputs:
            agreed = out.agreement
            figures = [
                *([f"{out.judged_db:.1f} dB"] if out.judged_db is not None else []),
                *([f"{percent_text(agreed)} agreement"] if agreed is not None else []),
            ]
            texts[f"output '{out.name}'"] = ", ".join(figures) or "nothing to compare"
        return texts

    def __repr__(self) -> str:
        verdict = "passed" if self.passed else "FAILED"
        figures = [text for name, text in self.about().items() if name.startswith("output")]
        return f"<Fidelity {verdict}: {counted(self.samples, 'sample')}, {'; '.join(figures)}>"

    def _repr_html_(self) -> str:
        return html_table(self.about())
