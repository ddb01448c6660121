"""The oracle of curved activations in double precision.

φ(x) − φ(−x) of a Sigmoid neuron is linear up to a²/12, and float32 rounds φ ≈ 1/2 by 10⁻⁷/a: no
range a is exact to 10⁻⁵ over twenty layers. With every tensor in double precision and a small a the
only thing left to differ is the rewriting.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from lt_onnx import convert
from lt_onnx.construct import layer_construction, stepwise_run
from lt_onnx.ops import activations
from lt_onnx.ops.activation_fit import Function, LocalModel, Use, fit
from lt_onnx.options import Select
from lt_onnx.runtime import to_proto, value_info
from lt_onnx.target import Array, Node

REACH = 2.0**-10
SLOPES = {Use.MIRROR: 0.25, Use.ODD: 1.0}  # of a Sigmoid and a Tanh, on either side


def oracle_error(target: Path, folder: Path, mode: str, patch: pytest.MonkeyPatch) -> float:
    """Largest difference between target and exact ticket, relative to the largest output."""
    patch.setattr(activations, "fit", _exact_model)
    for module in (layer_construction, stepwise_run):
        patch.setattr(module, "Program", _DoubleProgram)
    path = folder / "t.onnx"
    convert(target, path, mode=mode, select=Select.EXACT, base_size=4, validate=False)
    feeds = {}
    for port in onnx.load(str(target)).graph.input:
        shape = [d.dim_value for d in port.type.tensor_type.shape.dim]
        size = [shape[0] or 2, *[d or 12 for d in shape[1:]]]
        feeds[port.name] = np.random.default_rng(0).normal(size=size)
    wanted, made = (_run_double(onnx.load(str(p)), feeds) for p in (target, path))
    return max(float(abs(a - b).max() / abs(a).max()) for a, b in zip(wanted, made, strict=True))


def _exact_model(function: Function) -> LocalModel | None:
    model = fit(function)
    if model is None or model.use not in SLOPES:
        return model
    slope = SLOPES[model.use]
    assert model.positive == pytest.approx(slope, rel=1e-3)
    return replace(model, positive=slope, negative=slope, reach=REACH)


def _doubled(value: Any) -> Array:
    value = np.asarray(value)
    return value.astype(np.float64) if value.dtype == np.float32 else value


class _DoubleProgram:
    """Stands in for `runtime.Program`."""

    def __init__(
        self,
        nodes: Sequence[Node],
        like: Mapping[str, Array],
        *,
        constants: Mapping[str, Array],
        outputs: Sequence[str],
        opsets: Mapping[str, int],
    ) -> None:
        wanted = {name for node in nodes for name in node.inputs if name}
        self.inputs = [name for name in like if name in wanted]
        graph = helper.make_graph(
            [to_proto(node) for node in nodes],
            "double",
            [value_info(n, _doubled(like[n]).dtype, (None,) * like[n].ndim) for n in self.inputs],
            [onnx.ValueInfoProto(name=name) for name in outputs],
            [
                numpy_helper.from_array(_doubled(constants[name]), name)
                for name in sorted(wanted - set(self.inputs))
                if name in constants
            ],
        )
        opset_ids = [helper.make_opsetid(domain, number) for domain, number in opsets.items()]
        self.evaluator = ReferenceEvaluator(helper.make_model(graph, opset_imports=opset_ids))

    def __call__(self, feeds: Mapping[str, Array]) -> list[Array]:
        return list(self.evaluator.run(None, {n: _doubled(feeds[n]) for n in self.inputs}))

    def map(self, feeds: Sequence[Mapping[str, Array]]) -> list[list[Array]]:
        return [self(feed) for feed in feeds]


def _run_double(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    attributes = [a.t for node in model.graph.node for a in node.attribute if a.HasField("t")]
    for tensor in [*model.graph.initializer, *attributes]:
        if tensor.data_type == TensorProto.FLOAT:
            value = _doubled(numpy_helper.to_array(tensor))
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    for port in [*model.graph.input, *model.graph.output, *model.graph.value_info]:
        if port.type.tensor_type.elem_type == TensorProto.FLOAT:
            port.type.tensor_type.elem_type = TensorProto.DOUBLE
    return list(ReferenceEvaluator(model).run(None, dict(feeds)))
