"""What Python callers use: a network turned into a ticket, and two networks compared."""

from collections.abc import Mapping
from dataclasses import fields
from os import PathLike
from pathlib import Path
from typing import Any

from lt_onnx.errors import InputError
from lt_onnx.options import (
    ONE_WORKER,
    Device,
    Init,
    Mode,
    Options,
    Output,
    Pictures,
    Select,
    Sigma,
    Weights,
    Workers,
    check_seed,
    choose,
    make_options,
)
from lt_onnx.packing.unpack import unpacked_if_packed
from lt_onnx.pipeline import Announce, Job, run
from lt_onnx.progress import Progress, told
from lt_onnx.reading.graph import read_compared
from lt_onnx.reading.model_file import GivenModel, is_path, on_disk
from lt_onnx.report.ticket import Ticket
from lt_onnx.samples.choose import Given, loaded
from lt_onnx.samples.random_inputs import random_samples
from lt_onnx.samples.samples import AS_THEY_ARE
from lt_onnx.validation.fidelity import Fidelity
from lt_onnx.validation.limits import Limit, Limits
from lt_onnx.validation.outputs import compare_outputs


def convert(
    model: GivenModel,
    output: str | PathLike[str] | None = None,
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
    price_bits: float = 0.0,
    prices: Mapping[str, float] | None = None,
    base_sizes: Mapping[str, int] | None = None,
    weights: Weights | str = Weights.FOLDED,
    fp16: bool = False,
    collapse: bool = False,
    fit_scales: bool = False,
    calibration: Given = None,
    calibration_count: int | None = None,
    samples: Given = None,
    pictures: Pictures = AS_THEY_ARE,
    emit_source: bool = False,
    max_memory: int | None = None,
    force: bool = False,
    resume: bool = False,
    limits: Limits | None = None,
    device: Device | str = Device.AUTO,
    workers: Workers = ONE_WORKER,
    validate: bool = True,
    all_samples: bool = False,
    per_layer: bool = False,
    bound: bool = False,
    progress: Progress | bool = False,
    announce: Announce | None = None,
    example_inputs: Any = None,
) -> Ticket:
    """Turn a trained network into a strong lottery ticket and write it to `output`.

    Args:
        model: path of an ONNX file, or a model in memory: an `onnx.ModelProto`, or a torch module
            with its `example_inputs` (then `output` is needed).
        output: path of the ticket; default: `<target>.ticket.onnx` beside the target.
        mode: `l+1` (Theorem 3.2, Algorithm 2; the default), `2l` (Theorem 3.1, Algorithm 1), or
            `l+k`: `l+1` with blocks of `2l` where copies come too far apart.
        base_size: m, elements of a base set, 2 to 32; None chooses block by block.
        tolerance: ε per normalised parameter; decides for `smallest`, counts misses otherwise.
        select: `noise`, `smallest` (the paper's rule) or `best`.
        sigma: one scale per output `channel` or per `layer`.
        init: σ of the source: `unit`, `kaiming`, `xavier`, `lecun`. Masks do not depend on it.
        seed: of the source, 0 to 2^64 - 1.
        price: μ, what a kept weight costs, for study; None leaves it to the promise.
        sqnr: what the ticket is built to: decibels of every output's variation over inputs that
            the construction does not see. A ticket that misses it has not passed.
        agreement: the same for outputs of class scores: share of inputs with equal top-1; 0: none,
            as for regression.
        price_bits: with `mode=2l`, what a bit of the ticket's pack costs, in kept weights, 0.01 to
            100: packs a tenth smaller, tickets a fifth larger; 0: packs are as they come.
        prices: μ of single layers, by name.
        base_sizes: m of single layers that open a block, by name.
        weights: store products (`folded`), source and mask (`masked`), what is kept (`sparse`), or
            mask codes and a generator that makes the numbers (`seeded`).
        fp16: store random weights in half precision.
        collapse: with `mode=2l` and `weights=seeded`, sum each block into one layer like its own.
        fit_scales: when the masks are made, fit the scales of all layers together to the target's
            outputs, by gradient: the same masks and size, fewer errors. Needs torch, and about as
            long as the construction again.
        calibration: inputs for construction: an npz or npy file, a folder of images, a dict of
            arrays [N, …] by input, or the array of a single input; None: random inputs with
            1/f-like spectra.
        calibration_count: how many of them; None: as many as the layers need and time allows.
        samples: the same for validation, in a dict also `labels` [N]; None: calibration inputs
            that were kept out of the construction, or random ones of another seed.
        pictures: how images in a folder become inputs.
        emit_source: also write the unmasked network to `<output stem>.source.onnx`.
        max_memory: bytes; more predicted is refused.
        force: overwrite what exists, but never what is read.
        resume: keep what is finished, so that the same call goes on after a kill to the same bytes.
        limits: what validation must hold for `Ticket.passed`.
        device: where subset sums are solved: `auto`, `cpu` or `cuda`; the ticket is the same.
        workers: who solves the subset sums of a large network; the ticket is the same.
        validate: compare with the target; without, `report.fidelity` is None, the proof decides.
        all_samples: validate on all `samples`; without, on as many as cost what construction does.
        per_layer: also find where error enters, layer by layer.
        bound: also certify the largest error over the box around the validation inputs.
        progress: True draws bars, on stderr or in a notebook; a function is called with (stage,
            share done).
        announce: called before any work with the plan, its predicted sizes and the promise's cost.
        example_inputs: of a torch module: a tensor, a sequence of them, or a dict by argument of
            its `forward`, batch first. The network is exported with an open batch axis; its inputs
            are called as those arguments.

    Raises:
        InputError, UnsupportedError: the model, the samples or an argument cannot be used, or the
            output exists, is an input under another name, or is being written by another process.
        ResourceError: not enough memory or disk.
        KeyboardInterrupt: stopped. A ticket that is finished stays, as without memory to judge it.
    """
    return _convert(**locals())


def _convert(model: GivenModel, output: str | PathLike[str] | None, **arguments: Any) -> Ticket:
    """`convert`: sort its arguments into groups, and make the ticket."""
    if not is_path(model) and output is None:
        raise InputError("a model in memory needs an `output`")
    example_inputs, progress = arguments.pop("example_inputs"), arguments.pop("progress")

    def taken(group: type) -> dict[str, Any]:
        return {f.name: arguments.pop(f.name) for f in fields(group) if f.name in arguments}

    options = make_options(**taken(Options))
    written = Output(path=None if output is None else Path(output), **taken(Output))
    arguments["device"] = choose(Device, "device", arguments["device"])
    arguments = {name: value for name, value in arguments.items() if value is not None}
    with on_disk(model, example_inputs) as target, told(progress) as tell:
        return run(Job(target, options, written, progress=tell, **arguments))


def validate(
    target: GivenModel,
    ticket: GivenModel,
    samples: Given = None,
    *,
    count: int = 64,
    seed: int = 0,
    pictures: Pictures = AS_THEY_ARE,
    max_abs: Limit = None,
    max_rel: Limit = None,
    min_sqnr: Limit = None,
    min_agreement: Limit = None,
    max_accuracy_drop: Limit = None,
    device: Device | str = Device.CPU,
    progress: Progress | bool = False,
) -> Fidelity:
    """Run two networks on the same inputs and compare their outputs.

    Args:
        target: path of the target, or an `onnx.ModelProto`.
        ticket: the ticket, or any network of the same outputs; a pack (.ltz) too.
        samples: the inputs: an npz or npy file, a folder of images, a dict of arrays [N, …] by
            input and `labels` [N] if there are any, or the array of a single input; None: random
            ones.
        count: how many random inputs.
        seed: of random inputs.
        pictures: how images in a folder become inputs.
        max_abs: largest error allowed. Limits are numbers, or a dict of them by output; what they
            come to is in `Fidelity.checks`, and decides `Fidelity.passed`.
        max_rel: largest relative error allowed.
        min_sqnr: least decibels of every output's variation.
        min_agreement: least share of equal top-1, of class scores.
        max_accuracy_drop: largest loss of accuracy, with `labels`.
        device: where onnxruntime runs both: `cpu`, `cuda`, or `auto`, which is `cpu` here.
        progress: True draws a bar; a function is called with (stage, share done).

    Raises:
        InputError: one of them cannot be run, their outputs do not correspond, the samples do not
            fit, or a limit cannot be judged.
    """
    if count < 1:
        raise InputError(f"`count` is {count}; give 1 or more")
    check_seed(seed)
    limits = Limits(max_abs, max_rel, min_sqnr, min_agreement, max_accuracy_drop)
    where = "cuda" if choose(Device, "device", device) is Device.CUDA else "cpu"
    with on_disk(target) as first, on_disk(ticket) as given, unpacked_if_packed(given) as second:
        network = read_compared(first, second)
        ports = network.inputs
        if samples is None:
            inputs = random_samples(ports, count, seed)
        else:
            inputs = loaded(samples, ports, pictures)
        with told(progress) as tell:
            return compare_outputs(
                first,
                second,
                inputs,
                ports,
                limits,
                outputs=network.outputs,
                device=where,
                progress=lambda share: tell("validate", share),
            )
