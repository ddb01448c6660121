"""Settings from small to faithful tickets, and the search for the smallest that is good enough.

Comes in: how good a ticket must be. Goes out: base size and price. A rung is judged by a ticket
that is really made, on inputs that its construction did not see.
"""

from collections.abc import Callable
from dataclasses import dataclass

from lt_onnx.errors import InputError
from lt_onnx.options import Mode
from lt_onnx.validation.fidelity import Fidelity


@dataclass(frozen=True)
class Rung:
    """m and μ of one setting; no m: each block has its own (`allocation`)."""

    base_size: int | None
    price: float


# price and base size that go well together: of equal size, these tickets were the most faithful
LADDERS = {
    Mode.L_PLUS_1: tuple(
        Rung(m, price)
        for m, price in (
            (4, 8e-3),
            (5, 8e-3),
            (6, 8e-3),
            (7, 8e-3),
            (8, 8e-3),
            (9, 6e-3),
            (10, 4e-3),
            (12, 3e-3),
            (14, 1.5e-3),
            (16, 5e-4),
            (18, 2e-4),
            (20, 1e-4),
        )
    ),
    Mode.TWO_L: tuple(
        Rung(None, price)
        for price in (3e-2, 1e-2, 5e-3, 2e-3, 1e-3, 5e-4, 2e-4, 1e-4, 5e-5, 2e-5, 5e-6, 1e-6, 0.0)
    ),
}


@dataclass(frozen=True)
class Wish:
    """How good a ticket must be at every output; None asks for nothing."""

    sqnr_db: float | None = None
    agreement: float | None = None

    def __post_init__(self) -> None:
        if self.sqnr_db is not None and not 0 < self.sqnr_db <= 120:
            raise InputError(f"`target_sqnr` is {self.sqnr_db:g}; give decibels, 0 to 120")
        if self.agreement is not None and not 0 < self.agreement <= 1:
            raise InputError(f"`target_agreement` is {self.agreement:g}; give a share, 0 to 1")

    def __bool__(self) -> bool:
        return self.sqnr_db is not None or self.agreement is not None

    def granted(self, fidelity: Fidelity) -> bool:
        """Whether a ticket is as good as that."""
        return all(
            (self.sqnr_db is None or out.sqnr_db >= self.sqnr_db)
            and (self.agreement is None or out.agreement is None or out.agreement >= self.agreement)
            for out in fidelity.outputs
        )


def lowest(mode: Mode, wish: Wish, attempt: Callable[[Rung], Fidelity]) -> Rung:
    """The lowest rung whose ticket grants the wish, by bisection; the highest if none does."""
    ladder = LADDERS[mode]
    low, high = 0, len(ladder) - 1
    while low < high:
        middle = (low + high) // 2
        if wish.granted(attempt(ladder[middle])):
            high = middle
        else:
            low = middle + 1
    return ladder[low]
