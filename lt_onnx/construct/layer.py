"""One constructed layer: the masks of its rows, then their biases (Alg. 1, even layers; Alg. 2).

Rows are drawn and solved some blocks at a time, then run over the calibration inputs, rescaled,
given their biases and put out block by block: of the layer no more than this is ever held.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lt_onnx.blueprint import Build
from lt_onnx.construct.biases import Biases
from lt_onnx.construct.constants import Response
from lt_onnx.construct.features import Features
from lt_onnx.construct.layer_state import Block, Frame
from lt_onnx.construct.masks import Masks
from lt_onnx.construct.results import BuiltLayer, LayerStats, MaskedRows, SavedLayer
from lt_onnx.construct.tally import Tally, sqnr
from lt_onnx.layout import CONSTANT
from lt_onnx.options import Options
from lt_onnx.runtime import Program
from lt_onnx.source.layer import draw_rows
from lt_onnx.stopwatch import Stopwatch
from lt_onnx.subset_sum import Device
from lt_onnx.target import Array, Floats

# random weights that are drawn and solved at a time: as many as a block, but a GPU wants more
WEIGHTS_IN_FLIGHT = {Device.CPU: 1 << 23, Device.CUDA: 1 << 26}


class Layer:
    """The construction of one layer.

    `x` are the inputs as the ticket delivers them and `y` the target's own outputs, batch by batch;
    `response` is that of the activation which the layer's constants meet next, `price` is μ of
    the layer. A layer that was `finished` before is only run again.
    """

    def __init__(
        self,
        step: Build,
        options: Options,
        device: Device,
        x: list[Array],
        y: list[Array],
        gains: Mapping[str, Floats],
        response: Response,
        price: float,
        opsets: Mapping[str, int],
        watch: Stopwatch,
        finished: SavedLayer | None = None,
    ) -> None:
        self.step, self.device, self.x, self.y = step, device, x, y
        self.opsets, self.watch, self.finished = opsets, watch, finished
        self.frame = Frame.of(step, options, Features.of(step, gains), price)
        self.response = response
        self.tally = Tally()
        self.offset = np.zeros(step.source.shape[0])  # what biases add to every sum
        self.sums: list[Floats] = []  # the layer's own output before its scale, as rows come
        self._program: tuple[int, Program] | None = None

    def pieces(self) -> Iterator[MaskedRows]:
        """The masked rows, in order. `sums` and `scales` are complete when they are all out."""
        yield from self._construct() if self.finished is None else self._repeat(self.finished)

    def _construct(self) -> Iterator[MaskedRows]:
        biases = Biases(self.frame, self.x, self.y, self.response, self.tally)
        masks = Masks(self.frame, biases, self.x, self.y, self.device, self.watch, self.tally)
        for blocks in self.frame.chunks(WEIGHTS_IN_FLIGHT[self.device]):
            weights = masks.exact(blocks) if self.frame.exact else masks.choose(blocks)
            first = blocks[0].start
            for block in blocks:
                weight = weights[block.start - first : block.stop - first]
                with self.watch("run"):
                    raw = self._run(block, weight)
                with self.watch("biases"):
                    masks.rescale(block, raw)
                    offset = biases.add(block, weight, raw, masks.price)
                    self._collect(block, raw, offset)
                self.tally.kept += int(np.count_nonzero(weight))
                yield MaskedRows(self.step, block.start, weight)

    def _repeat(self, finished: SavedLayer) -> Iterator[MaskedRows]:
        """The rows of a finished layer: drawn, masked and run, as they were when it was made."""
        frame, source = self.frame, self.step.source
        frame.scale[:] = finished.scale
        channel = self.step.in_layout.channel.reshape(self.step.linear.group, -1)
        constant = np.repeat(channel == CONSTANT, frame.features.taps, 1)
        for block in frame.blocks():
            with self.watch("random numbers"):
                drawn = draw_rows(frame.options.seed, source, block.start, block.stop)
                kept = finished.kept(block.start)
                weight = np.where(kept, drawn.reshape(kept.shape), np.float32(0))
            group = np.arange(block.start, block.stop) // frame.rows
            with self.watch("run"):  # biases come after, as a number that is added
                raw = self._run(block, np.where(constant[group], np.float32(0), weight))
            self._collect(block, raw, finished.offset[block.start : block.stop])
            yield MaskedRows(self.step, block.start, weight)

    def built(self, out: list[Array]) -> BuiltLayer:
        """What is left to say once the ticket has run the layer to its output `out`."""
        stats = self._stats(out) if self.finished is None else self.finished.stats
        return BuiltLayer(self.step, None, self.scales(), stats, self.frame.scale, self.offset)

    def _stats(self, out: list[Array]) -> LayerStats:
        step, tally, linear = self.step, self.tally, self.step.linear
        return LayerStats(
            name=step.name,
            kind="one-for-one" if step.one_for_one else "two-for-one",
            op=linear.op,
            target_weights=linear.count,
            kept=tally.kept,
            source_weights=step.source.size,
            scales=int(np.count_nonzero(self.frame.scale)),
            problems=tally.problems,
            misses=tally.misses,
            mean_size=tally.elements / max(tally.problems, 1),
            mean_error=tally.error / max(tally.problems, 1),
            sqnr_db=sqnr(self.y, out, step),
            base_size=self.frame.features.index.shape[1],
            lam=float(np.median(self.frame.lam[step.out_layout.channel >= 0])),
            size_counts=tuple(int(n) for n in np.trim_zeros(tally.sizes, "b")),
            error_counts=tuple(int(n) for n in tally.errors),
        )

    def scales(self) -> dict[str, Array]:
        """The scale of every row, by its name in the ticket."""
        shape = (-1, *[1] * (self.y[0].ndim - self.frame.axis - 1))
        return {self.step.scale: self.frame.scale.astype(np.float32).reshape(shape)}

    def _run(self, block: Block, weight: Floats) -> list[Array]:
        """What the block's rows make of the calibration inputs, before any bias or scale."""
        step, source, groups = self.step, self.step.source, self.step.linear.group
        node, width = step.nodes[0], self.frame.features.width
        shape = (len(weight), *source.shape[1:])
        given = np.ascontiguousarray(weight.T) if source.transposed else weight.reshape(shape)
        axis = step.in_layout.axis
        inputs = np.s_[block.first * width : (block.first + block.groups) * width]
        feeds = []
        for value in self.x:
            part = value
            if block.groups < groups:
                part = np.ascontiguousarray(value[(slice(None),) * axis + (inputs,)])
            feeds.append({node.inputs[0]: part, node.inputs[1]: given})
        if self._program is None or self._program[0] != block.groups:
            if node.op == "Conv":
                node = replace(node, attributes={**node.attributes, "group": block.groups})
            output = node.outputs[0]
            program = Program([node], feeds[0], constants={}, outputs=[output], opsets=self.opsets)
            self._program = (block.groups, program)
        return [self._program[1](feed)[0] for feed in feeds]

    def _collect(self, block: Block, raw: list[Array], offset: NDArray[np.float64]) -> None:
        """Put the block's sums, biases added, beside those of the rows before it."""
        count, axis = self.step.source.shape[0], self.frame.axis
        self.offset[block.start : block.stop] = offset
        at = (slice(None),) * axis + (slice(block.start, block.stop),)
        shape = (-1, *[1] * (raw[0].ndim - axis - 1))
        added = offset.astype(raw[0].dtype).reshape(shape)
        for b, value in enumerate(raw):
            if len(self.sums) == b:
                full = (*value.shape[:axis], count, *value.shape[axis + 1 :])
                self.sums.append(np.empty(full, value.dtype))
            # biases add the same number everywhere, so that the sums need not be run again
            np.add(value, added, out=self.sums[b][at])
