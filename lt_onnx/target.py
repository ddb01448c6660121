"""The target network f_t as plain data: no ONNX types past this point.

A `Target` is a list of steps in topological order. Each step is a `Linear` layer, which lt-onnx
constructs, or a `Node`, any other operator. Letters: O output channels, I input channels per
group, K kernel taps (one axis per spatial dimension), N batch.
"""

from collections.abc import Container, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lt_onnx.units import name_text

Array: TypeAlias = NDArray[Any]
Floats: TypeAlias = NDArray[np.float32]
Doubles: TypeAlias = NDArray[np.float64]
Indices: TypeAlias = NDArray[np.int64]
Shape: TypeAlias = tuple[int | str | None, ...]


def is_standard_domain(domain: str) -> bool:
    """Whether `domain` is that of ONNX's own operators, which has two names."""
    return domain in ("", "ai.onnx")


@dataclass(frozen=True)
class Node:
    """One ONNX operator. An empty name among `inputs` is an omitted optional input."""

    op: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)
    domain: str = ""

    @property
    def title(self) -> str:
        """The operator as messages name it."""
        return f"node '{name_text(self.name)}' ({name_text(self.op)})"


@dataclass(frozen=True)
class Linear:
    """An affine map y = W * x + b with constant W and b (Eq. 1 before the activation).

    `op` is Conv, Gemm (rank-2 input) or MatMul (last axis). Weights that were followed by a
    BatchNormalization or an Add are already folded.
    """

    name: str
    op: str
    input: str
    output: str
    weight: Floats  # [O, I, *K]; Gemm and MatMul: [O, I]
    bias: Floats  # [O]
    group: int = 1
    attributes: Mapping[str, Any] = field(default_factory=dict)  # strides, pads, dilations, …

    @property
    def kernel(self) -> tuple[int, ...]:
        """Spatial extent of the kernel, () for Gemm and MatMul."""
        return self.weight.shape[2:]

    def spatial(self, key: str, default: int) -> tuple[int, ...]:
        """A per-axis attribute (`strides`, `dilations`) with its default filled in."""
        return tuple(self.attributes.get(key) or (default,) * len(self.kernel))

    @cached_property
    def count(self) -> int:
        """Nonzero weights and biases."""
        w = self.weight
        one = not any(w.strides)  # a single number everywhere
        weights = w.size * int(w.reshape(-1)[:1].any()) if one else int(np.count_nonzero(w))
        return weights + int(np.count_nonzero(self.bias))

    @property
    def inputs(self) -> tuple[str, ...]:
        """The one tensor read, in the form that `Node` has it."""
        return (self.input,)

    @property
    def outputs(self) -> tuple[str, ...]:
        """The one tensor written, in the form that `Node` has it."""
        return (self.output,)


Step: TypeAlias = Node | Linear


def linear_nodes(linear: Linear) -> tuple[list[Node], dict[str, Array]]:
    """A target layer as ONNX nodes, with its constants."""
    w, b = f"{linear.name}/w", f"{linear.name}/b"
    if linear.op == "MatMul":
        middle = f"{linear.name}/product"
        return [
            Node("MatMul", linear.name, (linear.input, w), (middle,)),
            Node("Add", f"{linear.name}/add", (middle, b), (linear.output,)),
        ], {w: np.ascontiguousarray(linear.weight.T), b: linear.bias}
    attributes = dict(linear.attributes)
    if linear.op == "Conv":
        attributes |= {"group": linear.group, "kernel_shape": list(linear.kernel)}
    else:
        attributes["transB"] = 1
    node = Node(linear.op, linear.name, (linear.input, w, b), (linear.output,), attributes)
    return [node], {w: linear.weight, b: linear.bias}


def step_nodes(step: Step) -> tuple[list[Node], dict[str, Array]]:
    """A step as ONNX nodes, with the constants that are its own."""
    return linear_nodes(step) if isinstance(step, Linear) else ([step], {})


def unvarying_tensors(steps: Iterable[Step], constants: Container[str]) -> frozenset[str]:
    """The tensors that follow from shapes and `constants` alone, whatever a network is given."""
    unvarying: set[str] = set()
    for step in steps:
        computed = [name for name in step.inputs if name and name not in constants]
        if step.op in ("Shape", "Size") or (computed and unvarying.issuperset(computed)):
            unvarying.update(step.outputs)
    return frozenset(unvarying)


class Normal(NamedTuple):
    """Mean and deviation of numbers, each of a shape that goes with them."""

    mean: Floats
    deviation: Floats
    measured: bool  # by training, as a BatchNormalization's


@dataclass(frozen=True)
class Port:
    """A graph input or output: name, shape (int, symbol or None per axis) and NumPy dtype."""

    name: str
    shape: Shape
    dtype: np.dtype[Any]
    ranked: bool = True  # False: not even the rank is known, as may be of an output
    entries: int | None = None  # of the table that a whole number picks from; None: of none
    # of floats that the network itself normalises
    normal: Normal | None = field(default=None, compare=False)
    scores: bool = True  # False: an output [N, k] of which the highest entry is no class
    alone: bool = field(default=False, compare=False)  # an input of which one is run at a time

    @property
    def tells_classes(self) -> bool:
        """Whether it may be an output that top-1 agreement is told of, as far as is known."""
        scores = len(self.shape) == 2 and self.shape[1] != 1 and self.scores
        return not self.ranked or scores or self.dtype.kind != "f"

    @property
    def declared(self) -> Shape | None:
        """The shape, as a graph states it."""
        return self.shape if self.ranked else None


@dataclass(frozen=True)
class Target:
    """A network read from `path`; `sha256` covers the file and its external data."""

    path: Path
    sha256: str
    name: str
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    steps: tuple[Step, ...]
    constants: Mapping[str, Array]
    shapes: Mapping[str, Shape]
    opsets: Mapping[str, int]
    ir_version: int
    integers: frozenset[str] = frozenset()  # tensors known to hold no floats (shape arithmetic)
    is_ticket: bool = False  # by its manifest
    was_float32: bool = True  # in its file; here it is
    refusals: Mapping[str, str] = field(default_factory=dict)  # why a node is no layer, by its name

    @property
    def opset(self) -> int:
        """Version of the default operator set."""
        return self.opsets.get("", 1)

    @property
    def linears(self) -> tuple[Linear, ...]:
        """The layers to construct, in order."""
        return tuple(step for step in self.steps if isinstance(step, Linear))

    @property
    def weight_count(self) -> int:
        """Nonzero weights and biases of all linear layers."""
        return sum(layer.count for layer in self.linears)

    @cached_property
    def unvarying(self) -> frozenset[str]:
        """The tensors that follow from shapes and constants alone."""
        return unvarying_tensors(self.steps, self.constants)

    @cached_property
    def makers(self) -> dict[str, Step]:
        """For every computed tensor the step that makes it."""
        return {name: step for step in self.steps for name in step.outputs if name}

    @cached_property
    def consumers(self) -> dict[str, list[Step]]:
        """For every tensor the steps that read it; graph outputs are not among them."""
        readers: dict[str, list[Step]] = {}
        for step in self.steps:
            for name in step.inputs:
                if name and name not in self.constants:
                    readers.setdefault(name, []).append(step)
        return readers
