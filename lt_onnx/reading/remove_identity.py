"""Operators that hand on their input vanish.

1. Identity and Dropout, unless what they make is an output of the graph, or the Dropout's mask is
   read: whoever reads the output reads the input.
2. Where the input is a constant, the output is one.
"""

from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import replace

from lt_onnx.target import Array, Node


def remove_identity(
    nodes: Sequence[Node], constants: Mapping[str, Array], outputs: Container[str]
) -> tuple[list[Node], dict[str, Array]]:
    """The nodes of a graph that stay, in order, and its constants with the new ones of case 2."""
    reads = Counter(name for node in nodes for name in node.inputs)
    constants, kept = dict(constants), []
    source_of: dict[str, str] = {}
    for node in nodes:
        node = replace(node, inputs=tuple(source_of.get(name, name) for name in node.inputs))
        output, *masks = node.outputs
        handed_on = node.op in ("Identity", "Dropout") and not node.domain
        if not handed_on or output in outputs or any(reads[name] for name in masks if name):
            kept.append(node)
        elif node.inputs[0] in constants:
            constants[output] = constants[node.inputs[0]]
        else:
            source_of[output] = node.inputs[0]
    return kept, constants
