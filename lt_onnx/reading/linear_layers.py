"""Operators with constant weights become linear layers, y = W x + b.

1. Conv: W is [O, I/G, *K] of G groups.
2. Gemm, α A B + β C with A as the input: W = α Bᵀ, b = β C. A transposed A is transposed first.
3. MatMul with a constant matrix behind: W = Bᵀ, b = 0; a Gemm where its input has two axes.

What contradicts itself raises InputError; runtimes and shape inference do not agree on it.
"""

import numpy as np

from lt_onnx.reading.rewriting import Network, Refusal, Rewrite, RuleResult
from lt_onnx.target import Floats, Linear, Node

MAX_ATTRIBUTE = 1 << 20  # strides, pads and the like
CONV_ATTRIBUTES = ("strides", "pads", "dilations", "auto_pad")


def parameters(
    op: str, node: Node, network: Network
) -> tuple[Floats, Floats | None] | Refusal | None:
    """Weight and bias of a Conv, ConvTranspose or Gemm; None for other nodes than of `op`.

    Raises InputError for weights of another type than float32.
    """
    if node.op != op or node.domain:
        return None
    weight, bias = network.constants.get(node.inputs[1]), network.floats(node, 2)
    if weight is None:
        return Refusal("its weight is computed")
    if weight.dtype != np.float32:
        raise network.error(node, f"its weight is {weight.dtype}; export the network in float32")
    if bias is None and any(node.inputs[2:3]):
        return Refusal("its bias is computed, or not of float32")
    return weight, bias


def conv(node: Node, network: Network) -> RuleResult:
    """Case 1."""
    parts = parameters("Conv", node, network)
    if parts is None or isinstance(parts, Refusal):
        return parts
    weight, bias = parts
    layer = Linear(
        name=node.name,
        op="Conv",
        input=node.inputs[0],
        output=node.outputs[0],
        weight=weight,
        bias=np.zeros(len(weight), np.float32) if bias is None else bias,
        group=check_convolution(node, network, weight, bias),
        attributes={k: node.attributes[k] for k in CONV_ATTRIBUTES if k in node.attributes},
    )
    return Rewrite((layer,))


def gemm(node: Node, network: Network) -> RuleResult:
    """Case 2."""
    parts = parameters("Gemm", node, network)
    if parts is None or isinstance(parts, Refusal):
        return parts
    weight, bias = parts
    if weight.ndim != 2:
        raise network.error(node, f"its weight has shape {list(weight.shape)} and is no matrix")
    weight = weight if node.attributes.get("transB", 0) else weight.T
    width = len(weight)
    bias = np.zeros(width, np.float32) if bias is None else bias
    if bias.size not in (1, width) or (bias.ndim > 1 and bias.shape[0] != 1):
        return Refusal("its bias is not the same for every sample")
    alpha, beta = (np.float32(node.attributes.get(key, 1)) for key in ("alpha", "beta"))
    source, turned = node.inputs[0], f"{node.name}/turned"
    transposed = bool(node.attributes.get("transA", 0))
    layer = Linear(
        name=node.name,
        op="Gemm",
        input=turned if transposed else source,
        output=node.outputs[0],
        weight=weight if alpha == 1 else weight * alpha,
        bias=np.broadcast_to(bias.reshape(-1) * beta, width).copy(),
    )
    if not transposed:
        return Rewrite((layer,))
    turn = Node("Transpose", turned, (source,), (turned,), {"perm": [1, 0]})
    shape = network.shapes.get(source)
    return Rewrite((turn, layer), shapes={} if shape is None else {turned: shape[::-1]})


def matmul(node: Node, network: Network) -> RuleResult:
    """Case 3."""
    if node.op != "MatMul" or node.domain:
        return None
    weight, shape = network.floats(node, 1), network.shapes.get(node.inputs[0], ())
    if weight is not None and weight.ndim > 2 and weight.ndim <= len(shape):
        alone = not weight.size or max(weight.shape[:-2]) == 1
        weight = weight.reshape(weight.shape[-2:]) if alone else None
    if weight is None or weight.ndim != 2:
        return Refusal("what it multiplies by is no constant matrix of float32")
    if len(shape) < 2:
        return Refusal("its input is no matrix, or of unknown shape")
    layer = Linear(
        name=node.name,
        op="Gemm" if len(shape) == 2 else "MatMul",
        input=node.inputs[0],
        output=node.outputs[0],
        weight=weight.T,
        bias=np.zeros(weight.shape[1], np.float32),
    )
    return Rewrite((layer,))


def check_convolution(node: Node, network: Network, weight: Floats, bias: Floats | None) -> int:
    """The groups of a Conv or ConvTranspose. Raises InputError where its parts do not fit."""
    group, rank = int(node.attributes.get("group", 1)), weight.ndim - 2
    if rank < 1 or group < 1 or weight.shape[0] % group or 0 in weight.shape:
        problem = f"weight of shape {list(weight.shape)} does not fit {group} groups"
        raise network.error(node, problem)
    sizes = weight.shape[0], weight.shape[1] * group
    width, channels = sizes if node.op == "Conv" else sizes[::-1]
    if bias is not None and bias.shape != (width,):
        raise network.error(node, f"bias of shape {list(bias.shape)} for {width} channels")
    shape = network.shapes.get(node.inputs[0], (None, channels, *[None] * rank))
    if len(shape) != rank + 2 or (isinstance(shape[1], int) and shape[1] != channels):
        wanted = f"{channels} channels and {rank} spatial axes"
        raise network.error(node, f"its weight wants {wanted}, its input is {list(shape)}")
    kernel, taps = list(node.attributes.get("kernel_shape", ())), list(weight.shape[2:])
    if kernel and kernel != taps:
        raise network.error(node, f"kernel_shape is {kernel}, its weight's {taps}")
    for key, counts, least in (
        ("pads", (2 * rank,), 0),
        ("strides", (rank,), 1),
        ("dilations", (rank,), 1),
        ("output_padding", (rank,), 0),
        ("output_shape", (rank, rank + 2), 1),
    ):
        given = list(node.attributes.get(key, ()))
        problem = f"{len(given)} {key} for {rank} spatial axes; there must be {counts[0]}"
        if given and len(given) in counts:
            problem = f"{key} {given} are not possible; give {least} to {MAX_ATTRIBUTE:,}"
        if given and not (
            len(given) in counts and least <= min(given) <= max(given) <= MAX_ATTRIBUTE
        ):
            raise network.error(node, problem)
    return group
