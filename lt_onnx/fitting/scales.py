"""The scales of a finished ticket, fitted together to its target's outputs; its masks stay.

In: a ticket's file, its plan, the means of its layers, inputs. Out: the file with other scales
where these are better on inputs that were kept out, else as it was; and a `ScaleFit`.

Each scale was chosen for its own layer's outputs. Here those of all copies of a channel are
multiplied by one factor, all of which are found together by gradient. What is derived stays:
scales of univariate neurons, and of rows that hand on constants.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import onnx
from msgspec import Meta
from onnx import numpy_helper

from lt_onnx.blueprint import Blueprint, Build
from lt_onnx.construct.fed_target import Layer
from lt_onnx.errors import InputError, ResourceError, UnsupportedError
from lt_onnx.files import atomic_write, data_of
from lt_onnx.manifest import SEAL_KEY, Manifest
from lt_onnx.options import Sigma, Weights
from lt_onnx.planning.memory import MAX_BATCH
from lt_onnx.reading.model_file import open_session
from lt_onnx.runtime import Session, by_batch, first_line
from lt_onnx.samples.choose import calibration_inputs
from lt_onnx.samples.samples import Samples
from lt_onnx.samples.variation import Variation
from lt_onnx.target import Array, Doubles, Floats, Target
from lt_onnx.verification.seeded import open_ticket
from lt_onnx.writing.seeded import seeded
from lt_onnx.writing.ticket import write_sealed

MIN_INPUTS, MAX_INPUTS = 20, 512
MIN_GAIN = 0.93  # of the errors, that new scales must come below: less may be chance
SHARES = (1.0, 0.5)  # of what was found, tried one after the other on the inputs kept out


@dataclass(frozen=True)
class ScaleFit:
    """What fitting the scales came to, in decibels of the worst output's variation."""

    inputs: Annotated[int, Meta(ge=0, description="that scales were fitted to")]
    fresh: Annotated[int, Meta(ge=0, description="kept out, that decided")]
    before_db: Annotated[float | None, Meta(description="on those kept out")] = None
    after_db: Annotated[float | None, Meta(description="the same; as before: nothing changed")] = (
        None
    )


def inputs_to_fit(given: Samples | None, target: Target, count: int, seed: int) -> Samples:
    """About `count` of the inputs given, or random ones.

    Raises UnsupportedError where no gradient can be taken of what the target makes of them, and
    InputError where it makes no floats.
    """
    count = min(max(count, MIN_INPUTS), MAX_INPUTS)
    inputs = calibration_inputs(given, target.inputs, count, seed).inputs
    _check(target, inputs)
    return inputs


def _check(target: Target, inputs: Samples) -> None:
    """Run the target's program once. Raises as `inputs_to_fit`."""
    import torch

    from lt_onnx.fitting.scaled_target import ScaledTarget

    own = {layer.name: Layer(layer.weight, layer.bias) for layer in target.linears}
    program = ScaledTarget(target, own, outputs=_floats(target))
    try:
        factors = torch.ones(program.count, requires_grad=True)
        outputs = program.run(inputs.batches(target.inputs, 1)[0], factors)
    except (RuntimeError, ValueError, TypeError, LookupError) as error:  # what torch raises
        raise UnsupportedError(
            f"{target.path}: torch cannot run it: {first_line(error)}; leave out `fit_scales`"
        ) from None
    if not any(output.requires_grad for output in outputs):
        raise InputError(
            f"{target.path}: none of its outputs holds floats that scales change: leave out "
            "`fit_scales`"
        )


def fit_scales(
    path: Path, blueprint: Blueprint, means: Mapping[str, Layer], inputs: Samples
) -> ScaleFit:
    """Fit the scales of the ticket at `path`, which `blueprint` is the plan of, and rewrite it.

    `means` are its layers in the mean of their copies, by name. Of the `inputs` every fifth is kept
    out: if errors do not fall there, or an output's rises, scales stay. Raises ResourceError, and
    InputError where one of the networks cannot be run.
    """
    from lt_onnx.fitting.descent import Batches, descend
    from lt_onnx.fitting.scaled_target import ScaledTarget

    target = blueprint.target
    seen, fresh = inputs.split(target.inputs)
    if fresh is None:
        return ScaleFit(0, 0)
    model, manifest = open_ticket(path)
    feeds, kept = (part.batches(target.inputs, MAX_BATCH) for part in (seen, fresh))
    wanted = _outputs(open_session(target.path, threads=1), [*feeds, *kept], _floats(target))
    names = [name for name in _floats(target) if _varies(wanted, name)]
    found = _outputs(_session(path, model), [*feeds, *kept], names)
    powers = _powers(wanted[len(feeds) :], names)
    before = _errors(found[len(feeds) :], wanted[len(feeds) :], names) / powers
    if not names or not np.isfinite(before).all() or not before.max() > 0:
        return ScaleFit(seen.count, fresh.count)

    def batches(part: slice) -> Batches:
        errors = [
            [got[name] - true[name] for name in names]
            for got, true in zip(found[part], wanted[part], strict=True)
        ]
        return Batches([*feeds, *kept][part], errors, _powers(wanted[part], names).tolist())

    by_layer = blueprint.options.sigma is Sigma.LAYER
    program = ScaledTarget(target, means, outputs=names, by_layer=by_layer)
    try:
        theta = descend(program, batches(slice(len(feeds))), batches(slice(len(feeds), None)))
    except (RuntimeError, MemoryError) as error:  # torch has no other for want of memory
        raise ResourceError(
            f"{path}: is whole, but its scales could not be fitted: {first_line(error)}"
        ) from None
    for share in SHARES if theta.any() else ():
        scaled = _scaled(model, blueprint, share * theta, program.places, by_layer=by_layer)
        made = _outputs(_session(path, scaled), kept, names)
        after = _errors(made, wanted[len(feeds) :], names) / powers
        if (after <= before).all() and after.sum() < MIN_GAIN * before.sum():
            _write(path, scaled, manifest, blueprint)
            return ScaleFit(seen.count, fresh.count, _decibels(before), _decibels(after))
    return ScaleFit(seen.count, fresh.count, _decibels(before), _decibels(before))


def _floats(target: Target) -> list[str]:
    return [port.name for port in target.outputs if port.dtype.kind == "f"]


def _session(path: Path, model: onnx.ModelProto) -> Session:
    """A ticket as it is in memory, its data where they are. Sums are not shared by threads."""
    return Session(path, content=model.SerializeToString(), threads=1)


def _outputs(
    session: Session, feeds: Sequence[Mapping[str, Array]], names: Sequence[str]
) -> list[dict[str, Array]]:
    return by_batch(feeds, lambda feed: session.run(feed, names))


def _varies(batches: Sequence[Mapping[str, Array]], name: str) -> bool:
    finite = all(np.isfinite(batch[name]).all() for batch in batches)
    return finite and float(_powers(batches, [name])[0]) > 0


def _powers(batches: Sequence[Mapping[str, Array]], names: Sequence[str]) -> Doubles:
    """The power of every output's variation."""
    powers = []
    for name in names:
        variation = Variation()
        for batch in batches:
            variation.add(np.atleast_1d(batch[name]))
        powers.append(variation.power)
    return np.array(powers)


def _errors(
    made: Sequence[Mapping[str, Array]], wanted: Sequence[Mapping[str, Array]], names: Sequence[str]
) -> Doubles:
    """The squared error of every output."""
    errors = np.zeros(len(names))
    for got, true in zip(made, wanted, strict=True):
        off = [np.square(got[name] - true[name], dtype=np.float64).sum() for name in names]
        errors += np.array(off)
    return errors


def _decibels(errors: Doubles) -> float:
    return -10 * float(np.log10(errors.max()))


def _scaled(
    model: onnx.ModelProto,
    blueprint: Blueprint,
    theta: Doubles,
    places: Mapping[str, slice],
    *,
    by_layer: bool,
) -> onnx.ModelProto:
    """The ticket with the scales of a channel's rows multiplied by 1 + θ of that channel."""
    steps = {step.scale: step for step in blueprint.steps if isinstance(step, Build)}
    scaled = onnx.ModelProto()
    scaled.CopyFrom(model)
    for tensor in scaled.graph.initializer:
        if (step := steps.get(tensor.name)) is None:
            continue
        own, channel = theta[places[step.name]], step.out_layout.channel
        factor = np.where(channel >= 0, 1 + own[0 if by_layer else np.maximum(channel, 0)], 1.0)
        scale: Floats = numpy_helper.to_array(tensor)
        fitted = (scale.reshape(-1) * factor).astype(np.float32).reshape(scale.shape)
        tensor.CopyFrom(numpy_helper.from_array(fitted, tensor.name))
    return scaled


def _write(path: Path, model: onnx.ModelProto, manifest: Manifest, blueprint: Blueprint) -> None:
    """Put a ticket with new scales in its own place; its data file stays."""
    if blueprint.options.weights is Weights.SEEDED:
        model = seeded(model, manifest)
    else:
        rest = [entry for entry in model.metadata_props if entry.key != SEAL_KEY]
        del model.metadata_props[:]
        model.metadata_props.extend(rest)
    with atomic_write(path, force=True) as streams:
        data = data_of(path)
        if data.is_file():
            with data.open("rb") as stream:
                write_sealed(model, [*streams, stream], path)
        else:
            write_sealed(model, streams, path)
