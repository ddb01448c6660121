"""What is asked of a plan."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from lt_onnx.ops.activation_fit import LocalModel
from lt_onnx.ops.activations import Activation
from lt_onnx.options import Mode, Options
from lt_onnx.planning.requirements import CARRIED, RESERVE, Requirement
from lt_onnx.target import Linear, Node, Target


@dataclass(frozen=True)
class Request:
    """What is asked. Without `requirements` every layer puts out copies and constants."""

    target: Target
    options: Options
    activation: Activation  # φ of the two-for-one blocks
    model: LocalModel  # of φ
    nonnegative: frozenset[str]  # target tensors that are never negative
    constants_lost: frozenset[str]  # target tensors that constants do not survive to
    requirements: Mapping[str, Requirement] | None = None

    def required(self, tensor: str) -> Requirement:
        """What later layers need of a tensor; everything, as long as that is not known.

        What is the same whatever the network is given is there once, without copies.
        """
        if tensor in self.target.unvarying:
            return Requirement(True)
        if self.requirements is not None:
            return self.requirements.get(tensor, Requirement())
        many = self.options.mode is not Mode.TWO_L
        return Requirement(True, many, RESERVE if many else CARRIED)

    @property
    def has_gemm(self) -> bool:
        """Whether Gemm may go without its addend."""
        return self.target.opset >= 11

    def is_between_layers(self, node: Node) -> bool:
        """Whether `node` depends on a layer's output, and some layer depends on it."""
        after, before = self._around_layers
        return bool(node.inputs) and node.inputs[0] in after and node.outputs[0] in before

    @cached_property
    def _around_layers(self) -> tuple[set[str], set[str]]:
        """Tensors that depend on a layer's output, and tensors that some layer depends on."""
        after: set[str] = set()
        for step in self.target.steps:
            if isinstance(step, Linear) or not after.isdisjoint(step.inputs):
                after.update(step.outputs)
        before: set[str] = set()
        for step in reversed(self.target.steps):
            if isinstance(step, Linear) or not before.isdisjoint(step.outputs):
                before.update(step.inputs)
        return after, before
