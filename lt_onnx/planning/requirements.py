"""What later layers need of every tensor: copies, constants, or zeros in their place."""

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass

from lt_onnx.target import Linear, Node, Step, Target

RESERVE = 24  # constant channels that a bias is built from: of fewer, all may pull one way
CARRIED = 2  # constant channels on a single-copy tensor, enough to feed the next block's reserve


@dataclass
class Demand:
    """What later layers need of a tensor."""

    reached: bool = False  # a layer reads it, through operators that keep layouts
    copies: bool = False
    constants: int = 0
    zeros: int = 0  # constant channels that must be there but hold zero

    @property
    def rows(self) -> int:
        """Constant rows of a layer that puts it out."""
        return max(self.constants, self.zeros)


def demands(
    target: Target, many: bool, kept: Container[str], carried: Container[str]
) -> dict[str, Demand]:
    """Walk back from the last step, over the reads that a first, optimistic plan accepted.

    `kept` are the nodes that kept copies in it, `carried` the tensors that had any; with `many`
    one-for-one layers want copies.
    """
    wants: dict[str, Demand] = {}

    def of(tensor: str) -> Demand:
        return wants.setdefault(tensor, Demand())

    makers = {name: step for step in target.steps for name in step.outputs}
    for step in reversed(target.steps):
        out = _joint([of(name) for name in step.outputs if name])
        if isinstance(step, Linear):
            need = of(step.input)
            copies = many and out.reached
            need.reached = True
            need.copies |= copies
            if out.constants or step.bias.any():
                need.constants = max(need.constants, RESERVE if copies else CARRIED)
        elif step.name in kept and out.reached:
            inputs = [n for n in step.inputs if n in carried]
            carrier = _carrier(step, inputs, makers)
            for name in inputs:
                need = of(name)
                need.reached = True
                need.copies |= out.copies
                if carrier in (None, name):
                    need.constants = max(need.constants, out.constants)
                    need.zeros = max(need.zeros, out.zeros)
                elif step.op != "Concat":
                    need.zeros = max(need.zeros, out.rows)
    return wants


def _joint(demands: Sequence[Demand]) -> Demand:
    """What is needed of a node with several outputs."""
    if len(demands) == 1:
        return demands[0]
    return Demand(
        reached=any(d.reached for d in demands),
        copies=any(d.copies for d in demands),
        constants=max((d.constants for d in demands), default=0),
        zeros=max((d.zeros for d in demands), default=0),
    )


def _carrier(node: Node, inputs: Sequence[str], makers: Mapping[str, Step]) -> str | None:
    """The one input of a sum or concatenation that brings the constants; None: all do.

    Identity skips bring theirs along for nothing, so they carry, and a layer adds zeros.
    """
    if node.op not in ("Add", "Sum", "Sub", "Concat") or len(inputs) < 2:
        return None
    passing = [name for name in inputs if not isinstance(makers.get(name), Linear)]
    return (passing or list(inputs))[0]
