"""A network run step by step over the calibration batches, freeing what nobody reads any more."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lt_onnx.errors import InputError
from lt_onnx.runtime import Program
from lt_onnx.target import Array, Node


@dataclass
class StepwiseRun:
    """One network under way: the batches of every tensor that is still to be read."""

    values: dict[str, list[Array]]
    uses: dict[str, int]
    opsets: Mapping[str, int]
    constants: Mapping[str, Array]

    def run(self, nodes: Sequence[Node], extra: Mapping[str, Array], output: str) -> list[Array]:
        """Run `nodes` on every batch; `extra` are constants of this call."""
        names = {name for node in nodes for name in node.inputs if name in self.values}
        if not names:
            raise InputError(
                f"node '{nodes[0].name}' ({nodes[0].op}) reads no tensor that was computed before"
            )
        count = len(next(iter(self.values[name] for name in names)))
        feeds = [{name: self.values[name][b] for name in names} for b in range(count)]
        outputs = [name for name in nodes[-1].outputs if name]
        constants = {**self.constants, **extra}
        program = Program(nodes, feeds[0], constants=constants, outputs=outputs, opsets=self.opsets)
        results = [program(feed) for feed in feeds]
        for i, name in enumerate(outputs):
            self.values[name] = [result[i] for result in results]
        return self.values[output]

    def drop(self, names: Sequence[str]) -> None:
        """Count one reader off each tensor and free those that nobody reads any more."""
        for name in names:
            self.uses[name] = self.uses.get(name, 0) - 1
            if self.uses[name] <= 0:
                self.values.pop(name, None)
