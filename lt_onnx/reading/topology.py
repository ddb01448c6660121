"""Whether a graph hangs together: every tensor written once, before it is read, by what is known.

Comes in: the graph of a parsed model. Its nodes are put in order; what is wrong is told by the
node's name.
"""

import heapq
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import onnx

from lt_onnx.errors import InputError
from lt_onnx.reading.protobuf import names_read, node_title, replace_items


def sort_nodes(path: Path, graph: onnx.GraphProto) -> None:
    """Sort the nodes of `graph` so that each one's inputs are written before it.

    Otherwise they keep their order. Raises InputError for tensors that are missing, written twice
    or depend on themselves.
    """
    nodes = list(graph.node)
    start = {"", *(value.name for value in graph.input), *(t.name for t in graph.initializer)}
    makers: dict[str, int] = {}
    for number, node in enumerate(nodes):
        for name in filter(None, node.output):
            if name in makers or name in start:
                other = f"{node_title(nodes[makers[name]])} writes" if name in makers else ""
                wrong = f"{node_title(node)} writes '{name}', which {other or 'the model gives'}"
                raise InputError(f"{path}: {wrong} already; give every tensor one name")
            makers[name] = number
    needs: dict[int, set[int]] = {}
    for number, node in enumerate(nodes):
        read = names_read(node)
        missing = [name for name in read if name not in makers and name not in start]
        if missing:
            wrong = f"{node_title(node)} reads '{missing[0]}', which nothing provides"
            raise InputError(f"{path}: {wrong}; export the model again with its weights")
        needs[number] = {makers[name] for name in read if name in makers}
    for value in graph.output:
        if value.name not in makers and value.name not in start:
            raise InputError(f"{path}: no node makes the output '{value.name}'")
    sorter = TopologicalSorter(needs)
    try:
        sorter.prepare()
    except CycleError as error:
        node = nodes[min(error.args[1])]
        wrong = f"{node_title(node)} depends on its own output '{node.output[0]}'"
        raise InputError(f"{path}: {wrong}; export the graph without cycles") from None
    ordered, ready = [], sorted(sorter.get_ready())  # which is a heap
    while ready:
        ordered.append(heapq.heappop(ready))
        sorter.done(ordered[-1])
        for number in sorter.get_ready():
            heapq.heappush(ready, number)
    replace_items(graph.node, [nodes[number] for number in ordered])
