"""Whether a graph hangs together: every tensor written once, before it is read, by what is known.

Comes in: the graph of a parsed model. Its nodes are put in order; what is wrong is told by the
node's name.
"""

import heapq
from collections.abc import Container, Sequence
from pathlib import Path

import onnx

from lt_onnx.errors import InputError
from lt_onnx.reading.protobuf import node_title, replace_items


def sort_nodes(path: Path, graph: onnx.GraphProto) -> None:
    """Sort the nodes of `graph` so that each one's inputs are written before it.

    Raises InputError for tensors that are missing, written twice or depend on themselves.
    """
    start = {"", *(value.name for value in graph.input), *(t.name for t in graph.initializer)}
    makers: dict[str, onnx.NodeProto] = {}
    for node in graph.node:
        for name in filter(None, node.output):
            if name in makers or name in start:
                other = (
                    f"{node_title(makers[name])} writes" if name in makers else "the model gives"
                )
                raise InputError(
                    f"{path}: {node_title(node)} writes '{name}', which {other} already; "
                    "give every tensor one name"
                )
            makers[name] = node
    for node in graph.node:
        for name in node.input:
            if name not in makers and name not in start:
                raise InputError(
                    f"{path}: {node_title(node)} reads '{name}', which nothing provides; "
                    "export the model again with its weights"
                )
    for value in graph.output:
        if value.name not in makers and value.name not in start:
            raise InputError(f"{path}: no node makes the output '{value.name}'")
    replace_items(graph.node, _sorted(path, list(graph.node), makers))


def _sorted(
    path: Path, nodes: Sequence[onnx.NodeProto], computed: Container[str]
) -> list[onnx.NodeProto]:
    """The nodes in order, in their own where that will do (Kahn's algorithm)."""
    readers: dict[str, list[int]] = {}
    missing = []  # of each node's computed inputs
    for number, node in enumerate(nodes):
        needed = {name for name in node.input if name in computed}
        missing.append(len(needed))
        for name in needed:
            readers.setdefault(name, []).append(number)
    ready = [number for number, count in enumerate(missing) if not count]
    ordered = []
    while ready:
        ordered.append(nodes[heapq.heappop(ready)])
        for name in ordered[-1].output:
            for number in readers.get(name, ()):
                missing[number] -= 1
                if not missing[number]:
                    heapq.heappush(ready, number)
    if len(ordered) < len(nodes):
        node = next(node for node, count in zip(nodes, missing, strict=True) if count)
        raise InputError(
            f"{path}: {node_title(node)} depends on its own output '{node.output[0]}'; "
            "export the graph without cycles"
        )
    return ordered
