"""A network in parts, of which those before the first change are not run again."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lt_onnx.runtime import Program
from lt_onnx.target import Array, Node


@dataclass
class Part:
    """Neighbouring nodes, and the weights among what they read that may be replaced."""

    nodes: list[Node] = field(default_factory=list)
    weights: dict[str, Array] = field(default_factory=dict)
    layers: list[str] = field(default_factory=list)  # whose weights these are


class PartedRun:
    """Runs a network over some batches, with other weights from time to time."""

    def __init__(
        self,
        parts: Sequence[Part],
        feeds: Sequence[Mapping[str, Array]],
        *,
        constants: Mapping[str, Array],
        outputs: Sequence[str],
        opsets: Mapping[str, int],
    ) -> None:
        """`feeds` are the network's inputs batch by batch; a part reads what those before it make.

        Raises InputError where the runtime cannot run a node.
        """
        self._parts, self._outputs = parts, outputs
        self._constants, self._opsets = constants, opsets
        self._programs: list[tuple[Program | None, list[str]]] = []
        self._starts: list[Sequence[Mapping[str, Array]]] = [feeds]  # what each part is given
        read = [{name for node in part.nodes for name in node.inputs} for part in parts]
        self._live = [set(outputs).union(*read[i + 1 :]) for i in range(len(parts))]

    def run(
        self, weights: Mapping[str, Array], *, first: int, keep: bool = False
    ) -> list[list[Array]]:
        """The outputs of every batch, with some `weights` replaced, none of a part before `first`.

        Parts before it had been run with the same weights when `keep` was last asked for. With it,
        what the others are given now is what later runs start from.
        """
        batches = self._starts[first]
        for i in range(first, len(self._parts)):
            own = self._parts[i].weights
            own = {name: weights.get(name, weight) for name, weight in own.items()}
            if i == len(self._programs):
                self._programs.append(self._compiled(i, {**batches[0], **own}))
            program, made = self._programs[i]
            live, results = self._live[i], [list[Array]()] * len(batches)
            if program is not None:
                results = program.map([{**batch, **own} for batch in batches])
            batches = [
                {
                    **{name: value for name, value in batch.items() if name in live},
                    **dict(zip(made, result, strict=True)),
                }
                for batch, result in zip(batches, results, strict=True)
            ]
            if keep and i + 1 < len(self._parts):
                self._starts[i + 1 :] = [batches]
        return [[batch[name] for name in self._outputs] for batch in batches]

    def _compiled(self, i: int, like: Mapping[str, Array]) -> tuple[Program | None, list[str]]:
        """A part's program, and what it makes that is read later; None where nothing is."""
        nodes = self._parts[i].nodes
        every = dict.fromkeys(name for node in nodes for name in node.outputs)
        made = [name for name in every if name and name in self._live[i]]
        if not made:
            return None, made
        constants, opsets = self._constants, self._opsets
        return Program(nodes, like, constants=constants, outputs=made, opsets=opsets), made
