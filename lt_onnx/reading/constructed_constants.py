"""Constants that operators read beside data become outputs of linear layers of one-hot inputs.

Positional and class tokens, biases of attention, masks, scales that no layer can take, tables of
positions that sizes pick from: a constant of n numbers is what a layer of O = ⌈n / R⌉ outputs makes
of the identity matrix [R, R], put into its shape. Zeros stand below that matrix, so that the
numbers' mean is not taken for a bias. All constants of a network share it, and so the neurons on
it; every output has R weights and one scale.
Of numbers that are repeated many times, only the different ones are made, and picked by indices.
What is 0 or 1 everywhere is made without a layer.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from lt_onnx.reading.made_tensors import MIN_OPSET, ZERO_ROWS, filled, one_hot
from lt_onnx.reading.rewriting import Network, Rewrite
from lt_onnx.target import Array, Floats, Indices, Linear, Node, Shape, Step, unvarying_tensors

MAX_NUMBERS = 1 << 21  # of a constant; larger tables stay as they are
MIN_ONE_HOT, MAX_ONE_HOT = 4, 64  # R
WEIGHTS_PER_INPUT = 40  # of all constants for each of R: each takes some 20 neurons
MIN_REPEATS = 4  # in the mean, from which on numbers are picked by indices
MAX_NUMBER = 1e30  # larger ones stand for ∞
MASKED = np.float32(-1e4)  # in place of −∞: e to that is 0, too
MASKING = frozenset(["Add", "Expand"])
BEFORE_SOFTMAX = MASKING | frozenset("Reshape Squeeze Transpose Unsqueeze".split())
# operators by whose input positions constants are made; None: all
ELEMENTWISE = frozenset("Add Div Max Mean Min Mul Sub Sum".split())
REPEATING = frozenset(["Expand", "Tile"])  # as often as there are inputs
PICKING = frozenset(["Gather", "Slice"])  # as many positions as inputs are long
POSITIONS: dict[str, tuple[int, ...] | None] = {
    **dict.fromkeys(ELEMENTWISE),
    "Concat": None,
    "Einsum": None,
    "Expand": (0,),
    "Gather": (0,),
    "MatMul": None,
    "PRelu": (1,),
    "Slice": (0,),
    "Tile": (0,),
    "Where": (1, 2),
}


def construct_constants(network: Network) -> None:
    """Let layers make the constants of `network`."""
    if network.opset < MIN_OPSET:
        return
    unvarying = unvarying_tensors(network.steps.values(), network.constants)
    tables: dict[tuple[str, int], _Table] = {}  # by the place and the position where they are read
    for place, step in network.steps.items():
        computed = [name for name in step.inputs if name and name not in network.constants]
        varies = not unvarying.issuperset(computed)
        if step.op in REPEATING or varies != (step.op in PICKING):
            for position in _positions(step, network):
                value = _finite(network, step, position)
                if value is not None:
                    tables[place, position] = _Table.of(value, _full_shape(network, step, value))
    total = sum(len(table.numbers) for table in tables.values())
    size = MIN_ONE_HOT
    while size < MAX_ONE_HOT and 2 * size * WEIGHTS_PER_INPUT <= total:
        size *= 2
    steps, network.steps = network.steps, {}
    for place, step in steps.items():
        if isinstance(step, Node):
            given = list(step.inputs)
            for position, name in enumerate(step.inputs):
                if (place, position) in tables:
                    given[position] = _make(network, name, tables[place, position], size)
            step = replace(step, inputs=tuple(given))
        network.steps[place] = step


@dataclass(frozen=True)
class _Table:
    """The different numbers of a constant, and which of them stands where; None: they in order."""

    shape: tuple[int, ...]  # that the constant is made in
    numbers: Floats  # [n]
    index: Indices | None  # of that shape

    @staticmethod
    def of(value: Floats, shape: tuple[int, ...]) -> "_Table":
        """The constant `value` in another shape."""
        numbers, index = np.unique(value, return_inverse=True)
        repeated = len(numbers) == 1 or len(numbers) * MIN_REPEATS <= value.size
        if repeated:
            return _Table(shape, numbers, index.reshape(shape))
        return _Table(shape, value.reshape(-1), None)


def _positions(node: Step, network: Network) -> Iterator[int]:
    """The inputs of an operator that are constants to be made."""
    if isinstance(node, Linear) or node.domain or node.op not in POSITIONS:
        return
    positions = POSITIONS[node.op]
    for position in range(len(node.inputs)) if positions is None else positions:
        value = network.floats(node, position)
        least = 1 if node.op == "Concat" else 2
        if value is not None and least <= value.size <= MAX_NUMBERS:
            yield position


def _finite(network: Network, node: Step, position: int) -> Floats | None:
    """A constant without the −∞ of a mask; None where other numbers are not finite, or nearly."""
    value = network.constants[node.inputs[position]]
    if (np.abs(value) <= MAX_NUMBER).all():
        return value
    if node.op not in MASKING or not _only_softmax_reads(network, node.outputs[0]):
        return None
    value = np.where(value < -MAX_NUMBER, MASKED, value)
    return value if (np.abs(value) <= MAX_NUMBER).all() else None


def _only_softmax_reads(network: Network, tensor: str) -> bool:
    """Whether a tensor is arranged, summed with others, and then read by Softmax alone."""
    waiting, seen = [tensor], set[str]()
    while waiting:
        name = waiting.pop()
        readers = [step for step in network.steps.values() if name in step.inputs]
        if not readers or name in network.outputs:
            return False
        passing = [step for step in readers if step.op != "Softmax"]
        if any(step.op not in BEFORE_SOFTMAX for step in passing):
            return False
        waiting += [step.outputs[0] for step in passing if step.outputs[0] not in seen]
        seen.update(step.outputs[0] for step in passing)
    return True


def _full_shape(network: Network, node: Step, value: Floats) -> tuple[int, ...]:
    """The shape of a constant, with as many axes as what it broadcasts over.

    Copies of channels are merged with tensors of the same rank.
    """
    out = network.shapes.get(node.outputs[0])
    if out is None or node.op not in ELEMENTWISE | {"PRelu", "Where"}:
        return value.shape
    return (1,) * (len(out) - value.ndim) + value.shape


def _make(network: Network, name: str, table: _Table, size: int) -> str:
    """The tensor that holds the constant `name`, whose steps are added unless it is there."""
    count, shape = len(table.numbers), table.shape
    if count == 1 and table.numbers[0] in (0, 1):
        return filled(int(table.numbers[0]), shape)
    title = f"{name}/{'x'.join(map(str, shape))}"
    made = f"{title}/made"
    if isinstance(network.steps.get(f"{title}/table"), Linear):
        return made
    width = -(-count // size)
    rows = np.zeros(size * width, np.float32)
    rows[:count] = table.numbers
    layer = Linear(
        name=title,
        op="Gemm",
        input=one_hot(size),
        output=f"{title}/table",
        weight=np.ascontiguousarray(rows.reshape(size, width).T),
        bias=np.zeros(width, np.float32),
    )
    flat, first = f"{title}/flat", f"{title}/first"
    height = (1 + ZERO_ROWS) * size
    constants: dict[str, Array] = {f"{flat}/shape": np.array([-1], np.int64)}
    shapes: dict[str, Shape] = {layer.output: (height, width), flat: (height * width,), made: shape}
    steps: list[Step] = [layer, Node("Reshape", flat, (layer.output, f"{flat}/shape"), (flat,))]
    if table.index is not None:
        constants[f"{title}/index"] = table.index
        steps.append(Node("Gather", made, (flat, f"{title}/index"), (made,), {"axis": 0}))
    else:
        ends = {f"{first}/{key}": np.array([v]) for key, v in (("from", 0), ("to", count))}
        old = network.opset < 10  # bounds became inputs
        named = {"starts": [0], "ends": [count]} if old else {}
        constants |= {f"{title}/shape": np.array(shape, np.int64)} | ({} if old else ends)
        shapes[first] = (count,)
        steps.append(Node("Slice", first, (flat, *([] if old else ends)), (first,), named))
        steps.append(Node("Reshape", made, (first, f"{title}/shape"), (made,)))
    network.apply(Rewrite(tuple(steps), constants, shapes))
    return made
