"""A network run step by step over the calibration batches, freeing what nobody reads any more."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Generic, TypeVar, overload

from lt_onnx.errors import InputError
from lt_onnx.runtime import Program
from lt_onnx.target import Array, Node, Step

T = TypeVar("T")
MAX_SHARED_NUMBERS = 1 << 24  # of a batch: larger ones are run one after the other


@dataclass(frozen=True)
class Made(Sequence[T], Generic[T]):
    """A sequence whose items are made whenever they are asked for: they are too large to hold."""

    length: int
    make: Callable[[int], T]
    alone: bool = False  # so large that not two of them are to be there

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, b: int) -> T: ...
    @overload
    def __getitem__(self, b: slice) -> "Made[T]": ...
    def __getitem__(self, b: int | slice) -> "T | Made[T]":
        if isinstance(b, slice):
            own = range(self.length)[b]
            return Made(len(own), lambda i: self.make(own[i]), self.alone)
        if not -self.length <= b < self.length:
            raise IndexError(b)
        return self.make(b % self.length)


class StepwiseRun:
    """One network under way: the batches of every tensor that is still to be read."""

    def __init__(
        self,
        inputs: Mapping[str, Sequence[Array]],
        steps: Iterable[Step],
        *,
        opsets: Mapping[str, int],
        constants: Mapping[str, Array],
    ) -> None:
        """`inputs` batch by batch, and the `steps` that will read tensors."""
        self.values: dict[str, Sequence[Array]] = dict(inputs)
        self.readers = Counter(name for step in steps for name in step.inputs)  # to come
        self.opsets, self.constants = opsets, constants

    def run(
        self, nodes: Sequence[Node], constants: Mapping[str, Array], *, output: str
    ) -> Sequence[Array]:
        """Run `nodes` on every batch, with `constants` of this call; the batches of `output`.

        What is made of tensors too wide to hold is not held either.
        Raises InputError for nodes that read nothing that was computed before.
        """
        outputs = [name for name in nodes[-1].outputs if name]
        read = (self.values.get(name) for node in nodes for name in node.inputs)
        if outputs == [output] and any(isinstance(batches, Made) for batches in read):
            return self.run_when_read(nodes, constants, output=output)
        program, feeds = self._compiled(nodes, constants, outputs)
        results = program.map(feeds)
        for i, name in enumerate(outputs):
            self.values[name] = [result[i] for result in results]
        return self.values[output]

    def run_when_read(
        self, nodes: Sequence[Node], constants: Mapping[str, Array], *, output: str
    ) -> Sequence[Array]:
        """The same, but of a tensor too wide to hold: its batches are made whenever they are read.

        Raises as `run`.
        """
        program, feeds = self._compiled(nodes, constants, [output])
        # the batch read last is held: the next program looks at it for types and ranks
        make = lru_cache(1)(lambda b: program(feeds[b])[0])
        self.values[output] = Made(len(feeds), make, make(0).size > MAX_SHARED_NUMBERS)
        return self.values[output]

    def _compiled(
        self, nodes: Sequence[Node], constants: Mapping[str, Array], outputs: Sequence[str]
    ) -> tuple[Program, Sequence[Mapping[str, Array]]]:
        """`nodes` and what they are to be fed, batch by batch."""
        names = {name for node in nodes for name in node.inputs if name in self.values}
        if not names:
            raise InputError(f"{nodes[0].title} reads no tensor that was computed before")
        read = {name: self.values[name] for name in names}
        count = len(next(iter(read.values())))
        alone = any(isinstance(batches, Made) and batches.alone for batches in read.values())
        feeds = Made(count, lambda b: {name: batches[b] for name, batches in read.items()}, alone)
        constants = {**self.constants, **constants}
        program = Program(nodes, feeds[0], constants=constants, outputs=outputs, opsets=self.opsets)
        return program, feeds

    def drop(self, steps: Iterable[Step]) -> None:
        """Take note that `steps` are done: tensors that nobody else is to read are freed."""
        for name in (name for step in steps for name in step.inputs):
            self.readers[name] -= 1
            if self.readers[name] <= 0:
                self.values.pop(name, None)
