"""The plan of a ticket: its graph, its source layers and its layouts, but no weight.

Comes in: a Target and Options. Goes out: a `Blueprint`, a list of steps in the order in which the
ticket runs and is constructed:

- `Run`     a node taken over from the target, or one that reorders channels;
- `Expand`  the univariate layer that opens a two-for-one block (Alg. 1, odd layers);
- `Build`   a layer whose weights are subset sums (Alg. 1, even layers; Alg. 2).

`planning` makes it, `construct` finds the masks, `writing` writes the ticket.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from lt_onnx.layout import Layout
from lt_onnx.manifest import DensePlace
from lt_onnx.ops.activation_fit import LocalModel
from lt_onnx.ops.activations import Activation
from lt_onnx.options import Options
from lt_onnx.source.layer import SourceLayer
from lt_onnx.target import Array, Linear, Node, Target


def _unit_scales(layer: SourceLayer) -> Array:
    """A scale of 1 for every output channel: [O], for convolutions with an axis for each of K."""
    return np.ones((layer.shape[0], *[1] * (len(layer.shape) - 2)), np.float32)


@dataclass(frozen=True)
class Run:
    """A node with the ticket's tensor names."""

    node: Node

    @property
    def nodes(self) -> tuple[Node, ...]:
        """The ONNX nodes of the step."""
        return (self.node,)


@dataclass(frozen=True)
class Expand:
    """A univariate layer: each neuron reads one channel, or none and is a constant."""

    name: str
    tensor: str  # the target's
    source: SourceLayer
    input: str
    in_layout: Layout | None
    output: str
    out_layout: Layout  # data channels: `copy` is the neuron's slot
    channels: int
    neurons: int  # m: slots of every channel and part
    slots: NDArray[np.int64]  # (channel, part) of every slot, [S, 2]
    group: int  # of the layer behind
    constants: int
    model: LocalModel
    nonnegative: bool
    nodes: tuple[Node, ...]
    scale: str
    order: str

    def neutral_tensors(self) -> dict[str, Array]:
        """Scales of 1 and the first neurons in order: what the unmasked source has."""
        order = np.arange(self.out_layout.width) % self.source.shape[0]
        return {self.scale: _unit_scales(self.source), self.order: order.astype(np.int64)}


@dataclass(frozen=True)
class Build:
    """A constructed layer, with the tensors that the blueprint gave it."""

    name: str
    linear: Linear
    source: SourceLayer
    input: str
    in_layout: Layout
    output: str
    out_layout: Layout
    expand: str | None  # name of the Expand that its input comes from; None: one-for-one
    follows: Activation | None  # the activation that its constants pass next
    nodes: tuple[Node, ...]
    scale: str
    pads: tuple[int, ...] | None  # resolved pads of the convolution; None: auto_pad
    base_size: int  # m: members of a base set
    coefficients: Mapping[int, float]  # x = Σ coefficient(part) · feature
    builds_constants: bool  # its constant rows hold constants, not zeros beside a skip

    def neutral_tensors(self) -> dict[str, Array]:
        """Scales of 1: what the unmasked source has."""
        return {self.scale: _unit_scales(self.source)}

    @property
    def one_for_one(self) -> bool:
        """Whether Algorithm 2 builds it."""
        return self.expand is None

    @property
    def bent(self) -> bool:
        """Whether weights on positive and on negative inputs are chosen apart."""
        return -1 in self.coefficients


TicketStep: TypeAlias = Run | Expand | Build


@dataclass(frozen=True)
class Blueprint:
    """The plan. `constants` are structural (indices, shapes) or taken over from the target."""

    target: Target
    options: Options
    steps: tuple[TicketStep, ...]
    constants: Mapping[str, Array]
    dense: tuple[DensePlace, ...]
    activation: Activation  # φ of the two-for-one blocks
    copy_wise: frozenset[str] = frozenset()  # target nodes that keep all copies, by name
    nonnegative: frozenset[str] = frozenset()  # target tensors that are never negative
    constants_lost: frozenset[str] = frozenset()  # target tensors that none survives to

    @property
    def layers(self) -> tuple[SourceLayer, ...]:
        """All random layers, in order."""
        return tuple(step.source for step in self.steps if not isinstance(step, Run))

    @property
    def source_weights(self) -> int:
        """Random weights and biases of the source network."""
        return sum(layer.count for layer in self.layers)

    @property
    def dense_parameters(self) -> int:
        """Parameters of the target that stay dense, at each place counted once."""
        return sum(place.parameters for place in self.dense)

    @property
    def weight_bytes(self) -> int:
        """Bytes of the folded ticket's weights, biases apart."""
        return 4 * sum(layer.size for layer in self.layers)
