"""Whether a ticket keeps what was promised (`Options.sqnr`, `Options.agreement`).

Comes in: a comparison, and what its layers came to. Goes out: checks, in whose
messages the layers stand that took more of the error than their part.
"""

import math
from collections.abc import Sequence

import numpy as np

from lt_onnx.construct.results import LayerStats
from lt_onnx.options import MAX_SQNR, Options
from lt_onnx.samples.samples import RANDOM_ORIGIN, Samples
from lt_onnx.target import Target
from lt_onnx.units import percent_text
from lt_onnx.validation.fidelity import Check, Fidelity, Judged, OutputFidelity, sqnr_of

MAX_NAMED = 2  # layers
CHANCE, MOST_TIMES = 0.05, 1000  # that a held promise looks missed; more samples at most
LITTLE = 1.0  # decibels beyond its part, from which on a layer is named


def promise_checks(
    fidelity: Fidelity, options: Options, layers: Sequence[LayerStats]
) -> list[Check]:
    """A check for every output of floats, and for every one that tells classes apart.

    Which class random inputs are of says nothing: top-1 is promised on inputs that were given.
    """
    if not options.promises:
        return []
    checks = []
    given = not fidelity.origin.startswith(RANDOM_ORIGIN)
    for out in fidelity.outputs:
        figure = out.judged_db
        if figure is not None:
            held = figure >= options.sqnr
            what = "plain, it does not vary" if out.judged is Judged.CONSTANT else "of variation"
            said = f"{figure:.1f} dB {what}; {options.sqnr:g} were promised"
            said += "" if held else _why(layers, options.sqnr, options.sqnr - figure)
            checks.append(_check("sqnr", out, held, said))
        told = out.agreement is not None and (given or out.judged is Judged.EQUALITY)
        if out.agreement is not None and told and options.agreement:
            held = out.agreement >= options.agreement
            shares = map(percent_text, (out.agreement, options.agreement))
            said = "{} agree; {} were promised".format(*shares)
            enough = 0 if held else _enough(out.agreement, fidelity.samples, options.agreement)
            if fidelity.samples < enough:
                said += f" ({fidelity.samples} samples are too few to tell: give {enough:,})"
            elif not held:
                said += _why(layers)
            checks.append(_check("agreement", out, held, said))
    return checks


def kept_out(given: Samples, target: Target, options: Options) -> tuple[Samples, Samples | None]:
    """Of the inputs given those that a ticket is made from, and those that judge its promise."""
    return given.split(target.inputs, wanted=max(wanted_samples(target, options), 1))


def wanted_samples(target: Target, options: Options) -> int:
    """How many samples a promise is judged by at least, if there are; 0: it does not matter."""
    if not (options.promises and options.agreement) or not any(
        port.tells_classes for port in target.outputs
    ):
        return 0
    return telling_samples(options.agreement)


def telling_samples(agreement: float) -> int:
    """The fewest samples of which one may differ; where all have to agree, one is enough."""
    may = 1 - agreement
    return math.ceil(round(1 / may, 6)) if may else 1


def _enough(agreement: float, samples: int, promised: float) -> int:
    """How many samples of that agreement are needed to tell that it is less than was promised.

    As many as `telling_samples`, and so many that few tickets that hold it would show as little.
    """
    from scipy.special import bdtrc  # takes its time, and most promises are held

    times = np.arange(1, MOST_TIMES)
    differing = round((1 - agreement) * samples)
    chance = bdtrc(differing * times - 1, samples * times, 1 - promised)
    told = int(times[(chance <= CHANCE).argmax()])
    return max(telling_samples(promised), samples * told)


def _check(name: str, out: OutputFidelity, held: bool, said: str) -> Check:
    return Check(f"promise of {name}: {out.name}", held, f"output '{out.name}': {said}")


def _why(
    layers: Sequence[LayerStats], promised: float = math.inf, missing: float = 2 * LITTLE
) -> str:
    """The layers that took more than their part, most of it first, and a mend.

    Where they explain less than half of the decibels that are `missing`, inputs differ from those
    of the construction.
    """
    taken = [(10 * math.log10(s.error / s.allowed), s) for s in layers if s.error and s.allowed]
    worst = sorted(taken, key=lambda pair: -pair[0])[:MAX_NAMED]
    named = [
        f"'{s.name}' has {_db(s.error)} of {_db(s.allowed)} dB" for d, s in worst if d > LITTLE
    ]
    said = f"; layer {', '.join(named)}" if named else ""
    if max((more for more, _ in worst), default=0.0) < max(missing / 2, LITTLE):
        more = promised + missing
        better = f"{math.ceil(more)} dB" if more <= MAX_SQNR else "more decibels"
        said += f"; calibrate with more inputs like these, or build to {better}"
    return said


def _db(power: float | None) -> str:
    return f"{sqnr_of(max(power or 0, 1e-12) ** 0.5):.1f}"
