"""The error that every output may have: what a ticket is built to (`Options.sqnr`, `agreement`)."""

import numpy as np

from lt_onnx.blueprint import Blueprint, Build
from lt_onnx.budget.sensitivity import COPIES, Sensitivity, sensitivity
from lt_onnx.construct.noise_budget import Promise
from lt_onnx.planning.allocation import problems
from lt_onnx.samples.samples import Samples

MARGIN_DB = 2.0  # that is built beyond the promise: other inputs differ from these …
RANDOM_MARGIN_DB = 8.0  # … and real ones more from random ones
MOST_DB = 60.0  # of an output, whatever agreement asks for
STEP_DB = 0.5
ROOM = 0.3  # of what is allowed that the least errors of all layers may come to


def promise(
    blueprint: Blueprint, inputs: Samples, *, random: bool, work: int
) -> tuple[Promise, int | None]:
    """What the ticket of `blueprint` may get wrong, and how many copies that takes.

    `inputs` are for calibration, `random` where none were given; `work` are the target's
    multiply-adds for one of them. m is None where no layer is one-for-one. Raises InputError when
    the target cannot be run.
    """
    options, sizes = blueprint.options, problems(blueprint)
    built_to = options.sqnr + (RANDOM_MARGIN_DB if random else MARGIN_DB)
    total = 10 ** (-built_to / 10)
    shares = {name: total * size / sum(sizes.values()) for name, size in sizes.items()}
    builds = [step for step in blueprint.steps if isinstance(step, Build)]
    bent = {step.linear.name for step in builds if step.bent}
    copied = {step.name: step.out_layout.copies > 1 for step in builds if step.one_for_one}
    found = sensitivity(
        blueprint.target, inputs, shares, copied=copied, bent=bent, work=work, seed=options.seed
    )
    own = {port.name for port in blueprint.target.outputs}
    needed = np.full(len(found.target.outputs), built_to)
    for i, name in enumerate(found.target.outputs):
        rank = found.target.clean()[i].ndim
        # what class noise is of says nothing, but an output that is a class map has to be right
        if (rank == 2 and not random) if name in own else rank > 1:
            needed[i] = _needed(found, i, least=built_to, share=options.agreement)
    made = Promise(10 ** (-needed / 10), found.layers, found.target)
    return made, _copies(found, made) if found.floors else None


def _copies(found: Sensitivity, made: Promise) -> int:
    """The fewest copies with which the layers' least errors leave room in what is allowed."""
    least = np.sum(
        [found.layers[name][:, None] * floors for name, floors in found.floors.items()], 0
    )  # [outputs, COPIES]
    room = (least <= ROOM * made.allowed[:, None]).all(0)
    return COPIES[int(room.argmax())] if room.any() else COPIES[-1]


def _needed(found: Sensitivity, output: int, *, least: float, share: float) -> float:
    """The decibels that an output of scores [N, classes, …] needs: `least`, and for `share`.

    Half of what may differ is kept for inputs that the target was not trained on, as those of a
    calibration often are.
    """
    clean, disturbed, needed = found.target.clean()[output], found.errors[output], least
    if clean.shape[1] < 2 or not disturbed:
        return least
    top = clean.argmax(1)
    while needed < MOST_DB:
        scale = 10 ** (-needed / 20)
        agreed = [((clean + scale * error).argmax(1) == top).mean() for error in disturbed]
        if np.mean(agreed) >= 1 - (1 - share) / 2:
            break
        needed += STEP_DB
    return needed
