"""Whether a graph hangs together: every tensor written once, before it is read, by what is known.

Comes in: a parsed model. Its nodes are put in order; what is wrong is told by the node's name.
"""

import heapq
from collections.abc import Container
from pathlib import Path

import onnx

from lt_onnx.errors import InputError, UnsupportedError
from lt_onnx.reading.protobuf import canonical_domain, operator_sets


def where(node: onnx.NodeProto) -> str:
    """A node as messages name it."""
    return f"node '{node.name or (node.output[0] if node.output else '?')}' ({node.op_type})"


def put_in_order(path: Path, model: onnx.ModelProto, given: Container[str] = ()) -> None:
    """Sort the nodes of `model`; `given` are tensors known apart from it.

    Raises InputError for tensors that are missing, written twice or depend on themselves, and
    UnsupportedError for operators that no operator set of the model has.
    """
    graph = model.graph
    versions = operator_sets(model)
    for node in graph.node:
        _known(path, node, versions)
    makers: dict[str, onnx.NodeProto] = {}
    start = {value.name for value in graph.input} | {t.name for t in graph.initializer}
    start |= {t.values.name for t in graph.sparse_initializer} | {""}
    for node in graph.node:
        for name in filter(None, node.output):
            if name in makers or name in start:
                other = f"{where(makers[name])} writes" if name in makers else "the model gives"
                raise InputError(
                    f"{path}: {where(node)} writes '{name}', which {other} already; "
                    "give every tensor one name"
                )
            makers[name] = node
    for node in graph.node:
        for name in node.input:
            if name not in makers and name not in start and name not in given:
                raise InputError(
                    f"{path}: {where(node)} reads '{name}', which nothing provides; "
                    "export the model again with its weights"
                )
    for value in graph.output:
        if value.name not in makers and value.name not in start and value.name not in given:
            raise InputError(f"{path}: no node makes the output '{value.name}'")
    ordered = _sorted(path, list(graph.node), set(makers))
    del graph.node[:]
    graph.node.extend(ordered)


def _known(path: Path, node: onnx.NodeProto, versions: dict[str, int]) -> None:
    domain = canonical_domain(node.domain)
    if domain not in versions:
        raise UnsupportedError(
            f"{path}: {where(node)} is of the domain '{domain}', which the model does not import"
        )
    if domain == "" and not onnx.defs.has(node.op_type, max_inclusive_version=versions[""]):
        raise UnsupportedError(
            f"{path}: {where(node)}: operator set {versions['']} has no such operator"
        )


def _sorted(path: Path, nodes: list[onnx.NodeProto], made: set[str]) -> list[onnx.NodeProto]:
    """Nodes in an order in which each one's inputs are there, theirs where it will do."""
    readers: dict[str, list[int]] = {}
    lacking = []
    for number, node in enumerate(nodes):
        needed = {name for name in node.input if name in made}
        lacking.append(len(needed))
        for name in needed:
            readers.setdefault(name, []).append(number)
    ready = [number for number, count in enumerate(lacking) if not count]
    ordered = []
    while ready:
        node = nodes[heapq.heappop(ready)]
        ordered.append(node)
        for name in node.output:
            for number in readers.get(name, ()):
                lacking[number] -= 1
                if not lacking[number]:
                    heapq.heappush(ready, number)
    if len(ordered) < len(nodes):
        node = next(node for node, count in zip(nodes, lacking, strict=True) if count)
        raise InputError(
            f"{path}: {where(node)} depends on its own output '{node.output[0]}'; "
            "export the graph without cycles"
        )
    return ordered
