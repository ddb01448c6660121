"""What later layers need of every tensor: copies, constants, or zeros in their place."""

from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from lt_onnx.target import Linear, Node, Step, Target

RESERVE = 24  # constant channels that a bias is built from: of fewer, all may pull one way
CARRIED = 2  # constant channels on a single-copy tensor, enough to feed the next block's reserve


@dataclass(frozen=True)
class Requirement:
    """What later layers need of a tensor."""

    read: bool = False  # a layer reads it, through operators that keep layouts
    copies: bool = False  # of each channel, for a one-for-one layer
    constants: int = 0  # constant channels
    zeros: int = 0  # constant channels that must be there but hold zero

    @property
    def rows(self) -> int:
        """Constant rows of a layer that puts the tensor out."""
        return max(self.constants, self.zeros)


def required(
    target: Target, *, many: bool, copy_wise: Container[str], carrying: Container[str]
) -> dict[str, Requirement]:
    """Walk back from the last step, over the reads that a first, optimistic plan accepted.

    Args:
        target: the network.
        many: one-for-one layers want copies (mode `l+1`).
        copy_wise: names of the nodes that kept copies in the first plan.
        carrying: names of the tensors that had copies in it.

    Returns:
        Requirements by tensor; a tensor that is not among them has none.
    """
    needs: dict[str, Requirement] = {}
    makers = {name: step for step in target.steps for name in step.outputs}
    for step in reversed(target.steps):
        out = _joint(needs[name] for name in step.outputs if name in needs)
        if isinstance(step, Linear):
            copies = many and out.read
            biased = out.constants > 0 or bool(step.bias.any())
            constants = (RESERVE if copies else CARRIED) if biased else 0
            added = {step.input: Requirement(True, copies, constants)}
        elif step.name in copy_wise and out.read:
            inputs = [name for name in step.inputs if name in carrying]
            added = _shared(step, inputs, out, makers)
        else:
            continue
        for name, requirement in added.items():
            needs[name] = _joint([needs.get(name, Requirement()), requirement])
    return needs


def _shared(
    node: Node, inputs: Sequence[str], out: Requirement, makers: Mapping[str, Step]
) -> dict[str, Requirement]:
    """What `node` needs of its `inputs`, where `out` is needed of its outputs."""
    carrier = _carrier(node, inputs, makers)
    beside = 0 if node.op == "Concat" else out.rows  # zeros, where another input has constants
    return {
        name: out
        if carrier in (None, name)
        else Requirement(out.read, out.copies, constants=0, zeros=beside)
        for name in inputs
    }


def _joint(requirements: Iterable[Requirement]) -> Requirement:
    """What fulfils all of `requirements`."""
    every = list(requirements)
    return Requirement(
        read=any(one.read for one in every),
        copies=any(one.copies for one in every),
        constants=max((one.constants for one in every), default=0),
        zeros=max((one.zeros for one in every), default=0),
    )


def _carrier(node: Node, inputs: Sequence[str], makers: Mapping[str, Step]) -> str | None:
    """The one input of a sum or concatenation that brings the constants; None: all do.

    Identity skips bring theirs along for nothing, so they carry, and a layer adds zeros.
    """
    if node.op not in ("Add", "Sum", "Sub", "Concat") or len(inputs) < 2:
        return None
    passing = [name for name in inputs if not isinstance(makers.get(name), Linear)]
    return (passing or list(inputs))[0]
