"""A ticket made by hand: two layers, drawn by the source, masked at random; no construction.

`x [1, 2, 5, 5]` → Conv `a [4, 2, 3, 3]` → scale → Relu → mean → Gemm `b [3, 4]` with bias → scale.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper, parser

from lt_onnx.manifest import (
    FORMAT,
    GENERATOR,
    METADATA_KEY,
    SEAL_KEY,
    DensePlace,
    LayerRecord,
    Manifest,
    OptionsRecord,
)
from lt_onnx.options import Init, Options, Weights
from lt_onnx.reading.protobuf import replace_items
from lt_onnx.source.layer import SourceLayer, draw_bias, draw_rows
from lt_onnx.verification.tensors import Tensors, locate_tensors

SEED = 2**40 + 7
GRAPH = """
<ir_version: 8, opset_import: ["" : 13], producer_name: "lt-onnx">
ticket (float[1, 2, 5, 5] x) => (float[1, 3] y) {
  conv = Conv <pads = [1, 1, 1, 1]> (x, a)
  scaled = Mul (conv, a_scale)
  relu = Relu (scaled)
  mean = ReduceMean <axes = [2, 3], keepdims = 0> (relu)
  gemm = Gemm <transB = 1> (mean, b, b_bias)
  y = Mul (gemm, b_scale)
}
"""
SOURCES = (
    SourceLayer("a", 0, (4, 2, 3, 3), mirror_rows=2, mirror_columns=1),
    SourceLayer("b", 1, (3, 4), bias=True),
)


@dataclass
class Handmade:
    """A model and its manifest, both to be changed by a test."""

    model: onnx.ModelProto
    manifest: Manifest

    @property
    def tensors(self) -> Tensors:
        return locate_tensors(Path("ticket.onnx"), self.model)

    def array(self, name: str) -> np.ndarray:
        """A copy of an initializer's numbers."""
        (proto,) = [tensor for tensor in self.model.graph.initializer if tensor.name == name]
        return numpy_helper.to_array(proto).copy()

    def put(self, name: str, value: Any) -> None:
        """Replace an initializer, or add one."""
        tensors = self.model.graph.initializer
        for tensor in [tensor for tensor in tensors if tensor.name == name]:
            tensors.remove(tensor)
        tensors.append(numpy_helper.from_array(np.asarray(value), name))

    def layer(self, number: int, **fields: Any) -> None:
        """Change the record of a layer."""
        layers = list(self.manifest.layers)
        layers[number] = msgspec.structs.replace(layers[number], **fields)
        self.manifest = msgspec.structs.replace(self.manifest, layers=tuple(layers))

    def note(self, **fields: Any) -> None:
        """Change the manifest."""
        self.manifest = msgspec.structs.replace(self.manifest, **fields)

    def declare_dense(self, name: str, op: str, parameters: int, reason: str = "so") -> None:
        self.note(dense=(*self.manifest.dense, DensePlace(name, op, reason, parameters)))

    def extend(self, text: str, **tensors: Any) -> None:
        """Add nodes that read `y`, in ONNX's text form, and their tensors; they make `z`."""
        head = '<ir_version: 8, opset_import: ["" : 13, "own" : 1]>'
        added = parsed(f"{head} g (float[1, 3] y) => (float[N, M] z) {{ {text} }}")
        self.model.graph.node.extend(added.graph.node)
        self.model.graph.output[0].CopyFrom(added.graph.output[0])
        for name, value in tensors.items():
            self.put(name, value)

    def write(self, path: Path) -> Path:
        """Write the ticket, with a seal that holds."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        model.metadata_props.add(key=METADATA_KEY, value=self.manifest.to_json())
        digest = hashlib.sha256(model.SerializeToString(deterministic=True))
        model.metadata_props.add(key=SEAL_KEY, value=digest.hexdigest())
        path.write_bytes(model.SerializeToString(deterministic=True))
        return path


def parsed(text: str) -> onnx.ModelProto:
    """A model in ONNX's text form, of which the parser says that nodes have no domain."""
    model = parser.parse_model(text)
    for node in model.graph.node:
        if not node.domain:
            node.ClearField("domain")
    return model


def handmade(stored: Weights = Weights.FOLDED, *, half: bool = False) -> Handmade:
    """A genuine ticket in one of the forms."""
    rng, options = np.random.default_rng(0), Options(init=Init.KAIMING)
    manifest = Manifest(
        format=FORMAT,
        version="1",
        generator=GENERATOR,
        seed=SEED,
        target_sha256="0" * 64,
        target_name="target.onnx",
        options=OptionsRecord.of(options),
        layers=tuple(_record(source, options.init, stored, half) for source in SOURCES),
        dense=(),
        parameters=(),
        fresh=(),
    )
    ticket = Handmade(parsed(GRAPH), manifest)
    for number, source in enumerate(SOURCES):
        sigma = source.sigma(options.init)
        drawn = sigma * draw_rows(SEED, source, start=0, stop=source.shape[0])
        mask = rng.random(source.shape) < 0.4
        _store(ticket, ticket.manifest.layers[number], drawn, mask)
        ticket.layer(number, kept=int(mask.sum()))
        shape = (source.shape[0], *[1] * len(source.shape[2:]))
        ticket.put(f"{source.name}_scale", rng.random(shape, np.float32))
        if source.bias:
            bias = np.where([True, False, True], sigma * draw_bias(SEED, source), np.float32(0))
            ticket.put(f"{source.name}_bias", bias)
            ticket.layer(number, kept_bias=2)
    return ticket


def _record(source: SourceLayer, init: Init, stored: Weights, half: bool) -> LayerRecord:
    """The record of a layer of which nothing is kept yet."""
    return LayerRecord(
        weight=source.name,
        index=source.index,
        shape=source.shape,
        sigma=float(source.sigma(init)),
        kept=0,
        transposed=False,
        mirror_rows=source.mirror_rows,
        mirror_columns=source.mirror_columns,
        bias=f"{source.name}_bias" if source.bias else None,
        kept_bias=0,
        scale=f"{source.name}_scale",
        stored=stored,
        half=half,
        block=None,
    )


def _store(ticket: Handmade, layer: LayerRecord, drawn: np.ndarray, mask: np.ndarray) -> None:
    """Add a layer's initializers, and the nodes that make its weight of them."""
    name, nodes = layer.weight, []
    numbers = drawn.astype(np.float16 if layer.half else np.float32)
    whole = f"{name}/half" if layer.half else name
    if layer.stored is Weights.SPARSE:
        values = numpy_helper.from_array(numbers[mask], whole)
        places = numpy_helper.from_array(np.flatnonzero(mask), f"{whole}/places")
        sparse = helper.make_sparse_tensor(values, places, numbers.shape)
        ticket.model.graph.sparse_initializer.append(sparse)
    elif layer.stored is Weights.MASKED:
        ticket.put(f"{name}/source", numbers)
        ticket.put(f"{name}/mask", mask.astype(np.uint8))
        kind = TensorProto.FLOAT16 if layer.half else TensorProto.FLOAT
        nodes += [
            helper.make_node("Cast", [f"{name}/mask"], [f"{name}/cast"], to=kind),
            helper.make_node("Mul", [f"{name}/source", f"{name}/cast"], [whole]),
        ]
    else:
        ticket.put(whole, np.where(mask, numbers, numbers.dtype.type(0)))
    if layer.half:
        nodes.append(helper.make_node("Cast", [whole], [name], to=TensorProto.FLOAT))
    replace_items(ticket.model.graph.node, [*nodes, *ticket.model.graph.node])
