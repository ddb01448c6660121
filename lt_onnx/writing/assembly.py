"""A ticket's or a source's graph, assembled with onnx-graphsurgeon.

In: nodes in the order in which they run, tensors, and the target whose inputs, outputs and operator
sets they keep. Out: an ONNX model.

onnx-graphsurgeon assembles what lt-onnx planned itself. It neither reads nor folds files that come
from elsewhere: its folding gives wrong shapes on valid graphs, and evaluates constants of any size.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import helper, numpy_helper
from onnx_graphsurgeon.ir.tensor import LazyValues, SparseValues
from onnx_graphsurgeon.logger import G_LOGGER

from lt_onnx.runtime import value_info
from lt_onnx.target import Node, Target
from lt_onnx.version import __version__
from lt_onnx.writing.storage import Initializer


def assemble(
    name: str, nodes: Sequence[Node], *, tensors: Mapping[str, Initializer], target: Target
) -> onnx.ModelProto:
    """The model of a graph `name`.

    Args:
        name: of the graph.
        nodes: operators, each behind those whose outputs it reads.
        tensors: what the nodes read besides each other's outputs, by name; written in this order.
            They are never loaded: one that lies in a data file stays a reference to it.
        target: the network whose inputs, outputs, operator sets and IR version it gets.
    """
    with G_LOGGER.suppress():  # it prints to the standard output
        ports = (*target.outputs, *target.inputs)
        edges = {port.name: gs.Variable(port.name, port.dtype, port.declared) for port in ports}
        edges |= {key: _constant(key, tensor) for key, tensor in tensors.items()}
        graph = gs.Graph(
            nodes=[_node(node, edges) for node in nodes],
            inputs=[edges[port.name] for port in target.inputs],
            outputs=[edges[port.name] for port in target.outputs],
            name=name,
            producer_name="lt-onnx",
            producer_version=__version__,
            import_domains=[helper.make_opsetid(d, v) for d, v in sorted(target.opsets.items())],
            ir_version=max(4, target.ir_version),  # from 4 on initializers are no inputs
        )
        model: onnx.ModelProto = gs.export_onnx(graph)
    # exported in the order in which nodes read them
    place = {key: number for number, key in enumerate(tensors)}
    model.graph.initializer.sort(key=lambda tensor: place[tensor.name])
    model.graph.sparse_initializer.sort(key=lambda tensor: place[tensor.values.name])
    # a port that is also a tensor, or a port of the other kind, was exported with that one's shape
    for port, held in zip(ports, (*model.graph.output, *model.graph.input), strict=True):
        held.CopyFrom(value_info(port.name, port.dtype, port.declared))
    return model


def _constant(name: str, tensor: Initializer) -> gs.Constant:
    sparse = isinstance(tensor, onnx.SparseTensorProto)
    return gs.Constant(name, SparseValues(tensor) if sparse else LazyValues(tensor))


def _node(node: Node, edges: dict[str, gs.Tensor]) -> gs.Node:
    """The node, wired to the tensors `edges`; those it makes are added to them."""

    def tensor(name: str) -> gs.Tensor:
        return edges.setdefault(name, gs.Variable(name)) if name else gs.Variable.empty()

    attributes = {
        key: numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        for key, value in node.attributes.items()
    }
    inputs, outputs = ([tensor(name) for name in names] for names in (node.inputs, node.outputs))
    return gs.Node(node.op, node.name, attributes, inputs, outputs, node.domain or None)
