"""From a blueprint to files: construct → ticket, and the source network beside it."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import msgspec

from lt_onnx.blueprint import Blueprint, Build, Expand
from lt_onnx.construct.construction import construct
from lt_onnx.construct.layer_state import BLOCK
from lt_onnx.construct.results import LayerStats, MaskedRows
from lt_onnx.errors import LostConstantsError
from lt_onnx.manifest import GENERATOR, OptionsRecord
from lt_onnx.planning.plan import plan
from lt_onnx.samples.samples import Samples
from lt_onnx.source.layer import draw_bias, draw_rows
from lt_onnx.stopwatch import Stopwatch
from lt_onnx.subset_sum import Device
from lt_onnx.version import __version__
from lt_onnx.writing.checkpoint import Checkpoint
from lt_onnx.writing.ticket import TicketWriter

WEIGHTS_IN_FLIGHT = 1 << 22  # of a source that is only written

Progress = Callable[[str, float], None]


def fingerprint(blueprint: Blueprint, inputs: Samples) -> str:
    """SHA-256 of all that decides a ticket's masks, for a checkpoint to be known by."""
    digest = hashlib.sha256(
        json.dumps(
            [
                __version__,
                GENERATOR,
                blueprint.target.sha256,
                blueprint.options.seed,
                msgspec.structs.asdict(OptionsRecord.of(blueprint.options)),
                BLOCK,
            ],
            sort_keys=True,
        ).encode()
    )
    for name in sorted(inputs.arrays):
        digest.update(name.encode() + inputs.arrays[name].tobytes())
    return digest.hexdigest()


def write_ticket(
    blueprint: Blueprint,
    out: Path,
    inputs: Samples,
    device: Device,
    watch: Stopwatch,
    tell: Progress,
    checkpoint: Checkpoint | None = None,
) -> tuple[Blueprint, list[LayerStats]]:
    """Construct the ticket and write it, row by row; the plan that was followed at last.

    Where the constants of a tensor turn out lost, a new plan opens a block there.
    """
    fresh = checkpoint.fresh if checkpoint is not None else frozenset()
    if fresh:
        blueprint = plan(blueprint.target, blueprint.options, constants_lost=fresh)
    while True:
        try:
            return blueprint, _write(blueprint, out, inputs, device, watch, tell, checkpoint)
        except LostConstantsError as lost:
            if lost.tensor in fresh:
                raise
            fresh |= {lost.tensor}
            if checkpoint is not None:
                checkpoint.restart(fresh)
            blueprint = plan(blueprint.target, blueprint.options, constants_lost=fresh)


def _write(
    blueprint: Blueprint,
    out: Path,
    inputs: Samples,
    device: Device,
    watch: Stopwatch,
    tell: Progress,
    checkpoint: Checkpoint | None,
) -> list[LayerStats]:
    """One attempt at a ticket."""
    stats = []
    total, done = max(blueprint.source_weights, 1), 0
    saved = dict(checkpoint.found) if checkpoint is not None else {}
    with TicketWriter(blueprint, out, source=False) as writer:
        for piece in construct(blueprint, inputs, device=device, watch=watch, saved=saved):
            spec = piece.step.source
            with watch("write"):
                if isinstance(piece, MaskedRows):
                    writer.rows(spec, piece.start, piece.weight)
                    done += piece.weight.size
                    if checkpoint is not None:
                        checkpoint.rows(piece)
                else:
                    writer.layer(spec, piece.bias, piece.step.scale, piece.tensors)
                    stats.append(piece.stats)
                    if checkpoint is not None:
                        checkpoint.layer(piece)
            tell("construct", done / total)
        with watch("write"):
            writer.finish()
    return stats


def write_source(blueprint: Blueprint, path: Path, progress: Progress | None = None) -> None:
    """Write the random source network f_0 itself, unmasked, its scales all 1."""
    seed, init = blueprint.options.seed, blueprint.options.init
    done = 0
    with TicketWriter(blueprint, path, source=True) as writer:
        for step in (s for s in blueprint.steps if isinstance(s, Expand | Build)):
            spec = step.source
            rows = max(1, WEIGHTS_IN_FLIGHT // max(spec.row_size, 1))
            for start in range(0, spec.shape[0], rows):
                weight = draw_rows(seed, spec, start, min(start + rows, spec.shape[0]))
                writer.rows(spec, start, weight.reshape(len(weight), -1) * spec.sigma(init))
                done += weight.size
                if progress is not None:
                    progress("source", done / max(blueprint.source_weights, 1))
            bias = draw_bias(seed, spec) * spec.sigma(init) if spec.bias else None
            writer.layer(spec, bias, step.scale, step.neutral_tensors())
        writer.finish()
