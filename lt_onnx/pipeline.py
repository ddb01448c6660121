"""The sequence of one conversion, and nothing else.

target → blueprint → room → promise → construct and write → fit scales → prove → compare →
per layer → bound → report
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from lt_onnx.blueprint import Blueprint
from lt_onnx.budget.promise import Forecast, promised
from lt_onnx.construct.noise_budget import Promise
from lt_onnx.construct.row_solver import check_solver, check_worth, row_solver
from lt_onnx.errors import InputError, UnsupportedError, check_torch, is_interrupt
from lt_onnx.files import (
    WAIT_SECONDS,
    check_file,
    check_fits,
    check_network,
    check_places,
    check_room,
    check_suffix,
    data_of,
    reserved,
    resumable,
)
from lt_onnx.fitting.scales import fit_scales, inputs_to_fit
from lt_onnx.options import ONE_WORKER, Device, Options, Output, Pictures, Workers, changed
from lt_onnx.planning.allocation import check_layers
from lt_onnx.planning.plan import plan
from lt_onnx.planning.prediction import Prediction, predict
from lt_onnx.progress import Progress, Stopwatch, silent
from lt_onnx.reading.lowering import read_target
from lt_onnx.reading.model_file import model_files
from lt_onnx.report.command import command_of
from lt_onnx.report.document import Report
from lt_onnx.report.ticket import Ticket
from lt_onnx.samples.choose import (
    Calibration,
    Given,
    calibration_inputs,
    check_apart,
    loaded,
    validation_inputs,
)
from lt_onnx.samples.images import check_pictures
from lt_onnx.samples.samples import AS_THEY_ARE, Samples
from lt_onnx.subset_sum.compilation import compile_ahead
from lt_onnx.validation.bound.certify import certified_bound
from lt_onnx.validation.limits import Limits
from lt_onnx.validation.outputs import compare_outputs
from lt_onnx.validation.per_layer import trace
from lt_onnx.validation.promise import kept_out, wanted_samples
from lt_onnx.verification.verify import prove
from lt_onnx.writing.build import Written, fingerprint, write_source, write_ticket
from lt_onnx.writing.checkpoint import Checkpoint, checkpoint_of
from lt_onnx.writing.collapse import collapsed
from lt_onnx.writing.ticket import files_of, is_of

MAX_TRACED_SAMPLES = 128  # errors of layers are alike from one input to the next

Announce = Callable[[Blueprint, Prediction, Forecast | None], None]


@dataclass(frozen=True)
class Job:
    """One conversion: what `lt_onnx.convert` was asked for.

    Raises InputError for arguments that are out of range or contradict each other.
    """

    target: Path
    options: Options
    output: Output
    limits: Limits = field(default_factory=Limits)
    calibration: Given = None
    calibration_count: int | None = None
    samples: Given = None
    pictures: Pictures = AS_THEY_ARE
    device: Device = Device.AUTO
    workers: Workers = ONE_WORKER
    validate: bool = True
    all_samples: bool = False
    per_layer: bool = False
    bound: bool = False
    progress: Progress = silent
    announce: Announce = silent

    def __post_init__(self) -> None:
        if self.calibration_count is not None and self.calibration_count < 1:
            raise InputError(f"`calibration_count` is {self.calibration_count}; give 1 or more")
        if not isinstance(self.limits, Limits):
            raise InputError(f"`limits` is {self.limits!r}; give lt_onnx.Limits(...)")
        if self.limits != Limits() and not self.validate:
            raise InputError("limits are judged by validation: drop them, or `validate=False`")
        check_apart(self.calibration, self.samples)
        if self.bound:
            check_torch("bound")
        if self.options.fit_scales:
            check_torch("fit_scales")
        check_pictures(self.pictures, self.calibration, self.samples)

    @property
    def ticket(self) -> Path:
        """The ticket's file."""
        return self.output.path or self.target.with_name(f"{self.target.stem}.ticket.onnx")

    @property
    def source(self) -> Path | None:
        """The source network's file, if it is wanted."""
        if not self.output.emit_source:
            return None
        return self.ticket.with_name(f"{self.ticket.name.removesuffix('.onnx')}.source.onnx")

    @property
    def outputs(self) -> list[Path]:
        """The networks' files that it may write."""
        networks = [self.ticket] if self.source is None else [self.ticket, self.source]
        return [file for path in networks for file in (path, data_of(path))]

    def inputs(self) -> Iterator[Path]:
        """The files and folders that it reads."""
        yield from model_files(self.target)
        for samples in (self.calibration, self.samples):
            if isinstance(samples, str | Path):
                yield Path(samples)

    @property
    def command(self) -> str:
        """The command line that makes this ticket again."""

        def file(samples: Given) -> str | None:
            return str(samples) if isinstance(samples, str | Path) else None

        arguments: dict[str, object] = {
            "output": str(self.ticket),
            "calibration": file(self.calibration),
            "calibration_count": self.calibration_count,
            "samples": file(self.samples),
            **self.words,
        }
        return command_of("convert", [self.target], self.options, arguments)

    @property
    def words(self) -> dict[str, object]:
        """What `command` says beside options and files."""
        return {
            **changed(self.pictures),
            "calibration_count": self.calibration_count,
            "all_samples": self.all_samples,
            "emit_source": self.output.emit_source,
            "per_layer": self.per_layer,
            "bound": self.bound,
            "max_memory": self.output.max_memory,
            "no_validate": not self.validate,
            **self.limits.arguments(),
        }


@dataclass(frozen=True)
class Prepared:
    """What is known before any layer is built."""

    blueprint: Blueprint
    given: int | None  # inputs for calibration
    calibration: Calibration
    judged: Samples  # for validation
    fitted: Samples | None  # to fit scales to; None: it was not asked for
    force: bool = False  # the ticket's files may be replaced
    promise: Promise | None = None  # None: prices are the options'


def run(job: Job) -> Ticket:
    """Construct, write, prove and compare one ticket.

    Raises InputError, UnsupportedError and ResourceError as `lt_onnx.convert`, and
    KeyboardInterrupt. A ticket appears when it is written; it stays when judging it is interrupted
    or there is no memory for that, and goes when it or its target cannot be run. What `resume`
    keeps stays until all is done.
    """
    check_file(job.target)
    check_network(job.ticket)
    # what goes on may have to wait for what was killed to be gone
    with reserved(*job.outputs, wait=WAIT_SECONDS if job.output.resume else 0.0):
        try:
            return _run(job)
        except Exception as error:
            if is_interrupt(error):
                raise KeyboardInterrupt from error
            raise


def _run(job: Job) -> Ticket:
    """The sequence, while nobody else writes the ticket."""
    watch = Stopwatch()
    check_solver(job.device, job.workers)
    if job.output.resume:  # what an earlier run has left is kept from now on
        resumable.append(checkpoint_of(job.ticket))
    prepared = _prepared(job, watch)
    with ExitStack() as kept:
        # reading and proving fork processes, for which the threads of workers are none
        with row_solver(job.device, job.workers) as solver:
            prepared = _promised(job, prepared, watch)
            checkpoint = None
            if job.output.resume:
                key = fingerprint(prepared.blueprint, prepared.calibration)
                checkpoint = kept.enter_context(Checkpoint(job.ticket, key))
            else:
                checkpoint_of(job.ticket).unlink(missing_ok=True)
            resumed = len(checkpoint.saved) if checkpoint is not None else 0
            written = write_ticket(
                prepared.blueprint,
                job.ticket,
                inputs=prepared.calibration.inputs,
                solver=solver,
                watch=watch,
                progress=job.progress,
                force=prepared.force,
                promise=prepared.promise,
                checkpoint=checkpoint,
            )
        blueprint = written.blueprint
        if job.source is not None:
            with watch("source"):
                write_source(blueprint, job.source, progress=job.progress, force=prepared.force)
        try:
            report = _finished(job, written, prepared, watch)
        except (InputError, UnsupportedError):  # no runtime takes one of the two
            for file in files_of(job.ticket, blueprint, source=False):
                file.unlink(missing_ok=True)
            raise
    return Ticket(job.ticket, report, job.source, resumed)


def _prepared(job: Job, watch: Stopwatch) -> Prepared:
    """Read and plan, and choose inputs. Raises as `run`."""
    with watch("read"):
        blueprint = _planned(job)
        compile_ahead()  # not before: reading forks a process
        target, options = blueprint.target, job.options
        seen: Samples | None = None
        given = None
        if job.calibration is not None:
            seen = loaded(job.calibration, target.inputs, job.pictures)
            given = seen.count
        # a finished ticket may lie there that the same call made: its options are known later
        prediction = _with_room(job, blueprint, seen, force=job.output.resume)
        count, kept = prediction.calibration_count, job.samples
        if kept is None and seen is not None and options.promises:
            seen, kept = kept_out(seen, target, options)
        calibration = calibration_inputs(seen, target.inputs, count, options.seed)
        judged = validation_inputs(
            kept,
            target.inputs,
            multiply_adds=prediction.multiply_adds,
            calibrated=count,
            seed=options.seed + 1,
            most=None
            if job.all_samples
            else max(prediction.validation_count, wanted_samples(target, options)),
            pictures=job.pictures,
        )
        job.limits.refuse(target.outputs, judged.labels is not None)
        fitted = None
        if options.fit_scales:
            # the ticket is run on as many as take half of what construction does
            count = max(prediction.validation_count // 2, job.calibration_count or 0)
            fitted = inputs_to_fit(seen, target, count, options.seed + 2)
    return Prepared(blueprint, given, calibration, judged, fitted)


def _promised(job: Job, prepared: Prepared, watch: Stopwatch) -> Prepared:
    """Find out what the promise takes. Raises as `run`."""
    blueprint, calibration, forecast = prepared.blueprint, prepared.calibration, None
    if job.options.promises:
        with watch("sensitivity"):
            blueprint, forecast = promised(blueprint, calibration, given=prepared.given)
    made = job.output.resume and is_of(job.ticket, blueprint.target, blueprint.options)
    kept_weights = None if forecast is None else forecast.kept(blueprint)
    prediction = _with_room(job, blueprint, calibration.inputs, force=made, kept=kept_weights)
    check_worth(job.workers, prediction.solve_seconds)
    job.announce(blueprint, prediction, forecast)
    return replace(
        prepared,
        blueprint=blueprint,
        force=job.output.force or made,
        promise=None if forecast is None else forecast.promise,
    )


def predicted(job: Job) -> Prediction:
    """What a conversion will take. Raises InputError, UnsupportedError where it cannot be made."""
    blueprint = _planned(job)
    inputs = blueprint.target.inputs
    given = job.calibration
    seen = None if given is None else loaded(given, inputs, job.pictures)
    return _prediction(job, blueprint, seen)


def _prediction(
    job: Job, blueprint: Blueprint, inputs: Samples | None, kept: int | None = None
) -> Prediction:
    """What a plan will take, on the calibration inputs and `kept` weights that are known."""
    return predict(
        blueprint,
        source=job.output.emit_source,
        validated=job.validate,
        traced=job.per_layer,
        bounded=job.bound,
        count=job.calibration_count,
        most=None if inputs is None else inputs.count,
        sizes=None if inputs is None else inputs.sizes,
        kept=kept,
    )


def _with_room(
    job: Job, blueprint: Blueprint, inputs: Samples | None, *, force: bool, kept: int | None = None
) -> Prediction:
    """What a plan will take. Raises InputError, ResourceError unless there is room for it."""
    prediction = _prediction(job, blueprint, inputs, kept)
    files = files_of(job.ticket, blueprint, source=False)
    if job.source is not None:
        files += files_of(job.source, blueprint, source=True)
    check_places(files, job.inputs(), force=job.output.force or force)
    check_suffix(job.ticket, ".onnx")
    check_room(
        files,
        job.target,
        file_bytes=prediction.file_bytes,
        memory_bytes=prediction.memory_bytes,
        max_memory=job.output.max_memory,
    )
    if kept is not None and len(files_of(job.ticket, blueprint, source=False)) == 1:
        check_fits(job.ticket, prediction.file_bytes)
    return prediction


def _planned(job: Job) -> Blueprint:
    """Read the target and plan its ticket."""
    target = read_target(job.target)
    blueprint = plan(target, job.options)
    check_layers(blueprint)
    if job.options.collapse:
        collapsed(blueprint)  # raises where it does not, before any work
    return blueprint


def _finished(job: Job, written: Written, prepared: Prepared, watch: Stopwatch) -> Report:
    """Fit a written ticket's scales where that is asked for, prove it, compare it, and report."""
    blueprint, judged = written.blueprint, prepared.judged
    target, fit = blueprint.target, None
    if prepared.fitted is not None:
        with watch("fit scales"):
            fit = fit_scales(job.ticket, blueprint, written.means, prepared.fitted)
    with watch("verify"):
        proof = prove(job.ticket, target_sha256=target.sha256)
    fidelity = layer_errors = certificate = None
    if job.validate:
        with watch("validate"):
            fidelity = compare_outputs(
                job.target,
                job.ticket,
                judged,
                target.inputs,
                job.limits,
                outputs=target.outputs,
                progress=lambda share: job.progress("validate", share),
            )
    if job.per_layer:
        with watch("per layer"):
            layer_errors = trace(job.target, job.ticket, judged.first(MAX_TRACED_SAMPLES))
    if job.bound:
        with watch("bound"):
            certificate = certified_bound(blueprint, job.ticket, samples=judged)
    return Report(
        target=str(target.path),
        target_sha256=target.sha256,
        ticket=str(job.ticket),
        command=job.command,
        options=blueprint.options,
        layers=written.stats,
        fit=fit,
        dense=blueprint.dense,
        proof=proof,
        fidelity=fidelity,
        trace=layer_errors,
        bound=certificate,
        target_weights=target.weight_count,
        calibration=prepared.calibration.inputs.origin,
        seconds=watch.seconds,
        weight_bytes=blueprint.weight_bytes,
    )
