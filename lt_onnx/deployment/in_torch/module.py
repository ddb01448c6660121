"""A ticket as a torch module: masks and random numbers apart, frozen, everything else as it runs.

In: a plain ticket, its manifest and its `Layers`. Out: a `TicketModule`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from lt_onnx.deployment.in_torch.operators import OPERATORS
from lt_onnx.deployment.layers import Layer, Layers, name_of_layer
from lt_onnx.errors import UnsupportedError
from lt_onnx.manifest import Manifest
from lt_onnx.packing.format import layers_of
from lt_onnx.reading.protobuf import operator_sets, plain_node
from lt_onnx.target import Node
from lt_onnx.verification.tensors import locate_tensors
from lt_onnx.writing.storage import Form


class MaskedLayer(nn.Module):
    """A random layer: `source` [O, I, *K] and `scale` [O] frozen, `mask` and `bias` as buffers."""

    source: nn.Parameter
    scale: nn.Parameter
    mask: Tensor
    bias: Tensor | None

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.source = nn.Parameter(torch.from_numpy(layer.source), requires_grad=False)
        self.scale = nn.Parameter(torch.tensor(layer.scale), requires_grad=False)
        self.register_buffer("mask", torch.from_numpy(layer.mask))
        self.register_buffer("bias", None if layer.bias is None else torch.tensor(layer.bias))

    @property
    def weight(self) -> Tensor:
        """The masked weight, [O, I, *K]."""
        return torch.where(self.mask, self.source, 0)

    def extra_repr(self) -> str:
        """What torch prints of it."""
        return f"{list(self.mask.shape)}, {int(self.mask.sum()):,} of {self.mask.numel():,} kept"


class TicketModule(nn.Module):
    """A ticket: `layers` has a `MaskedLayer` for every random layer, by name.

    Inputs are those of the network in their order; out comes its output, or a tuple of several.
    Nothing requires a gradient, inputs apart.
    """

    def __init__(self, path: Path, model: onnx.ModelProto, manifest: Manifest) -> None:
        super().__init__()
        arrays = Layers(path, model, manifest)
        own = {node.name for layer in manifest.layers for node in Form.of(layer).nodes()}
        protos = [proto for proto in model.graph.node if proto.name not in own]
        self._nodes = [plain_node(path, proto, i) for i, proto in enumerate(protos)]
        self._opset = operator_sets(model).get("", 1)
        self._inputs = [value.name for value in model.graph.input]
        self._outputs = [value.name for value in model.graph.output]
        for node in self._nodes:
            if node.domain or node.op not in OPERATORS:
                raise UnsupportedError(
                    f"{path}: {node.title} has no counterpart in torch here: run the ticket with "
                    "`lt_onnx.load(...).run` or another runtime"
                )
        self.layers = nn.ModuleDict()
        self._parts: dict[str, tuple[str, str, bool]] = {}  # by tensor: its layer, what it is of it
        for layer in layers_of(manifest):
            name, record = name_of_layer(layer), layer.record
            key = _key(name, self.layers)
            self.layers[key] = MaskedLayer(arrays[name])
            parts = {record.weight: "weight", record.scale: "scale", record.bias: "bias"}
            for tensor, part in parts.items():
                if tensor is not None:
                    self._parts[tensor] = key, part, part == "weight" and record.transposed
        read = {name for node in self._nodes for name in node.inputs} - self._parts.keys()
        self._constants: dict[str, str] = {}  # by tensor: the buffer
        for name, stored in locate_tensors(path, model).items():
            if name in read or name in self._outputs:
                self._constants[name] = f"constant_{len(self._constants)}"
                self.register_buffer(self._constants[name], torch.tensor(stored.array()))
        self._last = _last_reads(self._nodes, self._outputs)

    def forward(self, *inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
        """The outputs for a batch of every input, in the order of the network's inputs."""
        values = dict(zip(self._inputs, inputs, strict=True))
        for number, node in enumerate(self._nodes):
            given: Any = [self._value(name, values) for name in node.inputs]
            results = OPERATORS[node.op](node, given, self._opset)
            made = (results,) if isinstance(results, Tensor) else results
            values.update(zip(node.outputs, made, strict=False))
            for name in self._last[number]:
                values.pop(name, None)
        outputs = tuple(self._value(name, values) for name in self._outputs)
        return outputs[0] if len(outputs) == 1 else outputs  # type: ignore[return-value]

    def _value(self, name: str, values: Mapping[str, Tensor]) -> Tensor | None:
        """A tensor by the graph's name; None for an omitted input."""
        if name in values:
            return values[name]
        if name in self._constants:
            constant: Tensor = getattr(self, self._constants[name])
            return constant
        if name not in self._parts:
            return None
        key, part, transposed = self._parts[name]
        layer: Any = self.layers[key]
        value: Tensor = getattr(layer, part)
        if part == "scale":  # one axis for each of the kernel's
            return value.reshape(-1, *[1] * (layer.mask.ndim - 2))
        return value.T if transposed else value


def _key(name: str, taken: nn.ModuleDict) -> str:
    """A layer's name as torch may have it: no dots, and none of a ModuleDict's own words."""
    key = name.replace(".", "_")
    while key in taken or hasattr(taken, key):
        key += "_"
    return key


def _last_reads(nodes: list[Node], outputs: list[str]) -> list[list[str]]:
    """For every node the tensors that nothing reads behind it."""
    last = {name: number for number, node in enumerate(nodes) for name in node.inputs}
    done: list[list[str]] = [[] for _ in nodes]
    for name, number in last.items():
        if name not in outputs:
            done[number].append(name)
    return done
