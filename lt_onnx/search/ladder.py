"""Settings from small to faithful tickets, and the search for the smallest that is good enough.

Comes in: how good a ticket must be, and a function that judges a setting. Goes out: base size and
price.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from lt_onnx.errors import InputError
from lt_onnx.options import Mode, Param
from lt_onnx.validation.fidelity import Fidelity


@dataclass(frozen=True)
class Rung:
    """m and μ of one setting; no m: each block has its own (`allocation`)."""

    base_size: int | None
    price: float


# price and base size that go well together: of equal size, these tickets were the most faithful
SIZES = (4, 5, 6, 7, 8, 9, 10, 12, 14, 16, 18, 20)
PRICES = (8e-3, 8e-3, 8e-3, 8e-3, 8e-3, 6e-3, 4e-3, 3e-3, 1.5e-3, 5e-4, 2e-4, 1e-4)
TWO_L_PRICES = (3e-2, 1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 5e-6, 1e-6, 0.0)
LADDERS = {
    Mode.L_PLUS_1: tuple(map(Rung, SIZES, PRICES)),
    Mode.TWO_L: tuple(Rung(None, price) for price in TWO_L_PRICES),
}


@dataclass(frozen=True)
class Goal:
    """How good a ticket must be at every output; None asks for nothing."""

    target_sqnr: Annotated[float | None, Param("Find the smallest ticket of so many dB.")] = None
    target_agreement: Annotated[float | None, Param("… of such a share of equal top-1.")] = None

    def __post_init__(self) -> None:
        sqnr, share = self.target_sqnr, self.target_agreement
        if sqnr is not None and not 0 < sqnr <= 120:
            raise InputError(f"`target_sqnr` is {sqnr:g}; give decibels, 0 to 120")
        if share is not None and not 0 < share <= 1:
            raise InputError(f"`target_agreement` is {share:g}; give a share, 0 to 1")

    def __bool__(self) -> bool:
        return self.target_sqnr is not None or self.target_agreement is not None

    def reached(self, fidelity: Fidelity) -> bool:
        """Whether a ticket is as good as that; agreement is asked of classifiers alone."""
        sqnr, share = self.target_sqnr, self.target_agreement
        return all(
            (sqnr is None or out.variation_db is None or out.variation_db >= sqnr)
            and (share is None or out.agreement is None or out.agreement >= share)
            for out in fidelity.outputs
        )


def lowest(mode: Mode, goal: Goal, attempt: Callable[[Rung], Fidelity]) -> Rung:
    """The lowest rung whose ticket reaches the goal, by bisection; the highest if none does."""
    ladder = LADDERS[mode]
    low, high = 0, len(ladder) - 1
    while low < high:
        middle = (low + high) // 2
        if goal.reached(attempt(ladder[middle])):
            high = middle
        else:
            low = middle + 1
    return ladder[low]
