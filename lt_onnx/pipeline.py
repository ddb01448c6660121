"""The sequence: target → blueprint → construct → ticket → verify → validate → report."""

import math
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, Unpack

import onnx

from lt_onnx.blueprint import Blueprint
from lt_onnx.construct.results import LayerStats
from lt_onnx.errors import InputError, LtOnnxError, ResourceError, UnsupportedError
from lt_onnx.files import check_place
from lt_onnx.options import Device, Init, Mode, Options, Select, Sigma, Weights, make_options
from lt_onnx.planning.allocation import check_names
from lt_onnx.planning.plan import plan
from lt_onnx.planning.prediction import Prediction, predict
from lt_onnx.reading.lowering import read_target
from lt_onnx.report.command import command_of
from lt_onnx.report.document import Report, conversion
from lt_onnx.samples.samples import Samples, drawn_sizes, load_samples, random_samples
from lt_onnx.search.ladder import Rung, Wish, lowest
from lt_onnx.stopwatch import Stopwatch
from lt_onnx.subset_sum import DeviceError, resolve
from lt_onnx.target import Target
from lt_onnx.units import size_text
from lt_onnx.validation.bound.certify import Bound, certified_bound
from lt_onnx.validation.fidelity import Fidelity
from lt_onnx.validation.limits import Limits
from lt_onnx.validation.outputs import validate as compare
from lt_onnx.validation.per_layer import LayerError, trace
from lt_onnx.verification import verify
from lt_onnx.writing.build import Progress, fingerprint, write_source, write_ticket
from lt_onnx.writing.checkpoint import Checkpoint, discard
from lt_onnx.writing.ticket import files_of, is_of

JUDGES = 128  # inputs that settings are judged by …
BLEND = 0.75  # … and how much of one there is in each
TRACED = 128  # inputs that layers are compared on: their errors are alike from one to the next
# what validation on random inputs may cost: multiply-adds of the ticket, numbers drawn
VALIDATION_WORK, VALIDATION_NUMBERS = 3e11, 1 << 21


@dataclass(frozen=True)
class Ticket:
    """A written ticket: its file and everything that was found about it."""

    path: Path
    report: Report
    source: Path | None = None
    resumed: int = 0  # layers that an interrupted run had finished

    @property
    def passed(self) -> bool:
        """Genuine, and within the limits asked for."""
        return self.report.passed


class Words(TypedDict, total=False):
    """The words that `make_options` turns into `Options`, each with a default."""

    mode: Mode | str
    base_size: int | None
    tolerance: float
    select: Select | str
    sigma: Sigma | str
    init: Init | str
    seed: int
    price: float | None
    dearness: float
    prices: Mapping[str, float]
    base_sizes: Mapping[str, int]
    weights: Weights | str
    fp16: bool


@dataclass(frozen=True)
class Job:
    """One conversion: what `convert` was asked for, the construction's options apart."""

    target: Path
    output: Path
    calibration: str | Path | Samples | None = None
    samples: str | Path | Samples | None = None
    emit_source: bool = False
    max_memory: int | None = None
    force: bool = False
    resume: bool = False
    limits: Limits | None = None  # None: nothing is asked
    device: Device | str = Device.AUTO
    validate: bool = True
    per_layer: bool = False
    bound: bool = False
    calibration_count: int | None = None
    progress: Progress = lambda stage, share: None
    announce: Callable[[Blueprint, Prediction], None] = lambda blueprint, prediction: None


def convert(
    model: str | Path | onnx.ModelProto,
    output: str | Path | None = None,
    *,
    target_sqnr: float | None = None,
    target_agreement: float | None = None,
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
    per_layer: bool = False,
    bound: bool = False,
    progress: Progress | None = None,
    announce: Callable[[Blueprint, Prediction], None] | None = None,
    **words: Unpack[Words],
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
        price: μ, what a kept weight costs; None chooses by mode.
        dearness: power of a layer's size that the price follows; below 0 small layers save.
        prices: μ of single layers, by name.
        base_sizes: m of single layers that open a block, by name.
        weights: store products (`folded`), source and mask (`masked`), or what is kept (`sparse`).
        fp16: store random weights in half precision.
        target_sqnr: decibels; with it base size and price are found: the smallest setting whose
            ticket has them at every output, on inputs that the construction does not see.
        target_agreement: share of equal top-1; the same for classifiers.
        calibration: inputs for construction; None: random inputs with 1/f-like spectra.
        calibration_count: how many of them; None: what takes seconds. More make truer tickets.
        samples: inputs for validation; None: random normal inputs.
        emit_source: also write the unmasked network to `<output stem>.source.onnx`.
        max_memory: bytes; more predicted is refused.
        force: overwrite a ticket that exists.
        resume: keep what is finished beside the output while it is made, so that the same call
            goes on from there after a kill; the ticket is the same, byte for byte.
        limits: what validation must hold for `Ticket.passed`.
        device: where subset sums are solved: `auto`, `cpu` or `cuda`; the ticket is the same.
        validate: compare with the target; without, `report.fidelity` is None, the proof decides.
        per_layer: also find where error enters, layer by layer.
        bound: also certify the largest error over the box around the validation inputs.
        progress: called with (stage, share done).
        announce: called once with the plan and its predicted sizes, before any work.

    Raises:
        InputError, UnsupportedError: the model, the samples or an argument cannot be used, or the
            output exists.
        ResourceError: not enough memory or disk.
    """
    options = make_options(**words)
    if calibration_count is not None and calibration_count < 1:
        raise InputError(f"`calibration_count` is {calibration_count}; give 1 or more")
    wish = Wish(target_sqnr, target_agreement)
    if limits is not None and limits != Limits() and not validate:
        raise InputError("limits are judged by validation: drop them, or `validate=False`")
    if isinstance(model, onnx.ModelProto) and output is None:
        raise InputError("a model in memory needs an output path")
    with _on_disk(model) as path:
        job = Job(
            path,
            Path(output) if output is not None else path.with_name(f"{path.stem}.ticket.onnx"),
            calibration,
            samples,
            emit_source,
            max_memory,
            force,
            resume,
            limits,
            device,
            validate,
            per_layer,
            bound,
            calibration_count,
        )
        if progress is not None:
            job = replace(job, progress=progress)
        if announce is not None:
            job = replace(job, announce=announce)
        return run(job, _search(job, options, wish) if wish else options)


@contextmanager
def _on_disk(model: str | Path | onnx.ModelProto) -> Iterator[Path]:
    """The path of a model; one in memory is written to a temporary file."""
    if not isinstance(model, onnx.ModelProto):
        yield Path(model)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "target.onnx"
        onnx.save(model, str(path), save_as_external_data=model.ByteSize() > 1 << 30)
        yield path


def _search(job: Job, options: Options, wish: Wish) -> Options:
    """The smallest setting that grants a wish, each judged by a ticket that is really made."""
    if not job.output.parent.is_dir():
        raise InputError(f"{job.output}: its folder does not exist")
    if options.base_size is not None or options.price is not None:
        raise InputError("a target finds `base_size` and `price` itself: drop them")
    seen, judges = _split(job.calibration, read_target(job.target), options.seed)

    def attempt(rung: Rung) -> Fidelity:
        prefix = ".lt-onnx-"
        with tempfile.TemporaryDirectory(dir=job.output.parent, prefix=prefix) as folder:
            trial = Job(
                job.target,
                Path(folder) / "tried.onnx",
                seen,
                judges,
                device=job.device,
                max_memory=job.max_memory,
                calibration_count=job.calibration_count,
            )
            tried = run(trial, replace(options, base_size=rung.base_size, price=rung.price))
        job.progress("search", 0.5)
        assert tried.report.fidelity is not None
        return tried.report.fidelity

    rung = lowest(options.mode, wish, attempt)
    return replace(options, base_size=rung.base_size, price=rung.price)


def run(job: Job, options: Options) -> Ticket:
    """Construct, write, prove and compare one ticket. Raises as `convert`."""
    watch = Stopwatch()
    on = usable(job.device)
    path, out = job.target, job.output
    with watch("read"):
        target = read_target(path)
        if not target.linears:
            raise UnsupportedError(
                f"{path}: there is no layer to construct: no Conv, Gemm or MatMul with constant "
                "weights"
            )
        blueprint = plan(target, options)
        check_names(blueprint)
        prediction = predict(blueprint, job.emit_source, job.validate, job.calibration_count)
        source = out.with_name(f"{out.name.removesuffix('.onnx')}.source.onnx")
        files = files_of(out, blueprint, source=False)
        if job.emit_source:
            files += files_of(source, blueprint, source=True)
        force = job.force or (job.resume and is_of(out, target, options))
        check_room(files, path, prediction, job.max_memory, force=force)
        count = prediction.calibration_count
        inputs = _inputs(job.calibration, target, count, options.seed, smooth=True)
        judges = min(
            VALIDATION_WORK / max(prediction.multiply_adds, 1),
            VALIDATION_NUMBERS / max(sum(math.prod(drawn_sizes(p)) for p in target.inputs), 1),
        )
        judged = _inputs(
            job.samples,
            target,
            int(min(max(judges, min(4, count)), 64)),
            options.seed + 1,
            smooth=False,
            whole=True,
        )
        if job.limits is not None:
            job.limits.refuse(target.outputs, judged.labels is not None)
    job.announce(blueprint, prediction)

    with ExitStack() as stack:
        checkpoint = None
        if job.resume:
            key = fingerprint(blueprint, inputs)
            checkpoint = stack.enter_context(Checkpoint(out, key))
        else:
            discard(out)
        resumed = len(checkpoint.found) if checkpoint is not None else 0
        blueprint, stats = write_ticket(blueprint, out, inputs, on, watch, job.progress, checkpoint)
        if job.emit_source:
            with watch("source"):
                write_source(blueprint, source, job.progress)
        try:
            report = _judge(job, options, blueprint, stats, inputs, judged, watch)
        except LtOnnxError:  # one of the two cannot be run: nothing is left of it
            for file in files:
                file.unlink(missing_ok=True)
            raise
    return Ticket(out, report, source if job.emit_source else None, resumed)


def _judge(
    job: Job,
    options: Options,
    blueprint: Blueprint,
    stats: list[LayerStats],
    inputs: Samples,
    judged: Samples,
    watch: Stopwatch,
) -> Report:
    """Prove a written ticket and compare it with its target."""
    path, out, target = job.target, job.output, blueprint.target
    with watch("verify"):
        proof = verify(out, target.sha256)
    fidelity = None
    if job.validate:
        with watch("validate"):
            fidelity = compare(
                path,
                out,
                judged,
                target.inputs,
                job.limits or Limits(),
                progress=lambda share: job.progress("validate", share),
            )
    traced: list[LayerError] | None = None
    if job.per_layer:
        with watch("per layer"):
            traced = trace(path, out, judged.first(TRACED))
    certified: Bound | None = None
    if job.bound:
        with watch("bound"):
            certified = certified_bound(blueprint, out, samples=judged)
    return conversion(
        blueprint,
        out,
        command=command(job, options),
        layers=stats,
        proof=proof,
        fidelity=fidelity,
        trace=traced,
        bound=certified,
        calibration=inputs.origin,
        seconds=watch.seconds,
    )


def command(job: Job, options: Options) -> str:
    """The command line that makes this ticket again."""

    def named(samples: str | Path | Samples | None) -> str | None:
        return None if samples is None or isinstance(samples, Samples) else str(samples)

    words: dict[str, object] = {
        "output": str(job.output),
        "calibration": named(job.calibration),
        "calibration_count": job.calibration_count,
        "samples": named(job.samples),
        "emit_source": job.emit_source,
        "per_layer": job.per_layer,
        "bound": job.bound,
        "max_memory": job.max_memory,
        "no_validate": not job.validate,
        **(job.limits or Limits()).words(),
    }
    return command_of("convert", [job.target], options, words)


def usable(device: Device | str) -> Device:
    """The device that subset sums will be solved on. Raises InputError."""
    if str(device) not in list(Device):
        raise InputError(f"`device` is '{device}'; choose one of {', '.join(Device)}")
    try:
        return resolve(device)
    except DeviceError as error:
        raise InputError(f"`device={device}`: {error}") from None


def check_room(
    paths: list[Path], target: Path, prediction: Prediction, max_memory: int | None, *, force: bool
) -> None:
    """Refuse what cannot end well. Raises InputError, ResourceError."""
    for path in paths:
        if path.exists() and target.exists() and path.samefile(target):
            raise InputError(f"{path}: would overwrite the target; give another `output`")
        check_place(path, force=force)
    if max_memory is not None and prediction.memory_bytes > max_memory:
        raise ResourceError(
            f"{target}: about {size_text(prediction.memory_bytes)} of memory are needed, "
            f"`max_memory` allows {size_text(max_memory)}: lower `base_size` or use `mode=2l`"
        )
    free = shutil.disk_usage(paths[0].parent).free
    if prediction.file_bytes * 1.02 > free:
        raise ResourceError(
            f"{paths[0]}: about {size_text(prediction.file_bytes)} are needed, {size_text(free)} "
            "are free: lower `base_size`, use `mode=2l` or another disk"
        )


def _split(
    calibration: str | Path | Samples | None, target: Target, seed: int
) -> tuple[Samples | None, Samples]:
    """Inputs to construct with while settings are sought, and others to judge them by."""
    if calibration is None:
        return None, _inputs(None, target, JUDGES, seed + 2, smooth=True)
    known = _inputs(calibration, target, 0, seed, smooth=True, whole=True)
    judges = max(min(JUDGES, known.count // 2), 1)
    # training inputs are classified with ease; in between them it shows how true a ticket is
    return known.first(max(known.count - judges, 1)), known.last(judges).blended(BLEND)


def _inputs(
    given: str | Path | Samples | None,
    target: Target,
    count: int,
    seed: int,
    *,
    smooth: bool,
    whole: bool = False,
) -> Samples:
    if given is None:
        fixed = [p.shape[0] for p in target.inputs if p.shape and isinstance(p.shape[0], int)]
        step = max(fixed, default=1) or 1
        return random_samples(target.inputs, -(-count // step) * step, seed, smooth)
    samples = given if isinstance(given, Samples) else load_samples(Path(given), target.inputs)
    return samples if whole else samples.first(count)
