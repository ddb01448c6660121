"""What a comparison of two networks comes to: figures per output, and the checks on them."""

import math
from dataclasses import dataclass, field


@dataclass
class OutputFidelity:
    """How close one output is. Relative error is ‖f_t − f_ε‖ / ‖f_t‖ over all samples."""

    name: str
    max_abs: float = 0.0
    mean_abs: float = 0.0
    relative: float = 0.0
    sqnr_db: float = math.inf
    cosine: float = 1.0
    finite: bool = True
    agreement: float | None = None  # share of samples with equal top-1
    target_accuracy: float | None = None
    ticket_accuracy: float | None = None
    smallest_tolerance: float = 0.0  # least --max-rel that would pass
    points: list[tuple[float, float]] = field(default_factory=list)  # (target, ticket) values

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


@dataclass
class Fidelity:
    """Outcome of a validation; `checks` says of every limit whether it holds, in words."""

    outputs: list[OutputFidelity]
    samples: int
    origin: str
    seconds: float = 0.0
    checks: list[Check] = field(default_factory=list)

    @property
    def failures(self) -> list[str]:
        """What does not hold."""
        return [check.message for check in self.checks if not check.passed]

    @property
    def passed(self) -> bool:
        """Whether every limit held."""
        return not self.failures
