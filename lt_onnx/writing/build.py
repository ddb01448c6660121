"""From a blueprint to files: construct → ticket, and the source network beside it."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from lt_onnx.blueprint import Blueprint, Build, Expand
from lt_onnx.construct.construction import construct
from lt_onnx.construct.fed_target import Layer
from lt_onnx.construct.layer_task import BLOCK_WEIGHTS
from lt_onnx.construct.noise_budget import Promise
from lt_onnx.construct.results import BuiltLayer, LayerStats, MaskedRows
from lt_onnx.construct.row_solver import RowSolver
from lt_onnx.cores import one_blas_thread
from lt_onnx.errors import LostConstantsError
from lt_onnx.manifest import GENERATOR, OptionsRecord
from lt_onnx.planning.plan import plan
from lt_onnx.progress import Progress, Stopwatch
from lt_onnx.samples.choose import Calibration
from lt_onnx.samples.samples import Samples
from lt_onnx.source.layer import draw_bias, scaled_rows
from lt_onnx.version import __version__
from lt_onnx.writing.checkpoint import Checkpoint
from lt_onnx.writing.ticket import TicketWriter


@dataclass(frozen=True)
class Written:
    """A ticket that is written: the plan that was followed, and what its layers came to."""

    blueprint: Blueprint
    stats: list[LayerStats]
    means: dict[str, Layer]  # of constructed layers, by name, in the mean of their copies


def fingerprint(blueprint: Blueprint, calibration: Calibration) -> str:
    """SHA-256 of all that decides a ticket's masks, for a checkpoint to be known by."""
    options, target = blueprint.options, blueprint.target
    record = msgspec.structs.asdict(OptionsRecord.of(options))
    decisive = [__version__, GENERATOR, target.sha256, options.seed, record, BLOCK_WEIGHTS]
    digest = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    for inputs in filter(None, (calibration.inputs, calibration.spare)):
        for name in sorted(inputs.arrays):
            digest.update(name.encode() + inputs.arrays[name].tobytes())
    return digest.hexdigest()


@one_blas_thread()
def write_ticket(
    blueprint: Blueprint,
    path: Path,
    *,
    inputs: Samples,
    solver: RowSolver,
    watch: Stopwatch,
    progress: Progress,
    force: bool = False,
    promise: Promise | None = None,
    checkpoint: Checkpoint | None = None,
) -> Written:
    """Construct the ticket and write it to `path`, row by row.

    Where the constants of a tensor turn out lost, a new plan opens a block there. `inputs` are for
    calibration; `solver` solves the subset sums; `promise` sets the layers' prices; `watch` is told
    where the time goes, `progress` the share done; `force` lets the ticket replace a file;
    `checkpoint` has what an earlier run finished and notes what this one does.
    """
    lost = checkpoint.constants_lost if checkpoint is not None else frozenset()
    if lost:
        blueprint = plan(blueprint.target, blueprint.options, constants_lost=lost)
    while True:
        saved = dict(checkpoint.saved) if checkpoint is not None else {}
        pieces = construct(
            blueprint, inputs, solver=solver, watch=watch, saved=saved, promise=promise
        )
        try:
            with TicketWriter(blueprint, path, source=False, force=force) as writer:
                return _write(writer, pieces, watch=watch, progress=progress, checkpoint=checkpoint)
        except LostConstantsError as error:
            if error.tensor in lost:
                raise
            lost |= {error.tensor}
            if checkpoint is not None:
                checkpoint.restart(lost)
            blueprint = plan(blueprint.target, blueprint.options, constants_lost=lost)


def _write(
    writer: TicketWriter,
    pieces: Iterable[MaskedRows | BuiltLayer],
    *,
    watch: Stopwatch,
    progress: Progress,
    checkpoint: Checkpoint | None,
) -> Written:
    """One attempt at a ticket."""
    stats, means, done = list[LayerStats](), dict[str, Layer](), 0
    for piece in pieces:
        with watch("write"):
            if isinstance(piece, MaskedRows):
                writer.write_rows(piece)
                done += piece.weight.size
            else:
                done += 0 if piece.bias is None else piece.bias.size
                writer.close_layer(
                    piece.step, bias=piece.bias, tensors=piece.tensors, block=piece.block
                )
                stats.append(piece.stats)
                if piece.mean is not None:
                    means[piece.step.name] = piece.mean
            if checkpoint is not None:
                checkpoint.note(piece)
        progress("construct", done / max(writer.blueprint.source_weights, 1))
    with watch("write"):
        writer.finish()
    return Written(writer.blueprint, stats, means)


def write_source(
    blueprint: Blueprint, path: Path, *, progress: Progress | None = None, force: bool = False
) -> None:
    """Write the random source network f_0 itself, unmasked, its scales all 1.

    `force` lets it replace a file; `progress` is told the share done.
    """
    seed, init = blueprint.options.seed, blueprint.options.init
    done = 0
    with TicketWriter(blueprint, path, source=True, force=force) as writer:
        for step in (s for s in blueprint.steps if isinstance(s, Expand | Build)):
            spec, sigma = step.source, step.source.sigma(init)
            for start, weight in scaled_rows(seed, spec, sigma):
                writer.write_rows(MaskedRows(step, start, weight))
                done += weight.size
                if progress is not None:
                    progress("source", done / max(blueprint.source_weights, 1))
            bias = draw_bias(seed, spec) * sigma if spec.bias else None
            done += 0 if bias is None else bias.size
            writer.close_layer(step, bias=bias, tensors=step.neutral_tensors())
        writer.finish()
