"""One small convolution to build, over inputs that stand for a ticket's: copies and constants."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lt_onnx.blueprint import Build
from lt_onnx.construct.constants import Response, constant_values
from lt_onnx.construct.features import Features
from lt_onnx.construct.layer_task import LayerTask
from lt_onnx.layout import CONSTANT, Layout
from lt_onnx.options import Options
from lt_onnx.runtime import Program
from lt_onnx.source.layer import SourceLayer
from lt_onnx.target import Linear, Node, linear_nodes

COPIES = 5
VALUES = np.array([1, 2, 0.5, 4, -1, 1.5, 3, 1.25, -2, 0.75, 5, 1.75], np.float32)  # constants


def grouped_layout(groups: int, channels: int, copies: int, constants: int) -> Layout:
    """Group by group: copies 0, 1, … of its channels, then constants."""
    parts = []
    for g in range(groups):
        own = np.arange(g * channels, (g + 1) * channels)
        numbers = np.repeat(np.arange(copies), channels)
        parts += [np.stack([np.tile(own, copies), numbers])]
        parts += [np.stack([np.full(constants, CONSTANT), g * constants + np.arange(constants)])]
    channel, copy = np.concatenate(parts, 1).astype(np.int32)
    return Layout(1, groups * channels, channel, copy, np.zeros_like(channel))


@pytest.fixture
def make_task() -> Callable[..., LayerTask]:
    """A task: 3 → 4 channels per group, kernel 3 × 2, two copies and a constant put out."""

    def make(options: Options | None = None, groups: int = 1, **changes: Any) -> LayerTask:
        rng = np.random.default_rng(7)
        weight = rng.normal(size=(4 * groups, 3, 3, 2)).astype(np.float32)
        bias = rng.normal(size=4 * groups).astype(np.float32)
        pads = (1, 0, 1, 1)
        linear = Linear("conv", "Conv", "x", "y", weight, bias, groups, {"pads": list(pads)})
        inner = grouped_layout(groups, 3, COPIES, len(VALUES))
        outer = grouped_layout(groups, 4, 2, 1)
        source = SourceLayer("w", 3, (outer.width, inner.width // groups, 3, 2))
        node = Node("Conv", "conv", ("t", "w"), ("s",), {**linear.attributes, "group": groups})
        step = Build(
            name="conv",
            linear=linear,
            source=source,
            input="t",
            in_layout=inner,
            output="u",
            out_layout=outer,
            expand=None,
            follows=None,
            nodes=(node,),
            scale="scale",
            pads=pads,
            base_size=COPIES,
            coefficients={0: 1.0},
            builds_constants=True,
        )
        step = replace(step, **changes)
        truth = [rng.normal(size=(n, 3 * groups, 6, 5)).astype(np.float32) for n in (3, 2)]
        x = []
        for value in truth:
            shape = (len(value), inner.width, *value.shape[2:])
            ticket = np.empty(shape, np.float32)
            data = inner.channel >= 0
            ticket[:, data] = value[:, inner.channel[data]]
            ticket[:, data] += 0.05 * rng.normal(size=ticket[:, data].shape).astype(np.float32)
            ticket[:, ~data] = np.tile(VALUES, groups)[:, None, None]
            x.append(ticket)
        nodes, constants = linear_nodes(step.linear)
        program = Program(
            nodes, {"x": truth[0]}, constants=constants, outputs=["y"], opsets={"": 17}
        )
        y = [program({"x": value})[0] for value in truth]
        h = np.concatenate([2.0 ** np.arange(-8, 8), -(2.0 ** np.arange(-8, 8))])
        h = h.astype(np.float32)
        features, response = Features.of(step, {}), Response(h, h)
        x, channels = features.delivered(x, inner)
        constants = constant_values(inner, channels)
        return LayerTask(step, options or Options(), features, 1e-3, response, x, constants, y)

    return make
