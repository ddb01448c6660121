"""How much an error in a layer disturbs the outputs, measured on the target alone.

Comes in: a Target and inputs. Goes out: for every layer and output the relative error power there
per relative error power of the layer's own output.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lt_onnx.budget.deviation import Deviations
from lt_onnx.budget.disturbance import Disturbance, Guess
from lt_onnx.construct.fed_target import TELLING, FedTarget, Layer
from lt_onnx.construct.noise_budget import MAX_ERROR
from lt_onnx.construct.stepwise_run import StepwiseRun
from lt_onnx.options import MAX_COPIES
from lt_onnx.planning.prediction import MAX_FELT_NUMBERS, felt_inputs
from lt_onnx.samples.choose import Calibration, whole_batches
from lt_onnx.target import Array, Doubles, Linear, Target, step_nodes

BATCH = 32
MAX_KEPT = 8  # layers whose errors at the outputs are kept
NEAR = 0.5  # decades of its error by which S does not change
MIN_DEVIATION = 1e-6  # of copies
COPIES = (6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 18, MAX_COPIES)  # that one-for-one layers may read …
TRIED_COPIES = (6, 8, 11, 14, MAX_COPIES)  # … of which errors are measured, the others lie between
USUAL_COPIES = 11  # with which it is seen what a layer hands on
LEAST_TOLD = 0.25  # of TELLING, of small layers: what is told by fewer leaves them too much
FIRST_FELT, FIRST_RATIO = 0.1, 1e-2  # S of a layer; its price to its error's power of STEEPNESS


@dataclass
class Sensitivity:
    """What errors of the layers come to at the outputs of `target`."""

    target: FedTarget
    layers: dict[str, Doubles]  # S [outputs], by layer
    errors: list[list[Doubles]]  # of every output, as some layers make them, of its power
    floors: dict[str, Doubles]  # least error power of a layer by COPIES that it reads, [COPIES]
    kept: dict[str, list[tuple[float, float]]]  # error powers that were tried, weights per problem
    deviations: Deviations  # of copies, by TRIED_COPIES

    def keep(self, errors: Sequence[Doubles | None]) -> None:
        """Errors [N, …] of every output as a layer makes them; None: it makes none."""
        for known, error in zip(self.errors, errors, strict=True):
            known += [error] if error is not None else []

    def least(self, floors: Mapping[str, Doubles]) -> Doubles:
        """What the least errors [m] of some layers come to at the outputs, [outputs, m]."""
        errors = [self.layers[name][:, None] * least for name, least in floors.items()]
        return np.asarray(np.sum(errors, 0)) if errors else np.zeros((len(self.errors), 1))


def sensitivity(
    target: Target,
    calibration: Calibration,
    shares: Mapping[str, float],
    *,
    copied: Mapping[str, bool],
    bent: Collection[str],
    work: int,
    seed: int,
    quiet: bool = False,
) -> Sensitivity:
    """Build every layer of `target` alone, somewhat wrong, and see what comes of it.

    Of layers that are to read copies (one-for-one), also how little wrong they can be; `copied`
    names them and says whether they put out copies as well. `bent` are layers that will treat
    positive and negative inputs each in their own way. Least errors are sought for copies as noisy
    as those before make them, or for `quiet` ones: such as blocks put out.

    Errors are felt on inputs of the calibration, half of them, if there are enough, such as layers
    are not made from. `shares` are the error powers that each layer may cause at an output; `work`
    are the target's multiply-adds for one input. A layer is built as a ticket's are, of subset sums
    with error feedback and a price that makes it as wrong as it may be: weak weights are left out,
    others are a little off.

    Raises InputError for a layer of which nothing finite can be told.
    """
    seen, tried = _inputs(target, calibration, work)
    fed = FedTarget(
        target,
        tried.feeds,
        tried.tensors,
        bent=bent,
        fresh=tried.fresh,
        drawn=calibration.inputs.is_random,
    )
    values = {port.name: [f[port.name] for f in [*seen, *tried.feeds]] for port in target.inputs}
    run = StepwiseRun(values, target.steps, opsets=target.opsets, constants=target.constants)
    found = Sensitivity(fed, {}, [[] for _ in fed.outputs], {}, {}, Deviations(TRIED_COPIES))
    # what all layers' errors come to is told as well where each is told as well as it is large
    usual = sum(shares.values()) / max(len(shares), 1)
    kept = {layer.name for layer in target.linears[:: -(-len(target.linears) // MAX_KEPT)]}
    guess = Guess(FIRST_FELT, FIRST_RATIO)
    for step in target.steps:
        output = run.run(*step_nodes(step), output=step.outputs[0])
        if isinstance(step, Linear):
            if copied:
                found.deviations.add_layer(step)
            x, batches, share = run.values[step.input], len(tried.feeds), shares[step.name]
            disturbance = Disturbance(step, x, output, seed, tried=batches)
            telling = TELLING * float(np.clip(share / usual, LEAST_TOLD, 1.0))
            felt, layer = _felt(disturbance, fed, share, telling=telling, guess=guess)
            found.layers[step.name], found.kept[step.name] = felt, disturbance.kept
            if layer is not None and step.name in kept:
                found.keep(fed.scaled_errors({step.name: layer}))
            most = float(felt.max(initial=0))
            if step.name in copied and most > 0:
                allowed = min(share / most, MAX_ERROR)
                floors = _floors(
                    disturbance, found.deviations, allowed, copied=copied[step.name], quiet=quiet
                )
                found.floors[step.name] = floors
        elif copied:
            found.deviations.add_node(step, run)
        run.drop([step])
    return found


@dataclass(frozen=True)
class _Tried:
    """What errors are felt on."""

    feeds: Sequence[Mapping[str, Array]]  # batches of inputs
    fresh: (
        int | None
    )  # of them the first, which layers are not made from; None: none is known to be
    tensors: Sequence[str]  # where they are felt


def _inputs(
    target: Target, calibration: Calibration, work: int
) -> tuple[Sequence[Mapping[str, Array]], _Tried]:
    """The inputs that layers are made from, in batches, and those that errors are felt on.

    As many of these as the target's `work` and the numbers that it puts out allow.
    """
    inputs, ports = calibration.inputs, target.inputs
    feed = inputs.batches(ports, 1)[0]
    tensors, together = _felt_tensors(target, feed), len(next(iter(feed.values())))
    each = sum(tensors.values()) / max(together, 1)
    most = max(int(MAX_FELT_NUMBERS / max(each, 1)), 2 * together)
    count = min(felt_inputs(target, work), most)
    seen, fresh = inputs.split(ports)
    spare = calibration.spare
    if spare is not None and spare.count > (fresh.count if fresh is not None else 0):
        fresh = spare
    count, half = (whole_batches(ports, n) for n in (count, -(-count // 2)))
    parts = [inputs.spread(count)] if fresh is None else [fresh.spread(half), seen.spread(half)]
    feeds = [feed for part in parts for feed in part.batches(ports, BATCH)]
    tried = _Tried(feeds, None if fresh is None else parts[0].count, list(tensors))
    return seen.batches(ports, BATCH), tried


def _floors(
    disturbance: Disturbance, deviations: Deviations, allowed: float, *, copied: bool, quiet: bool
) -> Doubles:
    """The least error power of a layer by COPIES that it reads, [COPIES]; `deviations` hear of it.

    `allowed` is the error power that it may have, `copied` says whether it puts out copies as well,
    `quiet` whether it is to read such as blocks put out.
    """
    layer = disturbance.linear
    noise = np.maximum(deviations.of(layer.input) * (not quiet), MIN_DEVIATION)
    pairs = zip(TRIED_COPIES, noise.tolist(), strict=True)
    own = np.array([disturbance.least(m, power)[0] for m, power in pairs])
    # of copies that are as noisy as what a layer may have makes them
    usual = max(USUAL_COPIES * allowed, float(np.interp(USUAL_COPIES, TRIED_COPIES, noise)))
    _, handed = disturbance.least(USUAL_COPIES, usual)
    floors = deviations.add_reading(layer, own=own, handed=handed, copied=copied)
    decades = np.log10(np.maximum(floors, 1e-30))
    return np.asarray(10 ** np.interp(COPIES, TRIED_COPIES, decades))


def _felt_tensors(target: Target, feed: Mapping[str, Array]) -> dict[str, int]:
    """The outputs of floats, and for every other one the last tensors of floats before it.

    With the numbers that each has for the inputs in `feed`.

    A class map is as true as the scores that it is made of. Raises InputError naming the step that
    cannot be run on `feed`.
    """
    first = {name: [value] for name, value in feed.items()}
    run = StepwiseRun(first, target.steps, opsets=target.opsets, constants=target.constants)
    makers, floats = (
        {name: step for step in target.steps for name in step.outputs},
        dict[str, int](),
    )
    for step in target.steps:
        run.run(*step_nodes(step), output=step.outputs[0])
        made = [name for name in step.outputs if name in run.values]
        values = {name: run.values[name][0] for name in made}
        floats |= {name: value.size for name, value in values.items() if value.dtype.kind == "f"}
        run.drop([step])
    found, pending = dict[str, int](), [port.name for port in reversed(target.outputs)]
    while pending:
        name = pending.pop()
        if name in floats:
            found[name] = floats[name]
        elif name in makers:
            pending += makers.pop(name).inputs
    return found


def _felt(
    disturbance: Disturbance, fed: FedTarget, share: float, *, telling: float, guess: Guess
) -> tuple[Doubles, Layer | None]:
    """Output error per error of a layer, [outputs], where its output error is about `share`.

    It is told by as many numbers as are `telling`. And the layer with that error; None where it
    cannot have one.
    """
    felt, layer = np.zeros(len(fed.outputs)), None
    error = min(share / guess.felt, MAX_ERROR)
    for _ in range(2):  # at an error that was guessed, and at one that follows from that
        drawn = disturbance.draw(error, guess)
        if drawn is None:
            break
        change, power = drawn
        layer, name = disturbance.changed(change), disturbance.linear.name
        draws = ({name: one} for one in disturbance.likely(change))
        felt = fed.mean_errors(draws, telling=telling) / power
        most = max(float(felt.max(initial=0)), 1e-9)
        guess.felt, nearer = most, min(share / most, MAX_ERROR)
        if abs(np.log10(nearer / power)) < NEAR:
            break
        error = nearer
    return felt, layer
