"""What a plan consists of so far, and where it has each tensor of the target."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TypeVar

from lt_onnx.blueprint import Expand, TicketStep
from lt_onnx.layout import Layout
from lt_onnx.manifest import DensePlace
from lt_onnx.planning.made_numbers import Content
from lt_onnx.target import Array, Node, Shape

UNNUMBERED = -1  # index of a source layer until the plan is whole: what nothing reads gets none

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Copies:
    """A tensor of the ticket that holds copies of channels, or features of an open block."""

    name: str
    layout: Layout
    expand: Expand | None = None  # the block's univariate layer


@dataclass(frozen=True)
class Opening:
    """What a layer asks of the block that opens on its input."""

    tensor: str  # the target's
    channels: int
    group: int  # of the layer
    axis: int  # of the channels
    rank: int
    constants: bool  # wanted, to build biases from


class WriteOnce(dict[K, V]):
    """A mapping whose entries are never replaced, so that its length tells its state."""

    def __setitem__(self, key: K, value: V) -> None:
        if key in self:
            raise KeyError(f"{key!r} is there already")
        super().__setitem__(key, value)


@dataclass(frozen=True)
class Emitted:
    """The parts of a plan. Every part only grows, so that a snapshot is their lengths."""

    steps: list[TicketStep] = field(default_factory=list)
    constants: WriteOnce[str, Array] = field(default_factory=WriteOnce)
    dense: WriteOnce[str, DensePlace] = field(default_factory=WriteOnce)  # by node
    # of the ticket's tensors: (channels, rank), where known; which follow from shapes alone
    extents: WriteOnce[str, tuple[int, int]] = field(default_factory=WriteOnce)
    from_shapes: WriteOnce[str, Content] = field(default_factory=WriteOnce)
    # where the target's tensors are: with copies, and as the target has them
    copies: WriteOnce[str, Copies] = field(default_factory=WriteOnce)
    singles: WriteOnce[str, str] = field(default_factory=WriteOnce)
    # shapes as in the target of tensors that are not the target's
    shapes: WriteOnce[str, Shape] = field(default_factory=WriteOnce)
    # target nodes that keep all copies; the Flatten or Reshape that makes a target tensor
    copy_wise: WriteOnce[str, None] = field(default_factory=WriteOnce)
    reshaped: WriteOnce[str, Node] = field(default_factory=WriteOnce)
    # target tensors behind reshapes and transposes that may yet keep the channels whole: what
    # these start from, and they; of such chains that did, the tensors inside
    undecided: WriteOnce[str, tuple[str, tuple[Node, ...]]] = field(default_factory=WriteOnce)
    inside_chains: WriteOnce[str, None] = field(default_factory=WriteOnce)
    blocks: WriteOnce[Opening, Copies] = field(default_factory=WriteOnce)

    def snapshot(self) -> tuple[int, ...]:
        """The state, for `restore`."""
        return tuple(len(getattr(self, part.name)) for part in fields(self))

    def restore(self, snapshot: Sequence[int]) -> None:
        """Forget all that was added since the snapshot."""
        for part, length in zip(fields(self), snapshot, strict=True):
            entries = getattr(self, part.name)
            if isinstance(entries, list):
                del entries[length:]
            while len(entries) > length:
                entries.popitem()
