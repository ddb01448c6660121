"""Settings of a construction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from lt_onnx.errors import InputError
from lt_onnx.options.choices import PAPER_MODES, Init, Mode, Select, Sigma, Weights, choose
from lt_onnx.options.param import Param, check_types, is_number, params_of
from lt_onnx.units import share

MAX_BASE_SIZE = 32  # elements of a base set: their masks are 32-bit words
MIN_PRICE_BITS, MAX_PRICE_BITS = 0.01, 100
MAX_SQNR = 60  # decibels: float32 and its rounding are not far behind
DEFAULT_COPIES = 11  # m of one-for-one layers
MAX_COPIES = 20  # that a promise chooses: more hardly help
PROMISES = (15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 45.0, 50.0)  # decibels, of a frontier


@dataclass(frozen=True)
class Options:
    """Settings of one construction; with the target they decide the ticket.

    `base_size` is m; None chooses it, block by block (`allocation`). `price` is μ of the objective:
    what a kept weight costs in every layer, in units of its inputs'
    variance (their group's mean) times its output scale's square; None leaves it to the promise:
    decibels of the outputs' variation (`sqnr`) and, of classifiers, a share of equal top-1
    (`agreement`), which every layer is given its part of (`budget`). `prices` and `base_sizes` are
    layers with a μ or an m of their own; in mode `l+k` the layers of `base_sizes` open blocks.
    `price_bits` is what a bit of the ticket's pack costs, in kept weights: targets are then rounded
    before subsets are chosen (`subset_sum.grid`).

    Raises InputError for values out of range.
    """

    mode: Annotated[
        Mode,
        Param(
            "l+1: the target's depth + 1, copies of channels; 2l: twice it, smaller; l+k: k layers "
            "more, where copies do not do."
        ),
    ] = Mode.L_PLUS_1
    base_size: Annotated[
        int | None,
        Param(
            "m, elements of a base set (2-32), auto without; again for single layers.",
            unit="M",
            read=int,
            key="LAYER=",
            singles="base_sizes",
        ),
    ] = None
    tolerance: Annotated[float, Param("ε, the error allowed per normalised parameter.")] = 0.01
    select: Annotated[
        Select, Param("Of subsets that fit, the quietest, smallest (the paper's) or closest.")
    ] = Select.NOISE
    sigma: Annotated[Sigma, Param("One scale per channel or per layer.")] = Sigma.CHANNEL
    init: Annotated[Init, Param("Initial scale of random weights; no mask depends on it.")] = (
        Init.UNIT
    )
    seed: Annotated[int, Param("Seed of the random source.")] = 0
    price: Annotated[
        float | None,
        Param(
            "For study: price of a kept weight, in place of a promise; again for single layers.",
            unit="μ",
            read=float,
            key="LAYER=",
            singles="prices",
        ),
    ] = None
    sqnr: Annotated[float, Param("Promise: decibels of every output's variation.", unit="DB")] = (
        30.0
    )
    agreement: Annotated[
        float,
        Param(
            "Promise: of classifiers, the share of equal top-1; 0: none.",
            unit="SHARE",
            read=share,
            expects="a share, as in 0.99 or 99%",
        ),
    ] = 0.99
    price_bits: Annotated[
        float,
        Param("What a bit of a pack costs, in kept weights: smaller packs (2l).", unit="SHARE"),
    ] = 0.0
    prices: tuple[tuple[str, float], ...] = ()
    base_sizes: tuple[tuple[str, int], ...] = ()
    weights: Annotated[
        Weights, Param("How random weights are stored; seeded: made when the file is opened.")
    ] = Weights.FOLDED
    fp16: Annotated[bool, Param("Store random weights in half precision.")] = False
    collapse: Annotated[bool, Param("Sum each block into one layer (2l, seeded).")] = False
    fit_scales: Annotated[
        bool,
        Param("Fit all scales together at the end: fewer errors at the same size; needs torch."),
    ] = False

    def __post_init__(self) -> None:
        check_types(self)
        for size in (self.base_size, *dict(self.base_sizes).values()):
            if size is not None and not (
                is_number(size, whole=True) and 2 <= size <= MAX_BASE_SIZE
            ):
                raise InputError(f"`base_size` is {size}; give 2 to {MAX_BASE_SIZE}")
        if not 0 < self.tolerance < 1:
            raise InputError(f"`tolerance` is {self.tolerance}; give a number between 0 and 1")
        check_seed(self.seed)
        for price in (self.price, *dict(self.prices).values()):
            if price is not None and not 0 <= price < 1:
                raise InputError(f"`price` is {price}; give 0 or more, below 1")
        if self.price_bits and not MIN_PRICE_BITS <= self.price_bits <= MAX_PRICE_BITS:
            raise InputError(
                f"`price_bits` is {self.price_bits:g}; give 0, or {MIN_PRICE_BITS:g} to "
                f"{MAX_PRICE_BITS:g}"
            )
        if self.price_bits and (self.mode is not Mode.TWO_L or self.select is not Select.NOISE):
            raise InputError("`price_bits` needs `mode=2l` and `select=noise`")
        if not 0 < self.sqnr <= MAX_SQNR:
            raise InputError(f"`sqnr` is {self.sqnr:g}; give decibels, above 0 up to {MAX_SQNR}")
        if not 0 <= self.agreement <= 1:
            raise InputError(
                f"`agreement` is {self.agreement:g}; give a share, as 0.99 or 99%; 0 is none"
            )
        for name in ("sqnr", "agreement") if not self.promises else ():
            if getattr(self, name) not in (0, getattr(Options, name)):
                raise InputError(
                    f"`{name}` is a promise, and `price` or another `select` stand in its place: "
                    "leave one out"
                )
        if self.mode is Mode.L_PLUS_K and not self.base_sizes and not self.promises:
            raise InputError(
                "`mode=l+k` chooses by a promise which layers open a block: give no `price` and no "
                "other `select`, or name layers with `base_size`"
            )
        if self.collapse and self.weights is not Weights.SEEDED:
            raise InputError(
                "`collapse=True` sums up what the file makes itself: give `weights=seeded` with it"
            )
        if self.collapse and self.fit_scales:
            raise InputError(
                "`fit_scales=True` is of tickets that are not collapsed: leave out `collapse`, and "
                "let deploy collapse the ticket"
            )

    @property
    def copies(self) -> int:
        """Copies of every channel that a later layer reads (1 in mode 2l)."""
        return 1 if self.mode is Mode.TWO_L else self.base_size or DEFAULT_COPIES

    @property
    def promises(self) -> bool:
        """Whether the ticket is built to a promise, not by prices or by the paper's rules."""
        return self.select is Select.NOISE and self.price is None

    def is_two_for_one(self, layer: str) -> bool:
        """Whether a layer opens a block (Theorem 3.1) where it might read copies."""
        between = self.mode is Mode.L_PLUS_K and layer in dict(self.base_sizes)
        return self.mode is Mode.TWO_L or between

    def price_of(self, layer: str) -> float:
        """μ of a layer, where it is given."""
        return dict(self.prices).get(layer, 0.0 if self.price is None else self.price)


def check_seed(seed: int) -> None:
    """Raises InputError for a seed that is out of range."""
    if not 0 <= seed < 2**64:
        raise InputError(f"`seed` is {seed}; give 0 to 2^64 - 1")


CHOICES: dict[str, type[StrEnum]] = {
    name: kind
    for name, (kind, _) in params_of(Options).items()
    if isinstance(kind, type) and issubclass(kind, StrEnum)
}


def make_options(
    *,
    prices: Mapping[str, float] | None = None,
    base_sizes: Mapping[str, int] | None = None,
    **arguments: Any,
) -> Options:
    """Options from a caller's arguments: members of enumerations by value, single layers by name.

    Raises InputError naming the argument, and its choices or range.
    """
    for name, kind in CHOICES.items():
        if name in arguments:
            arguments[name] = choose(kind, name, arguments[name])
    return Options(prices=_pairs(prices), base_sizes=_pairs(base_sizes), **arguments)


def _pairs(by_layer: Mapping[str, Any] | None) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted((by_layer or {}).items()))


def settings_of(
    mode: Mode | None,
    sqnr: Sequence[float],
    *,
    base_size: Sequence[int] | None,
    price: Sequence[float] | None,
    fit_scales: bool = False,
) -> list[Options]:
    """A frontier's settings: all pairs of m's with promises, or with prices; None: both modes.

    Decibels alone are promised: agreement would make every ticket as right as it asks for.
    Raises InputError for values out of range.
    """
    for name, values in {"sqnr": sqnr, "base_size": base_size, "price": price}.items():
        if values is not None and not getattr(values, "__len__", int)():
            raise InputError(f"`{name}` is {values}; give a list of one number or more")
    built: list[dict[str, Any]] = [{"price": μ} for μ in price or ()]
    built = built or [{"sqnr": decibels} for decibels in sqnr]
    sizes: Sequence[int | None] = base_size or [None]
    return [
        Options(one_mode, base_size=m, fit_scales=fit_scales, agreement=0, **one)
        for one_mode in (PAPER_MODES if mode is None else [mode])
        for m in sizes
        for one in built
    ]
