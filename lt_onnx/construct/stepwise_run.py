"""A network run step by step over the calibration batches, freeing what nobody reads any more."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from lt_onnx.errors import InputError
from lt_onnx.runtime import Program
from lt_onnx.target import Array, Node, Step


class StepwiseRun:
    """One network under way: the batches of every tensor that is still to be read."""

    def __init__(
        self,
        inputs: Mapping[str, list[Array]],
        steps: Iterable[Step],
        *,
        opsets: Mapping[str, int],
        constants: Mapping[str, Array],
    ) -> None:
        """`inputs` batch by batch, and the `steps` that will read tensors."""
        self.values = dict(inputs)
        self.readers = Counter(name for step in steps for name in step.inputs)  # to come
        self.opsets, self.constants = opsets, constants

    def run(
        self,
        nodes: Sequence[Node],
        constants: Mapping[str, Array],
        *,
        output: str,
        weights: Mapping[str, Array] | None = None,
    ) -> list[Array]:
        """Run `nodes` on every batch, with `constants` of this call; the batches of `output`.

        `weights` are constants too, large ones, which are not copied into a program.
        Raises InputError for nodes that read nothing that was computed before.
        """
        names = {name for node in nodes for name in node.inputs if name in self.values}
        if not names:
            raise InputError(f"{nodes[0].title} reads no tensor that was computed before")
        count = len(next(iter(self.values[name] for name in names)))
        batches = [{name: self.values[name][b] for name in names} for b in range(count)]
        feeds = [{**batch, **(weights or {})} for batch in batches]
        outputs = [name for name in nodes[-1].outputs if name]
        constants = {**self.constants, **constants}
        program = Program(nodes, feeds[0], constants=constants, outputs=outputs, opsets=self.opsets)
        results = program.map(feeds)
        for i, name in enumerate(outputs):
            self.values[name] = [result[i] for result in results]
        return self.values[output]

    def drop(self, steps: Iterable[Step]) -> None:
        """Take note that `steps` are done: tensors that nobody else is to read are freed."""
        for name in (name for step in steps for name in step.inputs):
            self.readers[name] -= 1
            if self.readers[name] <= 0:
                self.values.pop(name, None)
