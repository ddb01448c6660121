"""What the graph is made of besides random weights, and that it is as the manifest has it."""

import math
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import onnx
from numpy.typing import NDArray

from lt_onnx.manifest import DenseReason, LayerRecord, Manifest
from lt_onnx.target import is_standard_domain
from lt_onnx.verification.constant_flow import check_flow, whole_data
from lt_onnx.verification.graph_index import LINEAR, Wiring, called, duplicates
from lt_onnx.verification.masked_weights import tensors_of
from lt_onnx.verification.tensors import Tensor, Tensors

OLDEST_IR = 4  # from there on initializers are no inputs


@dataclass
class Findings:
    """What was counted in the graph, and what is wrong with it."""

    scales: int = 0
    parameters: int = 0
    failures: list[str] = field(default_factory=list)


def check_structure(model: onnx.ModelProto, manifest: Manifest, tensors: Tensors) -> Findings:
    """Check that nothing dense hides."""
    wiring, failures = Wiring.of(model, manifest)
    found = Findings(failures=failures)
    of_layers = [name for layer in manifest.layers for name in tensors_of(layer)]
    scales = [layer.scale for layer in manifest.layers]
    weights = [layer.weight for layer in manifest.layers]
    for name in duplicates([*of_layers, *scales]) or duplicates(weights):
        found.failures.append(f"tensor '{name}' belongs to two layers, or is two things of one")
    for place, layer in enumerate(manifest.layers):
        if layer.index != place:
            found.failures.append(
                f"layer '{layer.weight}' is number {place}, but drawn from {layer.index}"
            )
        found.scales += _scale(layer, tensors, found.failures)
    _check_parameters(manifest, tensors, {*of_layers, *scales}, found)
    for name in sorted(tensors.keys() - wiring.readers.keys() - wiring.outputs):
        found.failures.append(f"tensor '{name}' is read by no node")
    _check_order(manifest, wiring, tensors, found.failures)
    _check_dense(manifest, wiring, tensors, found.failures)
    _check_nodes(model, wiring, found.failures)
    found.failures += check_flow(wiring, tensors, {*of_layers, *scales})
    return found


def _scale(layer: LayerRecord, tensors: Tensors, failures: list[str]) -> int:
    """How many scales a layer has that are not zero."""
    tensor = tensors.get(layer.scale)
    if tensor is None:
        return 0  # `layers` has told
    shape = (layer.shape[0], *[1] * len(layer.shape[2:]))
    if not isinstance(tensor, Tensor) or tensor.dtype != np.float32 or tensor.shape != shape:
        failures.append(f"tensor '{layer.scale}' is not one scale per channel")
        return 0
    value = tensor.array()
    if not np.isfinite(value).all():
        failures.append(f"tensor '{layer.scale}' holds a scale that is not finite")
    return int(np.count_nonzero(value))


def _check_parameters(
    manifest: Manifest, tensors: Tensors, of_layers: set[str], found: Findings
) -> None:
    """Every tensor that is no layer's is a named float parameter, or an index."""
    named = set(manifest.parameters)
    for name, tensor in tensors.items():
        if name in of_layers:
            if name in named:
                found.failures.append(f"tensor '{name}' of a layer is named as a parameter too")
        elif not isinstance(tensor, Tensor):
            found.failures.append(f"sparse tensor '{name}' is no layer's weight")
        elif name in named and tensor.dtype == np.float32:
            found.parameters += tensor.size
            if not np.isfinite(tensor.array()).all():
                found.failures.append(f"tensor '{name}' holds a parameter that is not finite")
        elif tensor.dtype not in (np.int64, np.int32, np.bool_) or name in named:
            found.failures.append(
                f"tensor '{name}' ({tensor.dtype}, {tensor.size} values) is neither source, "
                "scale, index nor a named parameter"
            )
    for name in sorted(named - tensors.keys()):
        found.failures.append(f"parameter '{name}' of the manifest is not in the file")


def _check_order(manifest: Manifest, wiring: Wiring, tensors: Tensors, failures: list[str]) -> None:
    """Every tensor that reorders neurons is the index of one Gather."""
    rows = max(layer.shape[0] for layer in manifest.layers)
    for name in manifest.order:
        tensor, reader = tensors.get(name), wiring.only_reader(name, 1)
        fits = isinstance(tensor, Tensor) and tensor.dtype == np.int64 and len(tensor.shape) == 1
        if not fits or reader is None or wiring.nodes[reader].op_type != "Gather":
            failures.append(f"tensor '{name}' is not the order of a block's neurons")
        elif isinstance(tensor, Tensor) and not _orders(tensor.array(), rows):
            failures.append(f"tensor '{name}' orders neurons that no block has")


def _orders(places: NDArray[np.int64], rows: int) -> bool:
    return bool(((places >= 0) & (places < rows)).all())


def _check_dense(manifest: Manifest, wiring: Wiring, tensors: Tensors, failures: list[str]) -> None:
    """Every place declared dense is there, once, with as many parameters as declared."""
    there = Counter((node.name, node.op_type) for node in wiring.nodes)
    declared = Counter((place.name, place.op) for place in manifest.dense)
    for (name, op), count in declared.items():
        if there[name, op] != count:
            failures.append(
                f"node '{name}' ({op}) is declared dense {count} times and stands there "
                f"{there[name, op]} times"
            )
    by_name = {
        (wiring.nodes[i].name, wiring.nodes[i].op_type): wiring.nodes[i] for i in wiring.dense
    }
    for place in manifest.dense:
        node = by_name.get((place.name, place.op))
        if node is None or declared[place.name, place.op] > 1:
            continue
        values = [tensors[name] for name in node.input if name in tensors]
        floats = [v for v in values if isinstance(v, Tensor) and v.dtype == np.float32]
        floats = [v for v in floats if v.size > 1 or node.op_type == "Concat"]
        whole = sum(math.prod(tensors[name].shape) for name in whole_data(node, tensors))
        count, claimed = sum(value.size for value in floats) + whole, place.parameters
        fits = count == claimed
        if not fits and place.reason == DenseReason.REPEATED:  # zeros stand for constants
            fits = sum(len(np.unique(v.array())) - 1 for v in floats) <= claimed <= count
        if not fits:
            failures.append(f"{called(node)} has {count} parameters, declared are {claimed}")


def _check_nodes(model: onnx.ModelProto, wiring: Wiring, failures: list[str]) -> None:
    """Order, domains, and linear operators that are nobody's."""
    known = {value.name for value in model.graph.input}
    known |= {t.name for t in model.graph.initializer}
    known |= {t.values.name for t in model.graph.sparse_initializer}
    if model.ir_version < OLDEST_IR or all(
        not is_standard_domain(o.domain) for o in model.opset_import
    ):
        failures.append(f"the model is of IR {model.ir_version}, or names no operator set")
    for number, node in enumerate(wiring.nodes):
        unknown = next((name for name in node.input if name and name not in known), None)
        if unknown is not None:
            failures.append(f"{called(node)} reads '{unknown}', which nothing before it makes")
        known.update(node.output)
        free = number not in wiring.layers and number not in wiring.dense
        if free and is_standard_domain(node.domain) and not onnx.defs.has(node.op_type):
            failures.append(f"{called(node)} is of no operator that ONNX knows")
        if free and not is_standard_domain(node.domain):
            failures.append(f"{called(node)} is of domain '{node.domain}' and not declared dense")
        elif free and node.op_type in LINEAR:
            failures.append(f"{called(node)} is neither a layer nor declared dense")
    for value in model.graph.output:
        if value.name not in wiring.maker and value.name not in wiring.inputs:
            failures.append(f"graph output '{value.name}' is made by no node")
