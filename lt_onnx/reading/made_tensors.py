"""Tensors of zeros and ones that a graph makes, instead of having them among its constants.

In: names of such tensors, as `filled` and `one_hot` give them. Out: the nodes that make them. They
start from the shape of an input of the network, whose rank has the shape [1] whatever it is, since
a ticket does not compute with constants alone. Runtimes evaluate all this once, on loading.
"""

from dataclasses import dataclass, field

import numpy as np
from onnx import TensorProto

from lt_onnx.target import Array, Node, Port, Shape

MIN_OPSET = 9  # has ConstantOfShape, EyeLike and Expand
ZERO_ROWS = 3  # for each that is one-hot: without, what all have in common would seem a bias
ONES, ZEROS, ONE_HOT = "made/ones", "made/zeros", "made/one_hot"


def filled(number: int, shape: tuple[int, ...]) -> str:
    """The name of a tensor that is 0 or 1 everywhere."""
    return "/".join([ONES if number else ZEROS, *map(str, shape)])


def one_hot(size: int) -> str:
    """The name of a matrix [(1 + ZERO_ROWS) · size, size]: the identity, and zeros below."""
    return f"{ONE_HOT}/{size}"


def is_made(name: str) -> bool:
    """Whether a tensor is one of these."""
    return name.startswith((f"{ONES}/", f"{ZEROS}/", f"{ONE_HOT}/"))


@dataclass
class MadeTensors:
    """Nodes that make the tensors asked for, in order, with what they read, from an `input`.

    A network that has none asks for none.
    """

    input: Port | None
    nodes: list[Node] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    shapes: dict[str, Shape] = field(default_factory=dict)

    @property
    def integers(self) -> frozenset[str]:
        """Those of the tensors that hold no floats."""
        return frozenset(
            name for node in self.nodes for name in node.outputs if node.op in ("Shape", "Expand")
        ) - {name for name in self.shapes if name.startswith((f"{ONES}/", f"{ZEROS}/"))}

    def make(self, name: str) -> None:
        """Add what makes `name`, one of the names that the functions above give."""
        if name in self.shapes or self.input is None:
            return
        kind, *numbers = name.rsplit("/", name.count("/") - 1)
        sizes = tuple(map(int, numbers))
        rank = self._shape_of(self._shape_of(self.input.name, len(self.input.shape)), 1)
        if kind == ONE_HOT:
            shape = ((1 + ZERO_ROWS) * sizes[0], sizes[0])
            like = self._expanded(rank, f"{name}/like", shape)
            self._add("EyeLike", name, like, shape, {"dtype": TensorProto.FLOAT})
            return
        if kind not in self.shapes:
            value = np.array([kind == ONES], np.float32)
            self._add("ConstantOfShape", kind, self._shape_of(rank, 1), (1,), {"value": value})
        self._expanded(kind, name, sizes)

    def _shape_of(self, tensor: str, size: int) -> str:
        name = f"{tensor}/shape" if tensor.startswith("made/") else "made/shape"
        if name not in self.shapes:
            self._add("Shape", name, tensor, (size,))
        return name

    def _expanded(self, tensor: str, name: str, sizes: tuple[int, ...]) -> str:
        self.constants[f"{name}/sizes"] = np.array(sizes, np.int64)
        return self._add("Expand", name, tensor, sizes, more=(f"{name}/sizes",))

    def _add(
        self,
        op: str,
        name: str,
        tensor: str,
        shape: Shape,
        attributes: dict[str, object] | None = None,
        *,
        more: tuple[str, ...] = (),
    ) -> str:
        self.nodes.append(Node(op, name, (tensor, *more), (name,), attributes or {}))
        self.shapes[name] = shape
        return name
