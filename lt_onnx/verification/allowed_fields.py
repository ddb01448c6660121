"""Which protobuf fields a ticket's file may fill.

In: the parsed model. Out: every field, attribute and name beside those that tickets have, message
by message: no functions, subgraphs, training info, quantisation, tensors in attributes or second
data fields, where numbers could be hidden.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import onnx
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet
from onnx import AttributeProto

from lt_onnx.manifest import METADATA_KEY, SEAL_KEY, TICKET_TEXT
from lt_onnx.reading.protobuf import canonical_domain, node_title

MAX_MESSAGES = 500_000  # in a file; a ticket of 10,000 nodes has a tenth of it
MAX_NAME = 2048 + 256  # characters: of a target's, and of what a ticket puts behind it
MAX_ATTRIBUTE_SIZE = 1024  # integers or bytes of one attribute
VALUE_FIELDS = {  # where an attribute of each type has its value
    AttributeProto.FLOAT: "f",
    AttributeProto.INT: "i",
    AttributeProto.STRING: "s",
    AttributeProto.FLOATS: "floats",
    AttributeProto.INTS: "ints",
    AttributeProto.STRINGS: "strings",
    AttributeProto.TENSOR: "t",  # of a ConstantOfShape; `structure` judges it
}
SINGLE = frozenset("f i s t".split())  # there in every attribute of their type
FIELDS = {  # of each message
    "ModelProto": "ir_version producer_name producer_version graph opset_import metadata_props",
    "GraphProto": "doc_string node name initializer sparse_initializer input output",
    "NodeProto": "input output name op_type domain attribute doc_string",  # see `structure`
    "AttributeProto": "name type f i s floats ints strings t",
    "TensorProto": "dims data_type name raw_data data_location external_data",
    "SparseTensorProto": "values indices dims",
    "ValueInfoProto": "name type",
    "TypeProto": "tensor_type denotation",
    "Tensor": "elem_type shape",
    "TensorShapeProto": "dim",
    "Dimension": "dim_value dim_param denotation",
    "StringStringEntryProto": "key value",
    "OperatorSetIdProto": "domain version",
}
# fields that are left out where they say nothing
UNSAID = frozenset("data_location denotation dim_param doc_string domain name".split())
MAY_BE_EMPTY = {  # what ONNX's own tools write of the standard's operators, and inside attributes
    "OperatorSetIdProto": frozenset(["domain"]),
    "TensorProto": frozenset(["name"]),
}

TYPES = frozenset(onnx.TensorProto.DataType.values())
TITLES = {"ModelProto": "the model", "GraphProto": "the graph", "TensorProto": "tensor"}


def is_readable(message: Message) -> bool:
    """Whether every string is UTF-8, and there are at most MAX_MESSAGES messages to look at.

    Protobuf returns what is not UTF-8 as bytes, or raises.
    """
    count = 0
    try:
        for part in _messages(message):
            for field, value in part.ListFields():
                if field.type == field.TYPE_STRING:
                    values = [value] if isinstance(value, str | bytes) else value
                    if not all(isinstance(text, str) for text in values):
                        return False
                elif field.type == field.TYPE_MESSAGE and not isinstance(value, Message):
                    count += len(value)
            if count > MAX_MESSAGES:
                return False
    except (UnicodeDecodeError, RecursionError):
        return False
    return True


def check_fields(model: onnx.ModelProto) -> list[str]:
    """What is in the file that no ticket has; one line each."""
    failures: list[str] = []
    for part in _messages(model):
        allowed = FIELDS.get(part.DESCRIPTOR.name, "").split()
        unsaid = UNSAID - MAY_BE_EMPTY.get(part.DESCRIPTOR.name, frozenset())
        for field, value in part.ListFields():
            if field.name not in allowed:
                failures.append(f"{_title(part)} has '{field.name}', which no ticket has")
            elif field.name in unsaid and value in ("", 0):
                failures.append(f"{_title(part)} says that its '{field.name}' is nothing")
        if isinstance(part, onnx.TypeProto.Tensor) and part.elem_type not in TYPES:
            failures.append(f"a tensor is said to be of unknown type {part.elem_type}")
        if len(UnknownFieldSet(part)):
            failures.append(f"{_title(part)} has fields that ONNX does not know")
        if isinstance(part, onnx.TensorProto):
            external = part.data_location == onnx.TensorProto.EXTERNAL
            if part.HasField("raw_data") == external or (part.external_data and not external):
                failures.append(f"{_title(part)} has not one place where its numbers are")
    for node in model.graph.node:
        if not any(node.output):
            failures.append(f"{_title(node)} makes nothing")
        failures += [f"{_title(node)}: {why}" for why in _attributes(node)]
    return [*dict.fromkeys([*failures, *_texts(model)]), *_names(model)]


def _texts(model: onnx.ModelProto) -> Iterator[str]:
    """Texts that no ticket has, or that are longer than any name."""
    for entry in model.metadata_props:
        if entry.key not in (METADATA_KEY, SEAL_KEY):
            yield f"metadata entry '{entry.key[:MAX_NAME]}' is none of a ticket's"
    keys = [entry.key for entry in model.metadata_props]
    if keys != [METADATA_KEY, SEAL_KEY][: len(keys)]:
        yield "its metadata entries are not a ticket's, or stand in another order"
    if model.producer_name != "lt-onnx":
        yield f"the model says that '{model.producer_name[:MAX_NAME]}' made it"
    if model.graph.doc_string not in ("", TICKET_TEXT):
        yield "the graph has a 'doc_string' of its own, which no ticket has"
    for title, text in texts_of(model):
        if len(text) > MAX_NAME:
            yield f"{title[:MAX_NAME]} has a name of {len(text):,} characters"


def texts_of(model: onnx.ModelProto) -> Iterator[tuple[str, str]]:
    """All names in a model, with what they stand in; metadata entries apart."""
    for part in _messages(model):
        if isinstance(part, onnx.StringStringEntryProto):
            continue
        for field, value in part.ListFields():
            if field.type == field.TYPE_STRING:
                title = _title(part)
                yield from (
                    (title, text) for text in ([value] if isinstance(value, str) else value)
                )


def _attributes(node: onnx.NodeProto) -> Iterator[str]:
    """What is wrong with a node's attributes."""
    names = Counter(attribute.name for attribute in node.attribute)
    if max(names.values(), default=1) > 1:
        yield "an attribute stands there twice"
    for attribute in node.attribute:
        filled = {field.name for field, _ in attribute.ListFields()} - {"name", "type"}
        wanted = VALUE_FIELDS.get(attribute.type)
        if wanted is None or filled - {wanted}:
            yield f"its attribute '{attribute.name}' holds more than its type says"
        elif wanted in SINGLE and not filled:
            yield f"its attribute '{attribute.name}' says that it is nothing"
        elif wanted == "t" and node.op_type != "ConstantOfShape":
            yield f"it hides a tensor in its attribute '{attribute.name}'"
        sizes = len(attribute.ints), len(attribute.s), sum(map(len, attribute.strings))
        if max(sizes) > MAX_ATTRIBUTE_SIZE:
            yield f"its attribute '{attribute.name}' is too long to be one"


def _names(model: onnx.ModelProto) -> Iterator[str]:
    """Names that stand for two things, or for nothing."""
    graph = model.graph
    tensors = [value.name for value in graph.input]
    tensors += [tensor.name for tensor in graph.initializer]
    tensors += [tensor.values.name for tensor in graph.sparse_initializer]
    tensors += [name for node in graph.node for name in node.output if name]
    for what, names in (
        ("metadata entry", [entry.key for entry in model.metadata_props]),
        ("operator set", [canonical_domain(opset.domain) for opset in model.opset_import]),
        ("graph output", [value.name for value in graph.output]),
        ("tensor", tensors),
    ):
        for name, count in Counter(names).items():
            if count > 1:
                yield f"{what} '{name}' is defined {count} times"
            elif not name and what in ("graph output", "tensor"):
                yield f"a {what} has no name"


def _messages(message: Message) -> Iterator[Message]:
    """The message and all messages in it."""
    waiting: list[Message] = [message]
    while waiting:
        part = waiting.pop()
        yield part  # whoever asks may stop here, before there are more
        for field, value in part.ListFields():
            if field.type == field.TYPE_MESSAGE:
                waiting += [value] if isinstance(value, Message) else list(value)


def _title(part: Any) -> str:
    """A message as failures name it."""
    if isinstance(part, onnx.NodeProto):
        return node_title(part)
    if isinstance(part, onnx.SparseTensorProto):
        return f"sparse tensor '{part.values.name}'"
    kind, name = part.DESCRIPTOR.name, getattr(part, "name", "")
    return f"{TITLES.get(kind, kind)} '{name}'" if name else TITLES.get(kind, f"a {kind}")
