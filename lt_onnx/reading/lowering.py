"""From plain nodes to a Target: find the linear layers and fold what is affine into them.

Rules, each in a file of its own:

1. `remove_identity`: Identity and Dropout vanish.
2. `fuse_affine`: what is affine per channel goes into the linear layer before it.
3. `linear_layers`: Conv, Gemm and MatMul with constant weights become `Linear`; `einsum` others.
4. `conv_transpose`: a ConvTranspose becomes a convolution and a pixel shuffle.
5. `normalization`: parameters of normalizations become operators behind them.
6. `fuse_into_readers`: what is affine per channel goes into all the linear layers behind it.
7. `depthwise`: other affine operators become depthwise layers.
8. `constructed_constants`: what operators still have of constants, layers make.

Nodes are met once, in order, by 2 to 5, the first that applies, and those that are still affine
after 6 by 2 and 7; a ConvTranspose stays whole at first, so that 2 reaches it. Nodes that no rule
applies to stay as they are. `made_tensors` are put first, for what asks for them.
"""

from collections import Counter
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from lt_onnx.errors import InputError
from lt_onnx.reading.constructed_constants import construct_constants
from lt_onnx.reading.conv_transpose import conv_transpose, to_convolution
from lt_onnx.reading.depthwise import to_depthwise
from lt_onnx.reading.einsum import einsum
from lt_onnx.reading.fuse_affine import fuse_affine
from lt_onnx.reading.fuse_into_readers import fuse_into_readers
from lt_onnx.reading.graph import read_graph
from lt_onnx.reading.linear_layers import conv, gemm, matmul
from lt_onnx.reading.made_tensors import MadeTensors, is_made
from lt_onnx.reading.normalization import normalization
from lt_onnx.reading.refusals import is_finite
from lt_onnx.reading.remove_identity import remove_identity
from lt_onnx.reading.rewriting import Network, Refusal, Rewrite, RuleResult
from lt_onnx.target import Linear, Node, Target, unvarying_tensors

S = TypeVar("S", Node, Linear)
NODE_RULES: tuple[Callable[[Node, Network], RuleResult], ...] = (
    fuse_affine,
    conv,
    gemm,
    matmul,
    einsum,
    conv_transpose,
    normalization,
)


def read_target(path: Path) -> Target:
    """Read the network at `path` as a Target. Raises InputError, UnsupportedError."""
    graph = read_graph(path)
    if graph.is_ticket:
        raise InputError(f"{path}: is a ticket already; give the network that it was made from")
    return lower(graph)


def lower(graph: Target) -> Target:
    """Apply the rules above to what `read_graph` returned. Raises InputError."""
    named = _uniquely_named(step for step in graph.steps if isinstance(step, Node))
    outputs = frozenset(port.name for port in graph.outputs)
    nodes, constants = remove_identity(named, graph.constants, outputs)
    reads = Counter(name for node in nodes for name in node.inputs)
    network = Network(graph.path, graph.opset, outputs, reads, constants, dict(graph.shapes))
    with np.errstate(all="ignore"):  # what is no number in the end is told below
        unvarying = unvarying_tensors(nodes, constants)
        for node in nodes:
            if unvarying.issuperset(node.outputs):  # as a layer it would read no data
                network.refusals[node.name] = "what it reads follows from shapes alone"
                network.apply(Rewrite((node,)))
            else:
                network.apply(_first(node, network, NODE_RULES))
        _again(network, Linear, [to_convolution])
        fuse_into_readers(network)
        own = {node.name for node in nodes if not unvarying.issuperset(node.outputs)}
        _again(network, Node, [fuse_affine, to_depthwise], named=own)  # none that rules made
    made = MadeTensors(graph.inputs[0] if graph.inputs else None)
    if graph.inputs:
        construct_constants(network)
    for name in (name for step in network.steps.values() for name in step.inputs):
        if is_made(name):
            made.make(name)
    lowered = replace(
        graph,
        steps=(*made.nodes, *network.steps.values()),
        constants=network.constants | made.constants,
        shapes=network.shapes | made.shapes,
        integers=graph.integers | made.integers,
        refusals=network.refusals,
    )
    for layer in lowered.linears:
        if not (is_finite(layer.weight) and is_finite(layer.bias)):
            problem = "its weights, with what is folded into them, are beyond float32"
            where = f"{graph.path}: node '{layer.name}' ({layer.op})"
            raise InputError(f"{where}: {problem}; scale the network down")
    return lowered


def _again(
    network: Network,
    kind: type[S],
    rules: Sequence[Callable[[S, Network], RuleResult]],
    named: Container[str] | None = None,
) -> None:
    """Apply rules to the steps of a `kind`, all or those that are `named`; others stay."""
    steps, network.steps = network.steps, {}
    for step in steps.values():
        if isinstance(step, kind) and (named is None or step.name in named):
            network.apply(_first(step, network, rules))
        else:
            network.apply(Rewrite((step,)))


def _first(
    step: S, network: Network, rules: Iterable[Callable[[S, Network], RuleResult]]
) -> Rewrite:
    """The first rewrite of `step` that one of the rules gives; without one it stays."""
    for rule in rules:
        result = rule(step, network)
        if isinstance(result, Rewrite):
            return result
        if isinstance(result, Refusal):
            network.refusals[step.name] = result.reason
    return Rewrite((step,))


def _uniquely_named(nodes: Iterable[Node]) -> list[Node]:
    """The nodes, those whose name is taken with a number behind it."""
    taken, named = Counter[str](), []
    for node in nodes:
        name = node.name
        while name in taken:
            taken[node.name] += 1
            name = f"{node.name}_{taken[node.name]}"
        taken[name] = 1
        named.append(replace(node, name=name))
    return named
