"""An ONNX file parsed, and its parts as plain values; what contradicts itself ends here.

Tensors become arrays whose shape, type and bytes agree, nodes become `Node`.
"""

import hashlib
from collections.abc import Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError, EncodeError
from onnx import helper, numpy_helper

from lt_onnx.errors import InputError
from lt_onnx.files import check_file, check_network
from lt_onnx.target import Array, Node, is_standard_domain
from lt_onnx.units import name_text

ARCHIVE = b"PK\x03\x04"  # how a zip file begins
MAX_PROTOBUF_BYTES = 2**31 - 1
HASHED_AT_ONCE = 1 << 24  # bytes
MAX_PARTS = 1_000_000  # messages and strings in a file; two bytes of it ask for 150 of memory
MAX_NUMBERS = 8_000_000  # that stand alone, besides
MAX_UNCHECKED_BYTES = 1 << 24  # a file so small cannot ask for too much memory


def parse_file(path: Path) -> tuple[onnx.ModelProto, bytes]:
    """The model without its external data, and the file's bytes. Raises InputError."""
    check_network(path)
    check_file(path)
    try:
        if path.stat().st_size > MAX_PROTOBUF_BYTES:
            mend = "save its weights as external data"
            raise InputError(f"{path}: larger than protobuf's 2 GiB; {mend}")
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from None
    if too_many_parts(content):
        raise InputError(f"{path}: made of more than {MAX_PARTS:,} parts; no network is")
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        wrong, mend = "not an ONNX model (truncated, or another format)", "export it again"
        if content.startswith(ARCHIVE):
            wrong = "not an ONNX model but an archive, as packs and torch's files are"
            mend = "lt-onnx unpack opens a pack, torch.onnx.export writes a model"
        raise InputError(f"{path}: {wrong}; {mend}") from None
    return model, content


def hash_files(digest: "hashlib._Hash", files: Iterable[Path]) -> None:
    """Add what is in `files` to a digest."""
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(HASHED_AT_ONCE):
                digest.update(chunk)


def too_many_parts(content: bytes) -> bool:
    """Whether reading a serialised model would take memory out of proportion: a protobuf bomb."""
    if len(content) <= MAX_UNCHECKED_BYTES:
        return False
    waiting: list[tuple[int, int, Any]] = [(0, len(content), onnx.ModelProto.DESCRIPTOR)]
    count = numbers = 0
    try:
        while waiting:
            at, end, kind = waiting.pop()
            while at < end and count <= MAX_PARTS:
                tag, at = content[at], at + 1  # most numbers are of one byte
                if tag & 128:
                    tag, at = _varint(content, at - 1)
                numbers += 1
                if tag < 8 or numbers > MAX_NUMBERS:
                    return numbers > MAX_NUMBERS  # no tag: for the parser to refuse
                match tag & 7:
                    case 0:
                        _, at = _varint(content, at)
                    case 1:
                        at += 8
                    case 5:
                        at += 4
                    case 2:
                        size, at = content[at], at + 1
                        if size & 128:
                            size, at = _varint(content, at - 1)
                        part = _parts(kind).get(tag >> 3)
                        if part is not None and size:
                            waiting.append((at, min(at + size, end), part))
                        at += size
                        count += 1
                    case _:
                        return False  # for the parser to refuse
    except IndexError:
        return False
    return count > MAX_PARTS


@cache
def _parts(kind: Any) -> dict[int, Any]:
    """The kinds of messages in a message of this kind, by their numbers."""
    return {n: f.message_type for n, f in kind.fields_by_number.items() if f.message_type}


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """A number of the wire format, and where it ends."""
    value, shift = 0, 0
    while (byte := content[at]) & 128 and shift < 70:
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
    return value | byte << shift, at + 1


def metadata_of(model: onnx.ModelProto) -> dict[str, str]:
    """The metadata entries by key; of two with one key the last."""
    return {entry.key: entry.value for entry in model.metadata_props}


def canonical_domain(domain: str) -> str:
    """An operator's domain, that of ONNX's own operators as the empty string."""
    return "" if is_standard_domain(domain) else domain


def operator_sets(model: onnx.ModelProto) -> dict[str, int]:
    """Versions of the operator sets that a model imports, by domain."""
    return {canonical_domain(entry.domain): entry.version for entry in model.opset_import}


def node_title(node: onnx.NodeProto) -> str:
    """A node as messages name it."""
    name = node.name or (node.output[0] if node.output else "?")
    return f"node '{name_text(name)}' ({name_text(node.op_type)})"


def replace_items(field: Any, values: Iterable[Any]) -> None:
    """Fill a repeated field of a message with other values, which may be its own."""
    kept = list(values)
    del field[:]
    field.extend(kept)


def bodies(node: onnx.NodeProto) -> list[onnx.GraphProto]:
    """The graphs that a node of control flow holds."""
    single = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return single + [graph for attribute in node.attribute for graph in attribute.graphs]


def all_graphs(model: onnx.ModelProto) -> Iterator[onnx.GraphProto]:
    """The model's graph, and all that nodes hold."""
    waiting = [model.graph]
    while waiting:
        graph = waiting.pop()
        yield graph
        waiting += [body for node in graph.node for body in bodies(node)]


def all_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Initializers, and tensors that nodes hold."""
    for graph in all_graphs(model):
        yield from graph.initializer
        for attribute in (a for node in graph.node for a in node.attribute):
            if attribute.HasField("t"):
                yield attribute.t


def serialized_bytes(model: onnx.ModelProto) -> int:
    """Bytes of a model as a file; of one that no file can hold, those of its initializers."""
    try:
        return int(model.ByteSize())
    except EncodeError:
        sparse = [part for s in model.graph.sparse_initializer for part in (s.values, s.indices)]
        return sum(len(tensor.raw_data) for tensor in (*model.graph.initializer, *sparse))


def names_read(node: onnx.NodeProto) -> list[str]:
    """The tensors that a node reads, those among them that its bodies take from outside."""
    names = [name for name in node.input if name]
    for body in bodies(node):
        own = {tensor.name for tensor in body.initializer} | {value.name for value in body.input}
        own.update(name for inner in body.node for name in inner.output)
        read = [name for inner in body.node for name in names_read(inner)]
        names += [n for n in (*read, *(value.name for value in body.output)) if n not in own]
    return names


def array_of(path: Path, tensor: onnx.TensorProto) -> Array:
    """The numbers of a tensor. Raises InputError where type, shape and bytes disagree."""
    if min(tensor.dims, default=0) < 0:
        raise _contradiction(path, tensor, "has a negative size")
    try:
        value = numpy_helper.to_array(tensor)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, AttributeError):
        problem = "its type, shape and bytes contradict each other"
        raise _contradiction(path, tensor, problem) from None
    if value.shape != tuple(tensor.dims):
        raise _contradiction(path, tensor, "its shape and bytes contradict each other")
    return np.asarray(value)


def _contradiction(path: Path, tensor: onnx.TensorProto, problem: str) -> InputError:
    shape = list(tensor.dims)[:8]
    return InputError(f"{path}: tensor '{tensor.name}' {shape}: {problem}; export the model again")


def plain_node(path: Path, proto: onnx.NodeProto, index: int) -> Node:
    """An operator, its attributes as Python has them. Raises InputError."""
    name = proto.name or f"{proto.op_type}_{index}"
    attributes: dict[str, Any] = {}
    for attribute in proto.attribute:
        try:
            value = helper.get_attribute_value(attribute)
            if attribute.type == onnx.AttributeProto.STRING:
                value = value.decode()
        except ValueError:  # of no kind, or no text
            where = f"{path}: node '{name}' ({proto.op_type}): its attribute '{attribute.name}'"
            raise InputError(f"{where} cannot be read; export the model again") from None
        if attribute.type == onnx.AttributeProto.TENSOR:
            value = array_of(path, value)
        attributes[attribute.name] = value
    return Node(
        op=proto.op_type,
        name=name,
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=attributes,
        domain=canonical_domain(proto.domain),
    )
