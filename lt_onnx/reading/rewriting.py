"""What the rules of `lowering` share: the network as it stands, and the values that they return.

A rule is a function of a step and the network that changes neither. It gives None for a step that
its pattern does not fit, a Refusal where its check fails, and a Rewrite else.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import numpy as np

from lt_onnx.errors import InputError
from lt_onnx.target import Array, Floats, Node, Shape, Step


@dataclass(frozen=True)
class Refusal:
    """Why a rule does not apply to a step that its pattern fits."""

    reason: str


@dataclass(frozen=True)
class Rewrite:
    """What takes a step's place, with the constants and shapes of tensors that are new with it.

    `replaces` names the outputs of earlier steps, in whose place it stands too.
    """

    steps: tuple[Step, ...]
    constants: Mapping[str, Array] = field(default_factory=dict)
    shapes: Mapping[str, Shape] = field(default_factory=dict)
    replaces: tuple[str, ...] = ()


RuleResult: TypeAlias = Rewrite | Refusal | None


@dataclass
class Network:
    """A graph while it is rewritten: rules read it, `apply` writes it."""

    path: Path
    opset: int
    outputs: frozenset[str]
    reads: Mapping[str, int]  # how many inputs of the graph's nodes a tensor is
    constants: dict[str, Array]
    shapes: dict[str, Shape]
    steps: dict[str, Step] = field(default_factory=dict)  # in order, by their first output
    refusals: dict[str, str] = field(default_factory=dict)  # the last reason, by step

    def floats(self, node: Node, position: int) -> Floats | None:
        """A constant float32 input; None where it is absent, computed or of another type."""
        value = self.constants.get("".join(node.inputs[position : position + 1]))
        return value if value is not None and value.dtype == np.float32 else None

    def sole_maker(self, tensor: str) -> Step | None:
        """The step that makes `tensor`, if that is read once and no output of the graph.

        What rules make is read once.
        """
        alone = self.reads.get(tensor, 1) == 1 and tensor not in self.outputs
        return self.steps.get(tensor) if alone else None

    def error(self, node: Node, problem: str) -> InputError:
        """An error that names the file and the node."""
        return InputError(f"{self.path}: {node.title}: {problem}")

    def apply(self, rewrite: Rewrite) -> None:
        """Take in what a rule returned."""
        for tensor in rewrite.replaces:
            del self.steps[tensor]
        for step in rewrite.steps:
            tensor = next(filter(None, step.outputs), step.name)
            if tensor in self.steps:
                raise InputError(f"{self.path}: lt-onnx makes a tensor '{tensor}' too; rename it")
            self.steps[tensor] = step
        self.constants |= rewrite.constants
        self.shapes |= rewrite.shapes
