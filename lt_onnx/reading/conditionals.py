"""An If whose condition is known becomes the branch that is taken.

Exporters write one where a size decides: whether an axis of size 1 is squeezed, or how many axes an
Expand adds.
"""

from collections.abc import Mapping

import onnx
from onnx import helper

from lt_onnx.reading.protobuf import bodies
from lt_onnx.target import is_standard_domain

BRANCHES = ("else_branch", "then_branch")


def may_be_inlined(node: onnx.NodeProto) -> bool:
    """Whether a node is an If of two branches that are graphs of nodes and dense tensors."""
    branches = {a.name: a.g for a in node.attribute if a.HasField("g")}
    return (
        node.op_type == "If"
        and is_standard_domain(node.domain)
        and len(node.input) == 1
        and branches.keys() == set(BRANCHES)
        and all(
            len(body.output) == len(node.output) and not (body.input or body.sparse_initializer)
            for body in branches.values()
        )
    )


def inlined(
    node: onnx.NodeProto, *, truth: bool, taken: set[str]
) -> tuple[list[onnx.NodeProto], list[onnx.TensorProto]]:
    """Nodes and tensors that make the outputs of an If whose condition is `truth`.

    Names that are `taken` are not used again; the new ones are added.
    """
    (body,) = (a.g for a in node.attribute if a.name == BRANCHES[truth])
    made = dict.fromkeys(name for inner in body.node for name in inner.output if name)
    names = {name: _free(name, taken) for name in [*made, *(t.name for t in body.initializer)]}
    handed, outputs = list[onnx.NodeProto](), {*node.output}
    for value, output in zip(body.output, node.output, strict=True):
        if value.name in made and names[value.name] not in outputs:
            names[value.name] = output
        elif output:  # it is of outside, a constant, or handed out twice
            source = names.get(value.name, value.name)
            handed.append(helper.make_node("Identity", [source], [output], name=output))
    nodes, tensors = [], []
    for inner in body.node:
        nodes.append(onnx.NodeProto())
        nodes[-1].CopyFrom(inner)
        _rename(nodes[-1], names)
    for tensor in body.initializer:
        tensors.append(onnx.TensorProto())
        tensors[-1].CopyFrom(tensor)
        tensors[-1].name = names[tensor.name]
    return nodes + handed, tensors


def _free(name: str, taken: set[str]) -> str:
    """The name, or one like it, that is not taken; it is then."""
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Rename what a node reads and writes, in its bodies too."""
    for field in (node.input, node.output):
        field[:] = [names.get(name, name) for name in field]
    for body in bodies(node):
        for inner in body.node:
            _rename(inner, names)
        for value in body.output:
            value.name = names.get(value.name, value.name)
