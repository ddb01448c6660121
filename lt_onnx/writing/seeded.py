"""The ticket that makes its own random numbers: mask codes and scales, and a generator.

In: a ticket whose layers are sparse. Out: the same graph, in operator set 18, behind a generator
that makes every layer's weight from the seed and the codes of its mask; see `generator`. Or, with
the ticket's plan, the target's own graph behind it, its layers' weights summed; see `collapse`.
"""

import math
from collections.abc import Collection, Mapping, MutableSequence, Sequence
from typing import Any

import numpy as np
import onnx
from msgspec.structs import replace
from onnx import numpy_helper

from lt_onnx.blueprint import Blueprint
from lt_onnx.errors import InputError
from lt_onnx.manifest import (
    DEPLOYED_KEY,
    METADATA_KEY,
    CollapsedLayer,
    Deployed,
    LayerRecord,
    Manifest,
    digest,
)
from lt_onnx.options import Weights
from lt_onnx.reading.operator_sets import SEEDED, changed_nodes, raised_nodes
from lt_onnx.runtime import to_proto
from lt_onnx.target import Indices, is_standard_domain
from lt_onnx.writing.assembly import assemble
from lt_onnx.writing.collapse import collapsed
from lt_onnx.writing.generator import Graph, Piece, generate, shape_weight
from lt_onnx.writing.generator_sums import sum_weight
from lt_onnx.writing.storage import Form

MAX_SEEDED_WEIGHTS = 1 << 31  # of a layer: positions are int32
SEEDED_IR = 8  # of a file in operator set 18
GRAPH_TEXT = (
    "The weights are not in this file: it makes them. For each layer, <weight>/codes say which "
    "weights of the random source are kept (<weight>/mask), a generator makes their values from "
    "the seed (<weight>/draw), and they are scattered into zeros (<weight>)."
)


def seeded(
    model: onnx.ModelProto, manifest: Manifest, plan: Blueprint | None = None
) -> onnx.ModelProto:
    """The seeded form of a ticket with sparse layers; its seal is not put on.

    With `plan`, the ticket's own, its blocks are collapsed. Raises InputError where a node would
    mean something else in operator set 18, a tensor has a name that the generator needs, or the
    ticket does not collapse.
    """
    sparse = {tensor.values.name: tensor for tensor in model.graph.sparse_initializer}
    dense = {tensor.name: tensor for tensor in model.graph.initializer}
    collapse = None if plan is None else collapsed(plan)
    layers = manifest.layers
    if collapse is not None:
        layers = tuple(manifest.layers[entry.layer] for entry in collapse.layers)
    pieces = _pieces(layers, sparse, dense)
    graph, digests = Graph(), []
    generate(graph, pieces, manifest.seed)
    for place, layer in enumerate(layers):
        if collapse is None:
            shape_weight(graph, layer)
        else:
            entry = collapse.layers[place]
            univariate = manifest.layers[entry.block]
            sum_weight(graph, layer, univariate, entry, slope=collapse.slope)
        names = [layer.weight, *([layer.bias] if layer.bias is not None else [])]
        codes = [graph.tensors[f"{name}/codes"] for name in names]
        digests.append(digest(*codes, numpy_helper.to_array(dense[layer.scale])))
    entries: tuple[CollapsedLayer, ...] = ()
    slope = 0.0 if collapse is None else collapse.slope
    if collapse is None:
        out = _emptied(model, manifest)
        out.graph.initializer.extend(dense.values())
    else:
        out, entries = _assembled(collapse.blueprint, model.graph.name), collapse.layers
        out.graph.initializer.extend(dense[layer.scale] for layer in layers)
        used = collapse.blueprint.constants
        floats = sorted(name for name, v in used.items() if v.dtype == np.float32)
        manifest = replace(manifest, dense=collapse.blueprint.dense, parameters=tuple(floats))
    layers = tuple(replace(layer, stored=Weights.SEEDED) for layer in manifest.layers)
    out.metadata_props.add(key=METADATA_KEY, value=replace(manifest, layers=layers).to_json())
    put_generator(out, graph, digests=tuple(digests), entries=entries, slope=slope)
    return out


def _pieces(
    layers: Sequence[LayerRecord],
    sparse: Mapping[str, onnx.SparseTensorProto],
    dense: dict[str, onnx.TensorProto],
) -> list[Piece]:
    """What is to be drawn of the layers; biases are taken out of `dense`. Raises InputError."""
    pieces = []
    for layer in layers:
        if math.prod(layer.shape) >= MAX_SEEDED_WEIGHTS:
            raise InputError(
                f"layer '{layer.weight}' has {math.prod(layer.shape):,} weights, more than "
                "`weights=seeded` can number: use `weights=sparse`"
            )
        places = _places(layer, sparse[Form.of(layer).numbers])
        pieces.append(Piece(layer.weight, layer, places))
        if layer.bias is not None:
            kept = np.flatnonzero(numpy_helper.to_array(dense.pop(layer.bias)))
            pieces.append(Piece(layer.bias, layer, kept, is_bias=True))
    return pieces


def _emptied(model: onnx.ModelProto, manifest: Manifest) -> onnx.ModelProto:
    """A ticket's model without tensors, metadata, and what makes its weights of them."""
    casts = {node.name for layer in manifest.layers for node in Form.of(layer).nodes()}
    out = onnx.ModelProto()
    _copy(model, out, without=("graph", "metadata_props"))
    _copy(model.graph, out.graph, without=("node", "initializer", "sparse_initializer"))
    out.graph.node.extend(node for node in model.graph.node if node.name not in casts)
    return out


def _copy(message: Any, to: Any, *, without: Collection[str]) -> None:
    """Copy the fields of a message to an empty one, but for some that may be gigabytes."""
    for field, value in message.ListFields():
        if field.name in without:
            continue
        if isinstance(value, MutableSequence):
            getattr(to, field.name).extend(value)
        elif field.message_type is not None:
            getattr(to, field.name).CopyFrom(value)
        else:
            setattr(to, field.name, value)


def _assembled(plan: Blueprint, name: str) -> onnx.ModelProto:
    """The model of a collapsed form without what the generator makes."""
    constants = {k: numpy_helper.from_array(v, k) for k, v in sorted(plan.constants.items())}
    nodes = [node for step in plan.steps for node in step.nodes]
    return assemble(name, nodes, tensors=constants, target=plan.target)


def put_generator(
    model: onnx.ModelProto,
    graph: Graph,
    *,
    digests: tuple[str, ...],
    entries: tuple[CollapsedLayer, ...],
    slope: float,
) -> None:
    """Put a generator before the nodes of a model, and raise its operator set. Raises InputError.

    `digests` are those of the layers' codes and scales; `entries` the collapsed layers, if any, and
    `slope` that of their activation.
    """
    initializers = model.graph.initializer
    opset = next(o for o in model.opset_import if is_standard_domain(o.domain))
    changed = changed_nodes(model, opset.version)
    if changed:
        raise InputError(
            f"{changed[0]} of operator set {opset.version} is another in {SEEDED}, which "
            f"`weights=seeded` needs: convert the target to operator set {SEEDED} first"
        )
    nodes, more = raised_nodes(model, opset.version)
    initializers.extend(numpy_helper.from_array(value, name) for name, value in more.items())
    there = {value.name for value in model.graph.input} | {tensor.name for tensor in initializers}
    there |= {name for node in nodes for name in node.output}
    taken = there & ({n for node, _ in graph.nodes for n in node.outputs} | graph.tensors.keys())
    if taken:
        raise InputError(
            f"the generator of `weights=seeded` needs the name '{min(taken)}': rename that tensor "
            "of the target"
        )
    record = Deployed(model.ir_version, opset.version, digests, entries, slope)
    del model.graph.node[:]
    for node, text in graph.nodes:
        proto = to_proto(node)
        if text:
            proto.doc_string = text
        model.graph.node.append(proto)
    model.graph.node.extend(nodes)
    tensors = sorted(graph.tensors.items())
    initializers.extend(numpy_helper.from_array(value, name) for name, value in tensors)
    model.graph.doc_string = GRAPH_TEXT
    model.metadata_props.add(key=DEPLOYED_KEY, value=record.to_json())
    opset.version = max(opset.version, SEEDED)
    model.ir_version = max(model.ir_version, SEEDED_IR)


def _places(layer: LayerRecord, tensor: onnx.SparseTensorProto) -> Indices:
    """Where the kept weights of a sparse layer are, flat in [O, I, *K], rising."""
    places = np.asarray(numpy_helper.to_array(tensor.indices))
    if not layer.transposed:
        return places
    rows = layer.shape[0]
    return np.sort(places % rows * layer.shape[1] + places // rows)
