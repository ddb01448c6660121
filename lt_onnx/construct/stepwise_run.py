"""A network run step by step over the calibration batches, freeing what nobody reads any more."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Generic, TypeVar, overload

import numpy as np

from lt_onnx.errors import InputError
from lt_onnx.runtime import Program, by_batch
from lt_onnx.target import Array, Indices, Node, Step

T = TypeVar("T")
MAX_SHARED_NUMBERS = 1 << 24  # of a batch: larger ones are run one after the other


@dataclass(frozen=True)
class Made(Sequence[T], Generic[T]):
    """A sequence whose items are made whenever they are asked for: they are too large to hold."""

    length: int
    make: Callable[[int], T]
    numbers: int = 0  # of the first batch
    some: "Callable[[Indices], Made[T]] | None" = None  # the same, but of some channels alone

    @property
    def alone(self) -> bool:
        """Whether items are so large that not two of them are to be there."""
        return self.numbers > MAX_SHARED_NUMBERS

    def __len__(self) -> int:
        return self.length

    @overload
    def __getitem__(self, b: int) -> T: ...
    @overload
    def __getitem__(self, b: slice) -> "Made[T]": ...
    def __getitem__(self, b: int | slice) -> "T | Made[T]":
        if isinstance(b, slice):
            own = range(self.length)[b]
            return Made(len(own), lambda i: self.make(own[i]), self.numbers)
        if not -self.length <= b < self.length:
            raise IndexError(b)
        return self.make(b % self.length)


def taken(x: Sequence[Array], places: Indices, axis: int) -> Sequence[Array]:
    """The channels `places` of a tensor, batch by batch; no others are made."""
    if isinstance(x, Made) and x.some is not None:
        return x.some(places)
    numbers = x.numbers if isinstance(x, Made) else 0
    return Made(len(x), lambda b: np.take(x[b], places, axis), numbers)


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
        self,
        nodes: Sequence[Node],
        constants: Mapping[str, Array],
        *,
        output: str,
        release: bool = False,
    ) -> Sequence[Array]:
        """Run `nodes` on every batch, with `constants` of this call; the batches of `output`.

        What is made of tensors too wide to hold is not held either. With `release` a tensor that
        nobody else is to read is freed batch by batch.
        Raises InputError for nodes that read nothing that was computed before.
        """
        outputs = [name for name in nodes[-1].outputs if name]
        reads = Counter(name for node in nodes for name in node.inputs if name in self.values)
        if outputs == [output] and any(isinstance(self.values[name], Made) for name in reads):
            made = self.made(nodes, constants, output=output, values=self.values)
            self.values[output] = replace(made, numbers=made[0].size)
            return self.values[output]
        last = [name for name, count in reads.items() if release and self.readers[name] <= count]
        freed = {name: [*self.values.pop(name)] for name in last}
        program, feeds = self._compiled(nodes, constants, outputs, {**self.values, **freed})

        def look(b: int) -> list[Array]:
            result = program(feeds[b])
            for batches in freed.values():
                batches[b] = np.empty(0)
            return result

        results = by_batch(Made(len(feeds), int, feeds.numbers), look)
        for i, name in enumerate(outputs):
            self.values[name] = [result[i] for result in results]
        return self.values[output]

    def made(
        self,
        nodes: Sequence[Node],
        constants: Mapping[str, Array],
        *,
        output: str,
        values: Mapping[str, Sequence[Array]],
    ) -> Made[Array]:
        """What `nodes` make of `values`, a tensor too wide to hold: its batches are made when read.

        Raises as `run`.
        """
        program, feeds = self._compiled(nodes, constants, [output], values)
        # the batch read last is held: the next program looks at it for types and ranks
        return Made(len(feeds), lru_cache(1)(lambda b: program(feeds[b])[0]))

    def _compiled(
        self,
        nodes: Sequence[Node],
        constants: Mapping[str, Array],
        outputs: Sequence[str],
        values: Mapping[str, Sequence[Array]],
    ) -> tuple[Program, Made[Mapping[str, Array]]]:
        """`nodes` and what they are to be fed of `values`, batch by batch."""
        names = {name for node in nodes for name in node.inputs if name in values}
        if not names:
            raise InputError(f"{nodes[0].title} reads no tensor that was computed before")
        read = {name: values[name] for name in names}
        count = len(next(iter(read.values())))
        most = max(made.numbers if isinstance(made, Made) else 0 for made in read.values())
        feeds = Made[Mapping[str, Array]](
            count, lambda b: {name: batches[b] for name, batches in read.items()}, most
        )
        constants = {**self.constants, **constants}
        program = Program(nodes, feeds[0], constants=constants, outputs=outputs, opsets=self.opsets)
        return program, feeds

    def drop(self, steps: Iterable[Step]) -> None:
        """Take note that `steps` are done: tensors that nobody else is to read are freed."""
        for name in (name for step in steps for name in step.inputs):
            self.readers[name] -= 1
            if self.readers[name] <= 0:
                self.values.pop(name, None)
