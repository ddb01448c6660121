"""What later layers need of every tensor: copies, constants, or zeros in their place."""

from collections import defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_

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

    def __or__(self, other: "Requirement") -> "Requirement":
        """What fulfils both."""
        return Requirement(
            self.read or other.read,
            self.copies or other.copies,
            max(self.constants, other.constants),
            max(self.zeros, other.zeros),
        )


def required(
    target: Target,
    *,
    opening: Container[str],
    copy_wise: Container[str],
    carrying: Mapping[str, bool],
) -> dict[str, Requirement]:
    """Walk back from the last step, over the reads that a first, optimistic plan accepted.

    `opening` are the layers that open blocks and want no copies; `copy_wise` are the names of the
    nodes that kept copies in the first plan, `carrying` those of the tensors that had any, with
    whether constants survived to them. Returns requirements by tensor; a tensor that is not among
    them has none.
    """
    needs: defaultdict[str, Requirement] = defaultdict(Requirement)
    makers = target.makers
    for step in reversed(target.steps):
        out = reduce(or_, (needs[name] for name in step.outputs if name), Requirement())
        if isinstance(step, Linear):
            copies = step.name not in opening and out.read
            biased = out.constants > 0 or bool(step.bias.any())
            constants = (RESERVE if copies else CARRIED) if biased else 0
            needs[step.input] |= Requirement(True, copies, constants)
        elif step.name in copy_wise and out.read:
            if not any(carrying.get(name) for name in step.outputs):
                out = replace(out, constants=0, zeros=0)
            inputs = [name for name in step.inputs if name in carrying]
            able = [name for name in inputs if carrying[name]]
            carriers = _carriers(step, able, makers)
            beside = 0 if step.op == "Concat" else out.rows
            for name in inputs:
                carries = name in carriers
                needs[name] |= out if carries else replace(out, constants=0, zeros=beside)
    return needs


def _carriers(node: Node, able: Sequence[str], makers: Mapping[str, Step]) -> Sequence[str]:
    """The inputs that bring the constants, of those that can: one of a sum or concatenation's.

    Identity skips bring theirs along for nothing, so they carry, and a layer adds zeros.
    """
    if node.op not in ("Add", "Sum", "Sub", "Concat"):
        return able
    passing = [name for name in able if not isinstance(makers.get(name), Linear)]
    return (passing or able)[:1]
