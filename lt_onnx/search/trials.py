"""The smallest setting that reaches a goal, each judged by a ticket that is really made.

Comes in: a job and a goal. Goes out: the job's options with base size and price. Trial tickets are
written beside the output and removed; they are judged on inputs that construction does not see.
"""

import tempfile
from dataclasses import replace
from pathlib import Path

from lt_onnx.errors import InputError
from lt_onnx.options import Options, Output
from lt_onnx.pipeline import Job, run
from lt_onnx.reading.lowering import read_target
from lt_onnx.samples.choose import search_inputs
from lt_onnx.search.ladder import Goal, Rung, lowest
from lt_onnx.validation.fidelity import Fidelity


def find_settings(job: Job, goal: Goal) -> Options:
    """Options with the base size and price of the lowest rung that reaches `goal`.

    Raises InputError when the job has a base size or price of its own, and as `run`.
    """
    folder, options = job.ticket.parent, job.options
    if not folder.is_dir():
        raise InputError(f"{job.ticket}: its folder does not exist")
    if options.base_size is not None or options.price is not None:
        raise InputError("a target finds `base_size` and `price` itself: drop them")
    seen, judged = search_inputs(job.calibration, read_target(job.target).inputs, options.seed)

    def settings(rung: Rung) -> Options:
        return replace(options, base_size=rung.base_size, price=rung.price)

    def attempt(rung: Rung) -> Fidelity:
        with tempfile.TemporaryDirectory(dir=folder, prefix=".lt-onnx-") as trials:
            trial = Job(
                job.target,
                settings(rung),
                Output(Path(trials) / "trial.onnx", max_memory=job.output.max_memory),
                calibration=seen,
                calibration_count=job.calibration_count,
                samples=judged,
                device=job.device,
            )
            fidelity = run(trial).report.fidelity
        job.progress("search", 0.5)
        assert fidelity is not None
        return fidelity

    return settings(lowest(options.mode, goal, attempt))
