"""The masks of a layer's rows: which subset stands for which target weight.

For output channel i the normalised target weights are z = w / λ_i. One row of the source serves
one physical output channel; each of its V·K problems (feature v, tap k) chooses among the members
of feature v: the neurons of a channel and sign (Alg. 1), or the copies of a channel (Alg. 2).
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lt_onnx.construct import moments
from lt_onnx.construct.layer_task import BLOCK_WEIGHTS, Block, LayerTask, RowChoice
from lt_onnx.construct.results import Tally
from lt_onnx.construct.shared_problems import SharedProblems
from lt_onnx.options import Select, Sigma
from lt_onnx.progress import Stopwatch
from lt_onnx.subset_sum import write_masked
from lt_onnx.target import Array, Doubles

HEADROOM = 0.75  # λ over the largest |w| of a row: larger weights take two elements or more
MAX_RESCALING = 2.0  # factor by which a row's λ moves at most when it is fitted to the outputs


def first_lambdas(task: LayerTask, least: Doubles) -> Doubles:
    """λ > 0 and λ < 0 of every row, [R, 2]: near its largest weight, but not nearer to 0 than
    `least` [R, 2] that its bias needs.

    Rows without a weight, those of constants among them, have ±1. With one scale for the layer all
    rows take the largest λ.
    """
    linear, features = task.linear, task.features
    headroom = HEADROOM if task.calibrated else 1.0
    lam, largest = np.zeros((len(task.channel), 2)), np.zeros(len(linear.bias))
    top, step = features.top, max(1, BLOCK_WEIGHTS // max(task.step.source.row_size, 1))
    for low in range(0, len(largest), step):
        channels = np.arange(low, min(low + step, len(largest)))
        group = channels // (len(largest) // linear.group)
        w = np.abs(features.goals(linear, channels)) / top[group][:, :, None]
        largest[channels] = w.max((1, 2), initial=0.0) * headroom
    rows = np.flatnonzero(task.channel >= 0)
    lam[rows] = np.maximum(largest[task.channel[rows], None], least[rows])
    if task.options.sigma is Sigma.LAYER:
        lam[:] = lam[:, 0].max(initial=0.0)
    lam = np.where(lam > 0, lam, 1.0)
    return np.stack([lam[:, 0], -lam[:, 1]], 1)


def choose(
    task: LayerTask, blocks: list[Block], *, shared: SharedProblems, lam: Doubles, watch: Stopwatch
) -> RowChoice:
    """Choose the subsets of neighbouring blocks, or the oracle's exact weights.

    `shared` is prepared for the blocks, `lam` [R, 2] are the layer's `first_lambdas`. `watch` is
    told of the stages `solve` and `random numbers`. Biases and constants are still to come.
    """
    features, source = task.features, task.step.source
    within = slice(blocks[0].rows.start, blocks[-1].rows.stop)
    weight = np.zeros((within.stop - within.start, source.row_size), np.float32)
    both, lam = lam[within], lam[within, 0].copy()
    scale, tallies = np.zeros(len(weight)), []
    for groups, problems in shared.groups.items():
        rows = task.data_rows(groups, within)
        if not len(rows):  # constants alone
            continue
        at, group = rows - within.start, rows // task.group_rows - groups.start
        goals = features.goals(task.linear, task.channel[rows].astype(np.int64))
        goals = goals.reshape(len(rows), -1)
        index, gain = features.problems(groups, slice(None))
        twin = features.twin * features.taps
        if task.options.select is Select.EXACT:  # on the first member of every feature
            r, k = np.nonzero(index[group, :, 0] >= 0)
            place = index[group[r], k, 0]
            value = (goals / lam[at, None]).astype(np.float32)[r, k] / gain[group[r], k, 0]
            weight[at[r], place] = value
            if twin:
                weight[at[r], place + twin] = -value
        else:
            parts = problems.at(task.price).parts
            asked = task.row_problems(groups, rows, parts=parts, goals=goals, lam=both[at])
            with watch("solve"):
                masks, residuals, lam[at] = task.solver.solve(asked)
                tallies.append(Tally.of(goals, masks, residuals, tolerance=task.options.tolerance))
            with watch("random numbers"):
                write_masked(
                    weight, at, drawn=asked.drawn, masks=masks, rows=(index, group), twin=twin
                )
        scale[at] = lam[at] / features.unit
    return RowChoice(weight, lam, scale, np.zeros(len(weight)), tallies)


def rescaled(task: LayerTask, rows: RowChoice, *, block: Block, raw: Sequence[Array]) -> RowChoice:
    """Give each row the λ and scale by which it comes closest to the target's output.

    `raw` [N, …, R', …] is what the block's rows make of the calibration inputs. Noise-aware subsets
    shrink a row's response, which would accumulate over the layers.
    """
    data = np.flatnonzero(task.channel[block.rows] >= 0)
    if not task.calibrated or task.options.sigma is Sigma.LAYER or not len(data):
        return rows
    channels = task.channel[block.rows][data].astype(np.int64)
    slope = moments.slopes(
        raw, task.y, rows=data, channels=channels, axis=task.axis, biased=task.biased
    )
    fit = np.clip(slope / rows.scale[data], 1 / MAX_RESCALING, MAX_RESCALING)
    factor = np.ones(len(block))
    factor[data] = np.where(np.isfinite(fit), fit, 1.0)
    return replace(rows, lam=rows.lam * factor, scale=rows.scale * factor)
