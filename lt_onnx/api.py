"""What Python callers use: one call that turns a network into a ticket."""

from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from lt_onnx.errors import InputError
from lt_onnx.options import (
    Device,
    Init,
    Mode,
    Options,
    Output,
    Select,
    Sigma,
    Weights,
    choose,
    make_options,
)
from lt_onnx.pipeline import Announce, Job, Ticket, run
from lt_onnx.reading.model_file import GivenModel, on_disk
from lt_onnx.samples.samples import Samples
from lt_onnx.validation.limits import Limits
from lt_onnx.writing.build import Progress


def convert(
    model: GivenModel,
    output: str | Path | None = None,
    *,
    mode: Mode | str = Mode.L_PLUS_1,
    base_size: int | None = None,
    tolerance: float = 0.01,
    select: Select | str = Select.NOISE,
    sigma: Sigma | str = Sigma.CHANNEL,
    init: Init | str = Init.UNIT,
    seed: int = 0,
    price: float | None = None,
    sqnr: float = 30.0,
    agreement: float = 0.99,
    prices: Mapping[str, float] | None = None,
    base_sizes: Mapping[str, int] | None = None,
    weights: Weights | str = Weights.FOLDED,
    fp16: bool = False,
    collapse: bool = False,
    calibration: str | Path | Samples | None = None,
    calibration_count: int | None = None,
    samples: str | Path | Samples | None = None,
    emit_source: bool = False,
    max_memory: int | None = None,
    force: bool = False,
    resume: bool = False,
    limits: Limits | None = None,
    device: Device | str = Device.AUTO,
    validate: bool = True,
    all_samples: bool = False,
    per_layer: bool = False,
    bound: bool = False,
    progress: Progress | None = None,
    announce: Announce | None = None,
) -> Ticket:
    """Turn a trained network into a strong lottery ticket and write it to `output`.

    Args:
        model: path of an ONNX file, or a model in memory (then `output` is needed).
        output: path of the ticket; default: `<target>.ticket.onnx` beside the target.
        mode: `l+1` (Theorem 3.2, Algorithm 2; the default) or `2l` (Theorem 3.1, Algorithm 1).
        base_size: m, elements of a base set, 2 to 32; None chooses block by block.
        tolerance: ε per normalised parameter; decides for `smallest`, counts misses otherwise.
        select: `noise`, `smallest` (the paper's rule) or `best`.
        sigma: one scale per output `channel` or per `layer`.
        init: σ of the source: `unit`, `kaiming`, `xavier`, `lecun`. Masks do not depend on it.
        seed: of the source, 0 to 2^64 - 1.
        price: μ, what a kept weight costs, for study; None leaves it to the promise.
        sqnr: what the ticket is built to: decibels of every output's variation over inputs that
            the construction does not see. A ticket that misses it has not passed.
        agreement: the same for outputs of class scores: share of inputs with equal top-1.
        prices: μ of single layers, by name.
        base_sizes: m of single layers that open a block, by name.
        weights: store products (`folded`), source and mask (`masked`), what is kept (`sparse`), or
            mask codes and a generator that makes the numbers (`seeded`).
        fp16: store random weights in half precision.
        collapse: with `mode=2l` and `weights=seeded`, sum each block into one layer like its own.
        calibration: inputs for construction; None: random inputs with 1/f-like spectra.
        calibration_count: how many of them; None: what takes seconds. More make truer tickets.
        samples: inputs for validation; None: random normal inputs.
        emit_source: also write the unmasked network to `<output stem>.source.onnx`.
        max_memory: bytes; more predicted is refused.
        force: overwrite what exists, but never what is read.
        resume: keep what is finished, so that the same call goes on after a kill to the same bytes.
        limits: what validation must hold for `Ticket.passed`.
        device: where subset sums are solved: `auto`, `cpu` or `cuda`; the ticket is the same.
        validate: compare with the target; without, `report.fidelity` is None, the proof decides.
        all_samples: validate on all `samples`; without, on as many as cost what construction does.
        per_layer: also find where error enters, layer by layer.
        bound: also certify the largest error over the box around the validation inputs.
        progress: called with (stage, share done).
        announce: called before any work with the plan, its predicted sizes and the promise's cost.

    Raises:
        InputError, UnsupportedError: the model, the samples or an argument cannot be used, or the
            output exists, is an input under another name, or is being written by another process.
        ResourceError: not enough memory or disk.
        KeyboardInterrupt: stopped. A ticket that is finished stays, as without memory to judge it.
    """
    return _convert(**locals())


def _convert(model: GivenModel, output: str | Path | None, **arguments: Any) -> Ticket:
    """`convert`: sort its arguments into groups, and make the ticket."""
    if output is None and not isinstance(model, str | Path):
        raise InputError("a model in memory needs an `output`")

    def taken(group: type) -> dict[str, Any]:
        return {f.name: arguments.pop(f.name) for f in fields(group) if f.name in arguments}

    options = make_options(**taken(Options))
    written = Output(path=None if output is None else Path(output), **taken(Output))
    arguments["device"] = choose(Device, "device", arguments["device"])
    arguments = {name: value for name, value in arguments.items() if value is not None}
    with on_disk(model) as target:
        return run(Job(target, options, written, **arguments))
