"""How many bits say which operators a graph has, what they read and their attributes.

In: the graph. Out: bits, at most. A layer is one node here, whose form and weight are its record's.
Nodes are told in the file's order, each by what is another than in the last one of its operator.
"""

import math
from collections import Counter
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from itertools import pairwise

from onnx import AttributeProto, NodeProto

from lt_onnx.verification.allowed_operators import schema_of
from lt_onnx.verification.code_lengths import FLOAT, gamma_bits, kinds_bits
from lt_onnx.verification.graph_index import GraphIndex

OPERATOR = 8  # bits that name one of ONNX's, or a type
OF_RECORD = frozenset("kernel_shape transB".split())  # attributes that a layer's record fixes


def graph_bits(index: GraphIndex, linear: set[int], sets: Mapping[str, int]) -> float:
    """Bits of the nodes that are no layer's, and of the `linear` operators of layers.

    `sets` are the operator sets by domain.
    """
    others = [number for number in range(len(index.nodes)) if number not in index.layers]
    kinds = Counter((index.nodes[n].domain, index.nodes[n].op_type) for n in others)
    bits = len(kinds) * OPERATOR + kinds_bits([*kinds.values(), len(linear)])
    names = math.log2(len(index.maker.keys() | index.inputs | index.readers.keys()) + 1)
    last: dict[tuple[str, str], NodeProto] = {}
    made: AbstractSet[str] = index.inputs
    followed = list[bool]()
    for number in sorted({*others, *linear}):
        node = index.nodes[number]
        before = last.get((node.domain, node.op_type))
        bits += _inputs(index, number, before, made=made, any_name=names)
        bits += _attributes(node, before, sets, is_layer=number in index.layers)
        last[node.domain, node.op_type] = node
        own = _own(index, number, linear)
        made = {*index.nodes[own[-1]].output}
        followed += [after == before + 1 for before, after in pairwise(own)]
    apart = followed.count(False)  # nodes of layers that do not stand where they are looked for
    bits += kinds_bits([len(followed) - apart, apart]) + apart * math.log2(len(index.nodes))
    return bits


def _own(index: GraphIndex, number: int, linear: set[int]) -> list[int]:
    """A node; of a layer the others behind it, up to its last, wherever those stand in the file."""
    own = [number]
    while own[-1] in index.layers and len(made := {*index.nodes[own[-1]].output}) == 1:
        readers = {reader for name in made for reader, _ in index.readers.get(name, [])}
        if len(readers) != 1 or not (readers <= index.layers and readers.isdisjoint(linear)):
            break
        own += readers
    return own


def _inputs(
    index: GraphIndex,
    number: int,
    last: NodeProto | None,
    *,
    made: AbstractSet[str],
    any_name: float,
) -> float:
    """Bits of what a node reads: by 1 bit or more what the step before it `made`, by 2 the next
    initializer, by 3 what the `last` of its operator reads there, or any other tensor.
    """
    node, bits = index.nodes[number], 0.0
    for place, name in enumerate(node.input[:1] if number in index.layers else node.input):
        known = not name or name in index.maker or name in index.inputs
        if name in made:
            bits += 1 + math.log2(len(made))
        elif not known and index.readers[name][0] == (number, place):
            bits += 2
        elif last is not None and [name] == list(last.input[place : place + 1]):
            bits += 3
        else:
            bits += 3 + any_name
    return bits


def _attributes(
    node: NodeProto, last: NodeProto | None, sets: Mapping[str, int], *, is_layer: bool
) -> float:
    """Bits of how many inputs and outputs a node has, of which attributes, and of these."""
    fixed = OF_RECORD if is_layer else frozenset[str]()
    own, others = (
        {a.name: a for a in of.attribute if a.name not in fixed} if of is not None else {}
        for of in (node, last)
    )
    width = () if is_layer else _width(node)
    bits = 0.0 if last is None else 1.0
    if last is None or own.keys() != others.keys() or (width and width != _width(last)):
        schema = schema_of(node, sets)
        bits += sum(8 * len(name) + 8 for name in own) if schema is None else len(schema.attributes)
        bits += sum(map(gamma_bits, width))
    for name, attribute in own.items():
        if name in others:
            bits += 1
            if attribute == others[name]:
                continue
        bits += sum(map(gamma_bits, attribute.ints)) if is_layer else 0.0
        bits += 0.0 if is_layer and attribute.ints else _value(attribute)
    return bits


def _width(node: NodeProto) -> tuple[int, ...]:
    """How many inputs and outputs a node has, and which of its outputs are none."""
    left_out = [place for place, name in enumerate(node.output) if not name]
    return len(node.input), len(node.output) - 1, len(left_out), *left_out


def _value(attribute: AttributeProto) -> float:
    """Bits of an attribute's value."""
    match attribute.type:
        case AttributeProto.INT:
            return gamma_bits(attribute.i)
        case AttributeProto.INTS:
            return gamma_bits(len(attribute.ints)) + sum(map(gamma_bits, attribute.ints))
        case AttributeProto.FLOAT:
            return FLOAT
        case AttributeProto.FLOATS:
            return gamma_bits(len(attribute.floats)) + FLOAT * len(attribute.floats)
        case _:
            return 8.0 * int(attribute.ByteSize())
