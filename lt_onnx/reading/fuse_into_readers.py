"""An affine operator goes into the linear layers behind it, if they alone read what it makes.

With one scale and shift for each channel, y = W (scale · x + shift) + b, in every layer:

    W ← W · scale,  b ← b + Σ W · shift

On the way to the layers there may be operators that only arrange the tensor and keep its channels
together: from a LayerNorm to the projections of attention, through windows that are rolled. Where
padding puts zeros beside the shifted x, only a shift of zero can.
"""

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from lt_onnx.reading.affine import Affine, affine_input, affine_of
from lt_onnx.reading.channel_axis import ARRANGING_OPS, axis_arranged
from lt_onnx.reading.rewriting import Network
from lt_onnx.target import Linear, Node, Step

# operators on one axis, or on some, that leave the channels as they are where these are on another
ALONG_ONE = frozenset("Concat Gather Split".split())
ALONG_SOME = {"ReduceMean": ("axes", 1), "Slice": ("axes", 3)}
READ_FIRST = ARRANGING_OPS | frozenset("Gather ReduceMean Slice Split".split())


def fuse_into_readers(network: Network) -> None:
    """Take out of `network` each Mul, Add, Sub and Div that layers behind it can have in them."""
    readers = defaultdict[str, list[str]](list)  # of tensors, by the steps' place in the network
    for place, step in network.steps.items():
        for name in dict.fromkeys(step.inputs):
            readers[name].append(place)
    for place in reversed(list(network.steps)):
        node = network.steps[place]
        if not isinstance(node, Node):
            continue
        affine, axis = _affine(node, network)
        if affine is None:
            continue
        layers = _Search(network, readers).layers(place, axis)
        if not layers or (affine.shift.any() and any(is_padded(layer) for _, layer in layers)):
            continue
        for at, layer in layers:
            network.steps[at] = with_affine_before(layer, affine)
        source = affine_input(node, network.constants)
        assert source is not None
        del network.steps[place]
        readers[source].remove(place)
        for at in readers.pop(place):
            network.steps[at] = _reading(network.steps[at], place, source)
            readers[source].append(at)
        network.reads = {**network.reads, source: len(readers[source])}


def with_affine_before(layer: Linear, affine: Affine) -> Linear:
    """What reads x as `layer` reads scale · x + shift, where no padding is between."""
    channels = layer.weight.shape[1] * layer.group
    scale, shift = (
        np.broadcast_to(value, channels).reshape(layer.group, -1)
        for value in (affine.scale, affine.shift)
    )
    w = layer.weight.reshape(layer.group, -1, *layer.weight.shape[1:]).astype(np.float64)
    columns = (layer.group, 1, -1, *[1] * len(layer.kernel))
    added = (w * shift.reshape(columns)).sum(tuple(range(2, w.ndim))).reshape(-1)
    weight = (w * scale.reshape(columns)).reshape(layer.weight.shape).astype(np.float32)
    return replace(layer, weight=weight, bias=(layer.bias + added).astype(np.float32))


def is_padded(layer: Linear) -> bool:
    """Whether a layer sees zeros beside its input."""
    return "SAME" in layer.attributes.get("auto_pad", "") or any(layer.attributes.get("pads", ()))


def _affine(node: Node, network: Network) -> tuple[Affine | None, int]:
    """What an operator of one number per channel makes of them, and their axis."""
    nothing = None, 0
    source = affine_input(node, network.constants)
    if source is None:
        return nothing
    shape, out = (network.shapes.get(name) for name in (source, node.outputs[0]))
    if node.op == "BatchNormalization":
        rank = 0 if shape is None else len(shape)
        affine = affine_of(node, network, channels=None, axis=1 - rank, rank=rank)
        return (affine if isinstance(affine, Affine) and rank > 1 else None), 1
    value = next(network.constants[n] for n in node.inputs if n in network.constants)
    varying = [i - value.ndim for i, size in enumerate(value.shape) if size > 1]
    if shape is None or out is None or len(shape) != len(out) or len(varying) != 1:
        return nothing
    channels = shape[varying[0]] if -varying[0] <= len(shape) else None
    if channels != value.size:
        return nothing
    affine = affine_of(node, network, channels=value.size, axis=varying[0], rank=len(shape))
    return (affine if isinstance(affine, Affine) else None), varying[0] + len(shape)


def _reading(step: Step, tensor: str, other: str) -> Step:
    """`step`, where it reads `tensor` reading `other`."""
    if isinstance(step, Linear):
        return replace(step, input=other)
    return replace(step, inputs=tuple(other if name == tensor else name for name in step.inputs))


@dataclass(frozen=True)
class _Search:
    """What is behind a tensor in a network."""

    network: Network
    readers: dict[str, list[str]]

    def layers(self, tensor: str, axis: int) -> list[tuple[str, Linear]]:
        """The layers that read `tensor`, whose channels are on `axis`, with their places.

        Through operators that arrange it; none where anything else reads it.
        """
        found, axes, waiting = dict[str, Linear](), {tensor: axis}, [tensor]
        joined: list[Node] = []
        while waiting:
            name = waiting.pop()
            if name in self.network.outputs or not self.readers[name]:
                return []
            for place in self.readers[name]:
                step = self.network.steps[place]
                if isinstance(step, Linear):
                    if _channel_axis(step, self.network) != axes[name]:
                        return []
                    found[place] = step
                    continue
                if step.op == "Concat":
                    joined.append(step)
                behind = self._axis_behind(step, name, axes[name])
                if behind is None or any(axes.get(out, behind) != behind for out in step.outputs):
                    return []
                waiting += [out for out in step.outputs if out and out not in axes]
                axes |= dict.fromkeys(filter(None, step.outputs), behind)
        alike = all(name in axes for node in joined for name in node.inputs)
        return list(found.items()) if alike else []

    def _axis_behind(self, node: Node, tensor: str, axis: int) -> int | None:
        """The channels' axis behind an operator that only arranges; None behind another."""
        shape = self.network.shapes.get(tensor)
        if node.domain or shape is None or (node.op in READ_FIRST and node.inputs[0] != tensor):
            return None
        rank = len(shape)
        if node.op in ARRANGING_OPS:
            behind = axis_arranged(node, self.network, axis=axis, rank=rank)
            return None if behind is None else behind[0]
        if node.op in ALONG_ONE:
            along = node.attributes.get("axis", 0) % rank
            if along == axis:
                return None
            index = self.network.constants.get(node.inputs[1]) if node.op == "Gather" else None
            if node.op == "Gather" and index is None:
                return None
            return axis + (index.ndim - 1 if index is not None and along < axis else 0)
        if node.op in ALONG_SOME:
            key, position = ALONG_SOME[node.op]
            name = "".join(node.inputs[position : position + 1])
            given = node.attributes.get(key, self.network.constants.get(name))
            if given is None:
                return None
            places = {int(i) % rank for i in np.ravel(given)}
            if axis in places:
                return None
            kept = node.op == "Slice" or node.attributes.get("keepdims", 1)
            return axis - (0 if kept else sum(i < axis for i in places))
        return None


def _channel_axis(layer: Linear, network: Network) -> int | None:
    """The axis of the channels that a layer reads."""
    if layer.op == "MatMul":
        return len(network.shapes[layer.input]) - 1
    return 1 if layer.op in ("Conv", "Gemm") else None
