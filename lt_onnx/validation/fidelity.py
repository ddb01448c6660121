"""What a comparison of two networks comes to: figures per output, and the checks on them."""

import math
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta

Share = Annotated[float, Meta(ge=0, le=1)]


def relative_error(signal: float, error: float) -> float:
    """‖t − t̂‖ / ‖t‖ from the squares of both norms; ‖t − t̂‖ where t is zero."""
    return math.sqrt(error / signal) if signal else math.sqrt(error)


def sqnr_of(relative: float) -> float:
    """A relative error in decibels, as a ratio of signal to noise."""
    return -20 * math.log10(relative) if relative else math.inf


@dataclass(frozen=True)
class OutputFidelity:
    """How close one output t̂ of the ticket is to the target's t, over all samples and entries.

    Accuracies are None without labels. Where t̂ is NaN or infinite and t is not, the entry counts
    as no error, and `finite` is False.
    """

    name: str
    max_abs: Annotated[float, Meta(ge=0, description="largest |target - ticket|")]
    mean_abs: Annotated[float, Meta(ge=0)]
    relative: Annotated[
        float, Meta(ge=0, description="||target - ticket|| / ||target|| over all samples")
    ]
    sqnr_db: Annotated[float, Meta(description="-20 log10(relative); null: infinite")]
    cosine: float
    finite: bool
    agreement: Annotated[
        Share | None, Meta(description="share of samples with equal top-1; null: no class scores")
    ]
    target_accuracy: Share | None
    ticket_accuracy: Share | None
    smallest_tolerance: Annotated[float, Meta(description="least --max-rel that would pass")]
    points: Annotated[
        list[tuple[float, float]], Meta(description="(target, ticket) values, some of all")
    ]

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


@dataclass(frozen=True)
class Fidelity:
    """Outcome of a validation: figures by output, and every check in words."""

    outputs: list[OutputFidelity]
    samples: int
    origin: str
    checks: list[Check]

    @property
    def failures(self) -> list[str]:
        """Messages of the checks that do not hold."""
        return [check.message for check in self.checks if not check.passed]

    @property
    def passed(self) -> bool:
        """Whether every check holds."""
        return not self.failures
