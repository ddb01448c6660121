"""The error that every output may have: what a ticket is built to (`Options.sqnr`, `agreement`)."""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lt_onnx.blueprint import Blueprint, Build, Expand
from lt_onnx.budget.disturbance import MEMBERS
from lt_onnx.budget.sensitivity import COPIES, Sensitivity, sensitivity
from lt_onnx.budget.uncertainty import few_weights, uncertainty
from lt_onnx.construct.noise_budget import MAX_ERROR, Promise
from lt_onnx.cores import one_blas_thread
from lt_onnx.options import Mode
from lt_onnx.planning.allocation import MIN_NEURONS, problems
from lt_onnx.planning.plan import plan
from lt_onnx.planning.prediction import Need, needs
from lt_onnx.planning.sizes import sized, target_work
from lt_onnx.samples.choose import Calibration
from lt_onnx.target import Doubles

MARGIN_DB = 2.5  # that is built beyond the promise: other inputs differ from these …
RANDOM_MARGIN_DB = 8.0  # … and real ones more from random ones
SURE = 2.0  # standard deviations of what few inputs tell, beside that
MOST_DB = 60.0  # of an output, whatever agreement asks for
STEP_DB = 0.5
# inputs that have another class where it is told how many have, or the share if all are few
DIFFERING, MAX_DIFFERING = 4, 0.1
SLOPE = -0.5  # weights per problem for a decade of error, where only one error was tried
STEEPEST = -1.5  # that more weights are worth
BLOCK_COPIES = 11  # with which the layers between the blocks of mode `l+k` have to be right enough
ROOM = 0.1  # of what is allowed that the least errors of all layers may come to


@dataclass(frozen=True)
class Forecast:
    """What a promise takes, before anything is built."""

    promise: Promise
    copies: int | None  # m, where a layer is one-for-one
    reach: float | None  # decibels at the outputs that so many copies allow at most
    inputs: int | None  # that were given; None: random ones, as many as it takes
    used: int  # inputs that layers are made from …
    spared: bool  # … and whether others that were given are not
    need: Need  # of the layer that needs most of them
    _found: Sensitivity

    @property
    def possible(self) -> bool:
        """Whether the layers can be as right as they must."""
        return self.reach is None or self.reach >= self.built_to

    @property
    def built_to(self) -> float:
        """The decibels of the output that needs most, on the inputs that it is told of."""
        return -10 * math.log10(float(self.promise.allowed.min(initial=1.0)))

    def figures(self, blueprint: Blueprint) -> dict[str, Any]:
        """What was promised for `blueprint` and what it takes, for `plan` and `convert` to show."""
        kept, options = self.kept(blueprint), blueprint.options
        classes = any(port.tells_classes for port in blueprint.target.outputs)
        return {
            "sqnr": options.sqnr,
            "agreement": options.agreement if classes and options.agreement else None,
            "copies": self.copies,
            "built_to": self.built_to,
            "possible": self.possible,
            "reach": self.reach,
            "blocks": [name for name, _ in options.base_sizes if options.is_two_for_one(name)],
            "inputs": self.inputs,
            "used": self.used,
            "spared": self.spared,
            "wanted": math.ceil(self.need.inputs),
            "wanted_by": self.need.layer,
            "kept": kept,
            "kept_per_weight": kept / max(blueprint.target.weight_count, 1),
        }

    def kept(self, blueprint: Blueprint) -> int:
        """The weights that a ticket of `blueprint` will keep, roughly."""
        sizes = problems(blueprint)
        total, allowed = sum(sizes.values()), self.promise.allowed
        kept = 0.0
        mirrored = set[str | None]()  # blocks whose neurons come with their mirror images
        for step in blueprint.steps:
            if isinstance(step, Expand):
                if step.source.mirror_rows:
                    mirrored.add(step.name)
                kept += len(step.slots) * (2 if step.name in mirrored else 1) + step.constants
            elif isinstance(step, Build):
                felt, size = self.promise.sensitivity[step.name], sizes[step.name]
                least = allowed * size / total / np.maximum(felt, 1e-12)
                error = float(least.min(initial=MAX_ERROR))
                subset = _subset(self._found.kept[step.name], error)
                subset = _smaller(subset, members=step.base_size)
                kept += size * subset * (2 if step.bent or step.expand in mirrored else 1)
        return round(kept)


@one_blas_thread()
def promised(
    blueprint: Blueprint, calibration: Calibration, *, given: int | None
) -> tuple[Blueprint, Forecast]:
    """The plan with as many copies as the promise takes, unless they are given; and what it costs.

    In mode `l+k` also with the blocks that it takes. Of the `given` inputs some are those of the
    calibration; None: random ones. Raises InputError when the target cannot be run on them.
    """
    options = blueprint.options
    if options.mode is Mode.L_PLUS_K and not options.base_sizes:
        opening = _opening(forecast(blueprint, calibration, given=given, quiet=True))
        sizes = {name: MIN_NEURONS for name in opening}
        options = replace(options, base_sizes=tuple(sorted(sizes.items())))
        blueprint = plan(blueprint.target, options)
    made = forecast(blueprint, calibration, given=given)
    if made.copies is not None and options.base_size is None:
        blueprint = plan(blueprint.target, replace(options, base_size=made.copies))
    return blueprint, made


def forecast(
    blueprint: Blueprint, calibration: Calibration, *, given: int | None, quiet: bool = False
) -> Forecast:
    """What the ticket of `blueprint` may get wrong, and how many copies that takes.

    Arguments and errors as of `promised`; layers are tried on `quiet` copies, or on such as they
    will be.
    """
    random = given is None
    options, sizes, work = blueprint.options, problems(blueprint), target_work(blueprint.target)
    built_to = options.sqnr + (RANDOM_MARGIN_DB if random else MARGIN_DB)
    total = 10 ** (-built_to / 10)
    shares = {name: total * size / sum(sizes.values()) for name, size in sizes.items()}
    builds = [step for step in blueprint.steps if isinstance(step, Build)]
    bent = {step.linear.name for step in builds if step.bent}
    copied = {step.name: step.out_layout.copies > 1 for step in builds if step.one_for_one}
    found = sensitivity(
        blueprint.target,
        calibration,
        shares,
        copied=copied,
        bent=bent,
        work=work,
        seed=options.seed,
        quiet=quiet,
    )
    own = {port.name: port.scores for port in blueprint.target.outputs}
    weights = few_weights(sum(sizes.values()))
    needed = np.full(len(found.target.outputs), built_to)
    for i, name in enumerate(found.target.outputs):
        clean = found.target.clean()[i]
        inputs = uncertainty(clean, found.errors[i], telling=found.target.telling)
        unsure, rank = SURE * math.hypot(weights, inputs), clean.ndim
        # how real inputs differ from random ones is as much chance: both in squares
        margin = math.hypot(RANDOM_MARGIN_DB, unsure) if random else MARGIN_DB + unsure
        needed[i] = options.sqnr + margin
        # what class noise is of says nothing, but an output that is a class map has to be right
        classes = (rank == 2 and own[name] and not random) if name in own else rank > 1
        if classes and options.agreement:
            needed[i] = _needed(found, i, least=needed[i], share=options.agreement)
    made = Promise(10 ** (-needed / 10), found.layers, found.target)
    copies = reach = None
    if found.floors:
        copies, reach = _copies(found.least(found.floors), made, given=options.base_size)
        apart = found.deviations.cost(found.layers, copies)
        made = replace(made, apart=apart)
    need = max(
        needs(sized(blueprint.target, calibration.inputs.sizes), builds),
        key=lambda need: need.inputs,
    )
    return Forecast(
        made,
        copies,
        reach,
        inputs=given,
        used=calibration.inputs.count,
        spared=calibration.spare is not None,
        need=need,
        _found=found,
    )


def _subset(points: Sequence[tuple[float, float]], error: float) -> float:
    """Weights per problem at an error, from errors that were tried with theirs.

    More weights that hardly made fewer errors tell of what the trial itself gets wrong.
    """
    telling: list[tuple[float, float]] = []
    for tried, weights in sorted(points, key=lambda point: point[1]):
        if telling:
            less, more = math.log10(telling[-1][0] / tried), weights - telling[-1][1]
            if more > -STEEPEST * less:
                continue
        telling.append((tried, weights))
    if not telling:
        return 0.0
    x, y = (np.array(column) for column in zip(*telling, strict=True))
    x, slope = np.log10(x), SLOPE
    if np.ptp(x) > 0.2:
        slope = float(np.clip(np.polyfit(x, y, 1)[0], STEEPEST, SLOPE / 3))
    nearest = np.abs(x - np.log10(error)).argmin()
    return float(max(y[nearest] + slope * (np.log10(error) - x[nearest]), 0.05))


def _smaller(subset: float, *, members: int) -> float:
    """A subset of MEMBERS as one of more or fewer: s falls as 1 / ln(e·m / s)."""
    s = max(subset, 0.5)
    smaller = np.log(math.e * MEMBERS / s) / np.log(math.e * max(members, 2) / s)
    return subset * float(smaller)


def _opening(forecast: Forecast) -> set[str]:
    """The layers that open a block in mode `l+k`: as few as the promise takes with few copies.

    One after the other, where the copies' deviation ends with most effect.
    """
    found, allowed = forecast._found, forecast.promise.allowed[:, None]
    places, chosen = found.deviations.together(), set[str]()

    few = found.deviations.counts.index(BLOCK_COPIES)

    def worst(opening: Collection[str]) -> float:
        """What the layers' least errors come to, of what is allowed."""
        least = found.least(found.deviations.floors(opening)) / allowed
        return float(least.max(0)[min(few, least.shape[1] - 1)])

    while places and worst(chosen) > ROOM:
        place = min(places, key=lambda names: worst(chosen | names))
        places.remove(place)
        chosen |= place
    return chosen


def _copies(least: Doubles, made: Promise, *, given: int | None) -> tuple[int, float]:
    """The fewest copies with which the layers' `least` errors leave room in what is allowed.

    Else as many as there may be; or those that are `given`. And the decibels at the outputs that
    they allow at most. `least` [outputs, COPIES] are powers there.
    """
    room = (least <= ROOM * made.allowed[:, None]).all(0)
    copies = COPIES[int(room.argmax()) if room.any() else -1] if given is None else given
    decades = [np.interp(copies, COPIES, np.log10(np.maximum(of, 1e-30))) for of in least]
    share = float((10.0 ** np.array(decades) / made.allowed).max())  # of the output nearest to it
    return copies, -10 * math.log10(max(share, 1e-12) * float(made.allowed.min()))


def _needed(found: Sensitivity, output: int, *, least: float, share: float) -> float:
    """The decibels that an output of scores [N, classes, …] needs: `least`, and for `share`.

    While few inputs have another class, they are as many as their errors are large: the least error
    at which enough of them have tells how many do at a smaller one. Half of what may differ is kept
    for inputs that the target was not trained on, as those of a calibration often are.
    """
    clean, disturbed = found.target.clean()[output], found.errors[output]
    if clean.shape[1] < 2 or not disturbed:
        return least
    top, allowed = clean.argmax(1), max((1 - share) / 2, 1e-9)
    enough = min(DIFFERING / len(clean), MAX_DIFFERING)
    for decibels in np.arange(MOST_DB, -STEP_DB, -STEP_DB).tolist():
        size = 10 ** (-decibels / 20)
        differ = float(np.mean([(clean + size * error).argmax(1) != top for error in disturbed]))
        if differ >= enough:
            needed: float = decibels + 20 * math.log10(differ / allowed)
            return max(least, min(needed, MOST_DB))
    return least
