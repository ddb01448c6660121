"""The options that several commands share, and how their words are read."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lt_onnx.errors import InputError

if TYPE_CHECKING:
    from lt_onnx.samples.images import Pictures
    from lt_onnx.validation.limits import Limits
    from lt_onnx.writing.build import Progress

ModeWord = Annotated[str, typer.Option("--mode", help="l+1: copies, depth L+1; 2l: depth 2L.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the random source.")]
BaseSize = Annotated[
    list[str] | None,
    typer.Option(
        "--base-size",
        metavar="[LAYER=]M",
        help="m, elements of a base set (2-32), auto without; again for single layers.",
    ),
]
Price = Annotated[
    list[str] | None,
    typer.Option(
        "--price", metavar="[LAYER=]μ", help="Price of a kept weight; again for single layers."
    ),
]
Init = Annotated[str, typer.Option("--init", help="unit, kaiming, xavier or lecun.")]
Tolerance = Annotated[float, typer.Option("--tolerance", help="ε per normalised parameter.")]
SelectWord = Annotated[str, typer.Option("--select", help="noise, smallest (the paper's) or best.")]
Dearness = Annotated[
    float, typer.Option("--dearness", help="Power of a layer's size that its price follows.")
]
WeightsWord = Annotated[
    str, typer.Option("--weights", help="folded, masked (source and mask) or sparse.")
]
Fp16 = Annotated[bool, typer.Option("--fp16", help="Store random weights in half precision.")]
SigmaWord = Annotated[str, typer.Option("--sigma", help="One scale per channel or per layer.")]
CalibrationFile = Annotated[
    Path | None, typer.Option("--calibration", help="npz of inputs used in construction.")
]
SamplesFile = Annotated[
    Path | None,
    typer.Option(
        "--samples", "--inputs", help="npz (labels too), npy or a folder of images to validate on."
    ),
]
Mean = Annotated[
    str | None, typer.Option("--mean", help="Of images, taken off [0, 1]: 0.5 or r,g,b.")
]
Std = Annotated[str | None, typer.Option("--std", help="Of images: 0.5 or r,g,b.")]
ImageLayout = Annotated[
    str, typer.Option("--layout", help="Of the model's image input: nchw or nhwc.")
]
MaxAbs = Annotated[
    list[str] | None,
    typer.Option("--max-abs", metavar="[OUT:]X", help="Largest error, at an output or all."),
]
MaxRel = Annotated[
    list[str] | None, typer.Option("--max-rel", metavar="[OUT:]X", help="Largest relative error.")
]
MinSqnr = Annotated[
    list[str] | None, typer.Option("--min-sqnr", metavar="[OUT:]DB", help="Least SQNR.")
]
MinAgreement = Annotated[
    list[str] | None,
    typer.Option("--min-agreement", metavar="[OUT:]X", help="Least share of equal top-1."),
]
MaxDrop = Annotated[
    list[str] | None,
    typer.Option("--max-accuracy-drop", metavar="[OUT:]X", help="Largest loss of accuracy."),
]
PerLayer = Annotated[
    bool, typer.Option("--per-layer", help="Find where error enters and is amplified.")
]
ReportFile = Annotated[Path | None, typer.Option("--report", help="Write a JSON report here.")]
Reports = Annotated[
    list[Path] | None,
    typer.Option("--report", help="Write it: .json, .md, .xml (JUnit) or .html; repeatable."),
]
Json = Annotated[bool, typer.Option("--json", help="Print the JSON report and nothing else.")]
Picture = Annotated[
    Path | None, typer.Option("--picture", help="Draw it here (.png, .svg or .pdf).")
]
DeviceWord = Annotated[
    str, typer.Option("--device", help="Where subset sums are solved: auto, cpu or cuda.")
]
Force = Annotated[
    bool, typer.Option("--force", help="Overwrite what exists under the output's name.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]


def allocation(base_size: list[str] | None, price: list[str] | None) -> dict[str, Any]:
    """m and μ, for all and by layer, as `convert` takes them. Raises InputError."""
    one_size, sizes = _by_layer("--base-size", base_size, int)
    one_price, prices = _by_layer("--price", price, float)
    return {"base_size": one_size, "base_sizes": sizes, "price": one_price, "prices": prices}


def _by_layer(
    option: str, words: list[str] | None, kind: Callable[[str], Any]
) -> tuple[Any, dict[str, Any]]:
    """A number for all, None when it is not given or `auto`, and numbers by layer."""
    every, single = None, {}
    for word in words or []:
        layer, equals, number = word.rpartition("=")
        try:
            value = None if number == "auto" and not equals else kind(number)
        except ValueError:
            raise InputError(f"{option} is '{word}'; give a number, or LAYER=number") from None
        if equals:
            single[layer] = value
        else:
            every = value
    return every, single


def numbers(option: str, text: str) -> list[float]:
    """Numbers with commas between. Raises InputError."""
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise InputError(f"{option} is '{text}'; give numbers with commas between") from None


def limits(**words: list[str] | None) -> "Limits":
    """What validation must hold: `[OUTPUT:]number`, any number of times. Raises InputError."""
    from lt_onnx.validation.limits import Limits

    return Limits(**{name: _by_output(name, given) for name, given in words.items() if given})


def _by_output(name: str, words: list[str]) -> dict[str, float]:
    found = {}
    for word in words:
        output, _, number = word.rpartition(":")
        try:
            found[output] = float(number)
        except ValueError:
            option = f"--{name.replace('_', '-')}"
            raise InputError(f"{option} is '{word}'; give a number, or OUTPUT:number") from None
    return found


def pictures(mean: str | None, std: str | None, layout: str) -> "Pictures":
    """How a folder of images becomes inputs. Raises InputError."""
    from lt_onnx.samples.images import Pictures

    return Pictures(
        tuple(numbers("--mean", mean)) if mean else (0.0,),
        tuple(numbers("--std", std)) if std else (1.0,),
        layout.lower(),
    )


def byte_count(text: str) -> int:
    """Bytes, as in 800M or 8G. Raises InputError."""
    units = {"K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
    unit = text.strip().upper().removesuffix("B")
    factor = units.get(unit[-1:], 1)
    try:
        value = float(unit[:-1] if unit[-1:] in units else unit) * factor
    except ValueError:
        value = -1.0
    if not 0 < value < 2**63:
        raise InputError(f"--max-memory is '{text}'; give bytes, as in 800M or 8G")
    return int(value)


@contextmanager
def progress(quiet: bool) -> "Iterator[Progress]":
    """A bar with the time left, on stderr, per stage; nothing when quiet or not a terminal."""
    if quiet or not sys.stderr.isatty():
        yield lambda stage, share: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    bars: dict[str, Any] = {}
    with Progress(
        TextColumn("{task.description:9}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
    ) as shown:

        def tell(stage: str, share: float) -> None:
            if stage not in bars:
                bars[stage] = shown.add_task(stage, total=1.0)
            shown.update(bars[stage], completed=share)

        yield tell
