"""Nodes written as lines: `output = Operator(inputs) attribute=value ! doc string`.

In: such lines, with names to put in. Out: the nodes.
"""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

LINE = re.compile(r"(\S+) = (\w+)\(([^)]*)\)((?: \w+=\S+)*)(?: ! (.*))?")


def written(text: str, **names: str) -> Iterator[onnx.NodeProto]:
    """The nodes of some lines. A name's first part is replaced if it is one of `names`.

    So are a B, K or R that stands for a number or a key inside a name.
    """

    def name(word: str) -> str:
        word = re.sub(r"_([BR])$", lambda match: f"_{names[match[1]]}", word)
        return "/".join(names.get(part, part) for part in word.split("/"))

    for line in text.strip().splitlines():
        match = LINE.fullmatch(line)
        assert match is not None
        output, op, inputs, attributes, doc = match.groups()
        node = helper.make_node(op, [name(word) for word in inputs.split()], [name(output)])
        if doc:
            node.doc_string = doc
        for key, value in (word.split("=") for word in attributes.split()):
            node.attribute.append(helper.make_attribute(key, _attribute(key, value)))
        yield node


def _attribute(key: str, value: str) -> Any:
    match key:
        case "body":  # of a Scan: each number is handed on as it is
            names = "draw/hand_on/number", "draw/hand_on/same"
            ports = [helper.make_tensor_value_info(p, TensorProto.INT32, []) for p in names]
            nodes = [helper.make_node("Identity", names[:1], names[1:])]
            return helper.make_graph(nodes, value, ports[:1], ports[1:])
        case "direction":
            return value
        case "to":
            return TensorProto.DataType.Value(value)
        case "value":
            return numpy_helper.from_array(np.zeros(1, value))
    numbers = [int(number) for number in value.split(",")]
    return numbers[0] if len(numbers) == 1 else numbers
