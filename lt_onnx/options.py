"""Everything a user can choose about a construction, in the CLI's words."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from lt_onnx.errors import InputError

LARGEST_BASE = 32  # elements of a base set: their masks are 32-bit words
COPIES = 11  # default m of one-for-one layers
PRICES = {"l+1": 1.5e-3, "2l": 2e-5}  # default μ by mode


class Mode(StrEnum):
    """Depth of the source network."""

    L_PLUS_1 = "l+1"
    TWO_L = "2l"


class Select(StrEnum):
    """Which of the subsets that fit is taken."""

    NOISE = "noise"
    SMALLEST = "smallest"
    BEST = "best"
    EXACT = "exact"  # the oracle: exact weights on one copy; proves the rewriting, is no ticket


class Sigma(StrEnum):
    """How many scales a layer has."""

    CHANNEL = "channel"
    LAYER = "layer"


class Init(StrEnum):
    """Initial scale σ of a layer; every scheme is uniform on [-σ, σ]."""

    UNIT = "unit"
    KAIMING = "kaiming"
    XAVIER = "xavier"
    LECUN = "lecun"


class Weights(StrEnum):
    """How masked weights are stored."""

    FOLDED = "folded"
    MASKED = "masked"
    SPARSE = "sparse"


KINDS: dict[str, type[StrEnum]] = {
    "mode": Mode,
    "select": Select,
    "sigma": Sigma,
    "init": Init,
    "weights": Weights,
}


@dataclass(frozen=True)
class Options:
    """Settings of one construction.

    `base_size` is m; None chooses it, block by block (`allocation`). `price` is μ of the objective:
    what a kept weight costs in the layer where an average weight stands, in units of its inputs'
    variance (their group's mean) times its output scale's square; `dearness` is the power of a
    layer's size that it follows in the others (`allocation`). `prices` and `base_sizes` are layers
    with a μ or an m of their own.

    Raises InputError for values out of range.
    """

    mode: Mode = Mode.L_PLUS_1
    base_size: int | None = None
    tolerance: float = 0.01
    select: Select = Select.NOISE
    sigma: Sigma = Sigma.CHANNEL
    init: Init = Init.UNIT
    seed: int = 0
    price: float | None = None
    dearness: float = 0.7
    prices: tuple[tuple[str, float], ...] = ()
    base_sizes: tuple[tuple[str, int], ...] = ()
    weights: Weights = Weights.FOLDED
    fp16: bool = False

    def __post_init__(self) -> None:
        for size in (self.base_size, *dict(self.base_sizes).values()):
            if size is not None and not 2 <= size <= LARGEST_BASE:
                raise InputError(f"`base_size` is {size}; give 2 to {LARGEST_BASE}")
        if not 0 < self.tolerance < 1:
            raise InputError(f"`tolerance` is {self.tolerance}; give a number between 0 and 1")
        if not 0 <= self.seed < 2**64:
            raise InputError(f"`seed` is {self.seed}; give 0 to 2^64 - 1")
        for price in (*([] if self.price is None else [self.price]), *dict(self.prices).values()):
            if not 0 <= price < 1:
                raise InputError(f"`price` is {price}; give 0 or more, below 1")
        if not -4 <= self.dearness <= 4:
            raise InputError(f"`dearness` is {self.dearness}; give -4 to 4")

    @staticmethod
    def remembered(entries: Mapping[str, Any], seed: int) -> "Options":
        """Options as a ticket's manifest has them. Raises KeyError, TypeError and ValueError."""
        given = dict(entries)
        for key, kind in KINDS.items():
            if key in given:
                given[key] = kind(given[key])
        given["prices"] = tuple((str(name), float(price)) for name, price in entries["prices"])
        given["base_sizes"] = tuple((str(name), int(size)) for name, size in entries["base_sizes"])
        return Options(seed=seed, **given)

    @property
    def copies(self) -> int:
        """Copies of every channel that a later layer reads (1 in mode 2l)."""
        return 1 if self.mode is Mode.TWO_L else self.base_size or COPIES

    @property
    def mu(self) -> float:
        """Price of a kept weight."""
        return PRICES[self.mode] if self.price is None else self.price
