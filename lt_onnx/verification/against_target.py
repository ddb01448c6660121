"""The second, separate check: is the ticket's graph what its target is planned to?

In: the ticket and its target's file. Out: the differences. Here, and only here, the proof uses the
constructor's planner: it plans the target with the manifest's options and compares nodes,
attributes, edges, inputs, outputs, layers, integer tensors and parameters with those of the file.
Free are the masks and scales of constructed layers, and what a block's record says of its range
and its constants.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from lt_onnx.blueprint import Blueprint, Build, Expand, Run
from lt_onnx.errors import InputError, LtOnnxError
from lt_onnx.manifest import LayerRecord, Manifest
from lt_onnx.planning.allocation import check_layers
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.reading.protobuf import node_title
from lt_onnx.runtime import to_proto, value_info
from lt_onnx.target import Array
from lt_onnx.units import name_text
from lt_onnx.verification.masked_weights import stored_tensors
from lt_onnx.verification.seeded import Restored
from lt_onnx.verification.structure import MIN_IR_VERSION
from lt_onnx.verification.tensors import Tensor, Tensors
from lt_onnx.verification.ticket_file import OTHER_TARGET
from lt_onnx.version import __version__
from lt_onnx.writing.collapse import Collapse, collapsed
from lt_onnx.writing.storage import SOURCE_FIELDS, Form

MAX_DIFFERENCES = 20  # that are told


def check_against_target(restored: Restored, tensors: Tensors, target: Path) -> list[str]:
    """How the ticket differs from what the network at `target` is planned to; one line each.

    Of a collapsed ticket it is the collapsed form of that. Raises InputError for a target that
    cannot be read.
    """
    manifest, model = restored.manifest, restored.graph
    read = read_target(target)
    if read.sha256 != manifest.target_sha256:
        return [f"{OTHER_TARGET} than {target} (SHA-256 differs)"]
    tensors_read = {name for step in read.steps for name in step.inputs}
    for name in manifest.fresh:
        if name not in tensors_read:
            return [f"it says that constants are lost on '{name_text(name)}', which nothing reads"]
    try:
        blueprint = plan(read, manifest.construction(), constants_lost=frozenset(manifest.fresh))
        check_layers(blueprint)
        form = collapsed(blueprint) if restored.collapsed else Collapse(blueprint, (), 0.0)
    except InputError as error:
        return [f"the target cannot be planned with the manifest's options: {error}"]
    except (LtOnnxError, ArithmeticError, AssertionError, LookupError, ValueError) as error:
        return [f"the manifest's options do not fit the target: {error}"]
    differences = [
        *_layers(replace(blueprint, dense=form.blueprint.dense), manifest),
        *_nodes(form.blueprint, manifest, model),
        *_ports(blueprint, model),
        *_constants(blueprint, manifest, tensors, planned=form.blueprint.constants),
    ]
    if (form.layers, form.slope) != (restored.collapsed, restored.slope):
        differences.append("its layers collapse otherwise than the target's")
    name = f"{read.name or 'network'}_{'source' if _is_whole(manifest) else 'ticket'}"
    if (model.graph.name, model.producer_version) != (name, manifest.version):
        differences.append("its graph's name is not the target's, or its maker's version another")
    if manifest.version != __version__:
        differences.append(
            f"the ticket says that version {manifest.version} made it, this is {__version__}, "
            "which may plan otherwise: prove it by that version"
        )
    if len(differences) > MAX_DIFFERENCES:
        differences[MAX_DIFFERENCES:] = [f"and {len(differences) - MAX_DIFFERENCES} more"]
    return differences


def _is_whole(manifest: Manifest) -> bool:
    """Whether it is the unmasked source."""
    return all(layer.kept == math.prod(layer.shape) for layer in manifest.layers)


def _layers(blueprint: Blueprint, manifest: Manifest) -> Iterator[str]:
    """Layers, dense places and lists of names that differ."""
    steps = [step for step in blueprint.steps if not isinstance(step, Run)]
    whole = _is_whole(manifest)
    if len(steps) != len(manifest.layers):
        yield f"the target is planned to {len(steps)} layers, the ticket has {len(manifest.layers)}"
    for step, layer in zip(steps, manifest.layers, strict=False):
        spec = step.source
        planned = {
            "weight": spec.name,
            "bias": f"{spec.name}/bias" if spec.bias else None,
            "scale": step.scale,
            **{name: getattr(spec, name) for name in SOURCE_FIELDS},
        }
        same = all(getattr(layer, name) == value for name, value in planned.items())
        if not same or not _is_block(step, layer, whole=whole):
            yield f"layer '{layer.weight}' is not the '{spec.name}' that the target is planned to"
    if blueprint.dense != manifest.dense:
        yield "its dense places are not those that the target is planned to have"


def _is_block(step: Expand | Build, layer: LayerRecord, *, whole: bool) -> bool:
    """Whether a layer is the block that is planned, or none where none is.

    The unmasked source, `whole`, has layers without: nothing in it is chosen.
    """
    block = layer.block
    if isinstance(step, Build) or block is None:
        return block is None and (isinstance(step, Build) or whole)
    column = np.arange(step.channels)
    if step.in_layout is not None:
        column = step.in_layout.find((c, 0) for c in range(step.channels))
    held = block.channels, block.neurons, block.group, block.order
    return (
        held == (step.channels, step.neurons, step.group, step.order)
        and block.parts == tuple(dict.fromkeys(step.slots[:, 1].tolist()))
        and (block.constants is not None) == (step.constants > 0)
        and np.array_equal(block.columns, column)
    )


def _nodes(blueprint: Blueprint, manifest: Manifest, model: onnx.ModelProto) -> Iterator[str]:
    """Nodes that differ in operator, attributes or edges."""
    by_name = {layer.weight: layer for layer in manifest.layers}
    forms = [
        node
        for step in blueprint.steps
        if not isinstance(step, Run) and step.source.name in by_name
        for node in Form.of(by_name[step.source.name]).nodes()
    ]
    planned = [to_proto(node) for node in forms]
    planned += [to_proto(node) for step in blueprint.steps for node in step.nodes]
    if len(planned) != len(model.graph.node):
        yield (
            f"the target is planned to {len(planned)} nodes, the ticket has {len(model.graph.node)}"
        )
    for wanted, held in zip(planned, model.graph.node, strict=False):
        where, attributes = node_title(held), _other_attributes(wanted, held)
        if (wanted.op_type, wanted.name, wanted.domain) != (held.op_type, held.name, held.domain):
            yield f"{where} stands where the target has '{wanted.name}' ({wanted.op_type})"
            return  # what follows is displaced
        if (wanted.input, wanted.output) != (held.input, held.output):
            yield f"{where} is wired otherwise than in the target"
        elif attributes:
            yield f"{where} has other attributes than in the target: {', '.join(attributes)}"


def _other_attributes(wanted: onnx.NodeProto, held: onnx.NodeProto) -> list[str]:
    """Names of the attributes that differ, whatever their order."""
    first, second = (
        {a.name: a.SerializeToString(deterministic=True) for a in node.attribute}
        for node in (wanted, held)
    )
    return sorted(n for n in first.keys() | second.keys() if first.get(n) != second.get(n))


def _ports(blueprint: Blueprint, model: onnx.ModelProto) -> Iterator[str]:
    """Inputs, outputs and operator sets that differ."""
    target = blueprint.target
    for what, ports, held in (
        ("inputs", target.inputs, model.graph.input),
        ("outputs", target.outputs, model.graph.output),
    ):
        if [value_info(port.name, port.dtype, port.declared) for port in ports] != list(held):
            yield f"its {what} are not the target's"
    opsets = [helper.make_opsetid(d, v) for d, v in sorted(target.opsets.items())]
    if opsets != list(model.opset_import):
        yield "its operator sets are not the target's"
    if model.ir_version != max(MIN_IR_VERSION, target.ir_version):
        yield f"its IR version is {model.ir_version}, not the target's"


def _constants(
    blueprint: Blueprint, manifest: Manifest, tensors: Tensors, *, planned: Mapping[str, Array]
) -> Iterator[str]:
    """Integer tensors and parameters that differ from those `planned`, bit for bit."""
    free = {layer.scale for layer in manifest.layers}
    free |= {step.order for step in blueprint.steps if isinstance(step, Expand)}
    free.update(name for layer in manifest.layers for name in stored_tensors(layer))
    for name in sorted((tensors.keys() - free) ^ planned.keys()):
        yield f"tensor '{name}' is {'none of the target' if name in tensors else 'missing'}"
    for name in sorted(tensors.keys() & planned.keys()):
        tensor, wanted = tensors[name], np.asarray(planned[name])
        same = (
            isinstance(tensor, Tensor)
            and tensor.dtype == wanted.dtype
            and tensor.shape == wanted.shape
            and tensor.array().tobytes() == wanted.tobytes()
        )
        if not same:
            yield f"tensor '{name}' holds other numbers than the target's"
    for step in blueprint.steps:
        if isinstance(step, Expand) and step.order in tensors:
            width = step.out_layout.width
            if tensors[step.order].shape != (width,):
                yield f"tensor '{step.order}' is not the order of {width} neurons that is planned"
