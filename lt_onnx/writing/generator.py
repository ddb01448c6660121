"""A ticket's random weights as a graph that makes them: mask codes in, masked weights out.

In: which numbers of each layer are kept. Out: nodes of standard operators (operator set 18) and the
tensors that they read, all integers but each layer's σ. They read nothing else, so that a runtime
folds them once, when it opens the file.

- `mask`: codes become positions. Code c of w bits moves on by c + 1 positions, to a weight that is
  kept; the largest code, 2^w − 1, moves on by 2^w − 1 to one that is not. Words of 64 bits hold as
  many codes as fit, the first one lowest.
- `draw`: Philox4x32-10 at these positions alone (see `source`), for the layers together as long as
  they are MAX_DRAWN numbers.
- the weight: σ·u scattered into zeros.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from onnx import TensorProto

from lt_onnx.manifest import CollapsedLayer, LayerRecord
from lt_onnx.target import Array, Indices, Node

MAX_DRAWN = 1 << 20  # numbers that one generator draws
MAX_CODE_BITS = 24
ROUNDS = 10
MULTIPLIERS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
POSITIVE = "positive"  # ends the names of max(x, 0), and of a weight that reads it alone
MASK_TEXT = "Codes become gaps, and gaps the positions that the mask keeps."
SUM_TEXT = "The neurons of a channel hand on the same number: their weights are added up."
DRAW_TEXT = "Philox4x32-10 of seed, layer and position: uniform on [-1, 1), 24 bits."


def encoded(places: Indices) -> tuple[Array, int, int]:
    """Rising positions as codes: the words [G, 1] (uint64), bits a code and how many codes."""
    gaps = np.diff(places, prepend=-1)
    sizes = []
    for bits in range(1, MAX_CODE_BITS + 1):
        count = len(gaps) + int(((gaps - 1) // (2**bits - 1)).sum()) + (len(gaps) == 0)
        sizes.append((-(-count // (64 // bits)), bits, count))
    words, bits, count = min(sizes)
    largest, per_word = 2**bits - 1, 64 // bits
    codes = np.full(words * per_word, largest, np.uint64)
    codes[count:] = 0
    jumps = (gaps - 1) // largest
    codes[np.arange(len(gaps)) + np.cumsum(jumps)] = (gaps - 1) % largest
    shifts = np.arange(per_word, dtype=np.uint64) * np.uint64(bits)
    packed = np.bitwise_or.reduce(codes.reshape(words, per_word) << shifts, axis=1)
    return packed[:, None], bits, count


@dataclass(frozen=True)
class Piece:
    """The kept numbers of a weight, or of a bias: what is to be drawn for one tensor."""

    name: str
    layer: LayerRecord
    places: Indices  # flat, rising
    is_bias: bool = False

    @cached_property
    def codes(self) -> tuple[Array, int, int]:
        """See `encoded`."""
        return encoded(self.places)

    @property
    def size(self) -> int:
        """Numbers of the tensor, zeros included."""
        rows = self.layer.shape[0]
        return rows if self.is_bias else int(np.prod(self.layer.shape, dtype=np.int64))


@dataclass
class Graph:
    """Nodes in order, and what they read besides each other's outputs."""

    nodes: list[tuple[Node, str]] = field(default_factory=list)  # with their doc strings
    tensors: dict[str, Array] = field(default_factory=dict)

    def add(self, op: str, inputs: Sequence[str], output: str, text: str = "", **more: Any) -> str:
        """Append a node of one output; returns the output's name."""
        self.nodes.append((Node(op, "", tuple(inputs), (output,), more), text))
        return output

    def constant(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        """A tensor, the same for all that ask for this name; returns the name."""
        self.tensors.setdefault(name, np.asarray(value, dtype))
        return name


def chunks(pieces: Sequence[Piece]) -> Iterator[list[Piece]]:
    """The pieces that one generator draws, in order."""
    chunk: list[Piece] = []
    for piece in pieces:
        if chunk and sum(p.codes[2] for p in [*chunk, piece]) > MAX_DRAWN:
            yield chunk
            chunk = []
        chunk.append(piece)
    yield chunk


def generate(graph: Graph, pieces: Sequence[Piece], seed: int) -> None:
    """Append what makes `<weight>/flat`, the masked weights of a layer in one row, and biases."""
    for number, chunk in enumerate(chunks(pieces), 1):
        places = [_origins(graph, piece, _mask(graph, piece)) for piece in chunk]
        _draw(graph, chunk, places, seed=seed, name="draw" if number == 1 else f"draw_{number}")
        for piece in chunk:
            _masked(graph, piece)


def _mask(graph: Graph, piece: Piece) -> str:
    """The positions of a piece's codes, [n]."""
    name = f"{piece.name}/mask"
    coded, bits, count = piece.codes
    shifts = np.arange(64 // bits) * bits
    codes = graph.constant(f"{piece.name}/codes", coded, np.uint64)
    shift = graph.constant(f"draw/shifts_{bits}", shifts, np.uint64)
    low = graph.constant(f"draw/field_{bits}", 2**bits - 1, np.uint64)
    words = graph.add("BitShift", [codes, shift], f"{name}/words", MASK_TEXT, direction="RIGHT")
    fields = graph.add("BitwiseAnd", [words, low], f"{name}/fields")
    integers = graph.add("Cast", [fields], f"{name}/integers", to=TensorProto.INT32)
    flat = graph.add("Reshape", [integers, graph.constant("draw/flat", [-1])], f"{name}/all")
    ends = [graph.constant("draw/start", [0]), graph.constant(f"{piece.name}/count", [count])]
    steps = graph.add("Slice", [flat, *ends], f"{name}/steps")
    jump = graph.constant(f"draw/jump_{bits}", 2**bits - 1, np.int32)
    kept = graph.add("Less", [steps, jump], f"{name}/kept")
    one = graph.add("Cast", [kept], f"{name}/one", to=TensorProto.INT32)
    gaps = graph.add("Add", [steps, one], f"{name}/gaps")
    ends_at = graph.add("CumSum", [gaps, graph.constant("draw/axis", 0)], f"{name}/ends")
    return graph.add("Sub", [ends_at, graph.constant("draw/one", 1, np.int32)], name)


def _origins(graph: Graph, piece: Piece, places: str) -> str:
    """Where the numbers are drawn from: mirror images, from their originals; else `places`."""
    layer, name = piece.layer, f"{piece.name}/mirror"
    row = int(np.prod(layer.shape[1:]))
    taps, turned = row // layer.shape[1], []
    for half, stride, period, key in (
        (layer.mirror_rows, row, 0, "rows"),
        (layer.mirror_columns, taps, row, "columns"),
    ):
        if not half or piece.is_bias:
            continue
        inside = places
        if period:
            inside = graph.add(
                "Mod", [places, graph.constant(f"{name}/row", period, np.int32)], f"{name}/in_row"
            )
        low = graph.constant(f"{name}/{key}/low", half * stride, np.int32)
        high = graph.constant(f"{name}/{key}/high", 2 * half * stride, np.int32)
        above = graph.add("GreaterOrEqual", [inside, low], f"{name}/{key}/above")
        below = graph.add("Less", [inside, high], f"{name}/{key}/below")
        turned.append(graph.add("And", [above, below], f"{name}/{key}/image"))
        image = graph.add("Cast", turned[-1:], f"{name}/{key}/one", to=TensorProto.INT32)
        shift = graph.add("Mul", [image, low], f"{name}/{key}/shift")
        places = graph.add("Sub", [places, shift], f"{name}/{key}/origin")
    if turned:
        graph.add("Xor" if len(turned) == 2 else "Identity", turned, f"{name}/turned")
    return places


def _draw(
    graph: Graph, pieces: Sequence[Piece], places: Sequence[str], *, seed: int, name: str
) -> None:
    """Unit values u of the pieces, `<piece>/draw`, at the given places of each."""
    counts = [piece.codes[2] for piece in pieces]
    joined = graph.add("Concat", places, f"{name}/places", axis=0)
    place = graph.add("Cast", [joined], f"{name}/place", to=TensorProto.UINT64)
    size = graph.constant(f"{name}/size", [sum(counts)])
    starts = graph.constant(f"{name}/starts", np.cumsum([0, *counts[:-1]]))
    zeros = graph.add("ConstantOfShape", [size], f"{name}/zeros", value=np.zeros(1, np.int32))
    ones = graph.constant(f"{name}/ones", np.ones(len(pieces)), np.int32)
    marks = graph.add("ScatterElements", [zeros, starts, ones], f"{name}/marks", axis=0)
    number = graph.add("CumSum", [marks, graph.constant("draw/axis", 0)], f"{name}/numbers")
    number = graph.add("Sub", [number, graph.constant("draw/one", 1, np.int32)], f"{name}/piece")
    layers = graph.constant(f"{name}/layers", [piece.layer.index for piece in pieces], np.uint64)
    streams = graph.constant(f"{name}/streams", [piece.is_bias for piece in pieces], np.uint64)
    layer = graph.add("Gather", [layers, number], f"{name}/layer")
    stream = graph.add("Gather", [streams, number], f"{name}/stream")
    words = _philox(graph, place, layer=layer, stream=stream, seed=seed, name=name)
    unit = _unit(graph, place, words, name)
    sizes = graph.constant(f"{name}/counts", counts)
    outputs = tuple(f"{piece.name}/draw" for piece in pieces)
    graph.nodes.append((Node("Split", "", (unit, sizes), outputs, {"axis": 0}), ""))


def _philox(
    graph: Graph, place: str, *, layer: str, stream: str, seed: int, name: str
) -> list[str]:
    """The four words of the block of every place."""

    def shifted(tensor: str, by: str, output: str, text: str = "") -> str:
        return graph.add("BitShift", [tensor, by], f"{name}/{output}", text, direction="RIGHT")

    low, word = (
        graph.constant("draw/low", 2**32 - 1, np.uint64),
        graph.constant("draw/word", 32, np.uint64),
    )
    factors = [graph.constant(f"draw/m{i}", m, np.uint64) for i, m in enumerate(MULTIPLIERS)]
    block = shifted(place, graph.constant("draw/two", 2, np.uint64), "block", DRAW_TEXT)
    c0 = graph.add("BitwiseAnd", [block, low], f"{name}/c0")
    c1, c2, c3 = shifted(block, word, "c1"), layer, stream
    for r in range(ROUNDS):
        keys = []
        for i, (half, step) in enumerate(zip((seed, seed >> 32), WEYL, strict=True)):
            key = (half + r * step) & 0xFFFFFFFF
            keys.append(graph.constant(f"draw/k{i}_{r}", key, np.uint64))
        at = f"{name}/{r}"
        products = [
            graph.add("Mul", [c, factor], f"{at}/p{i}")
            for i, (c, factor) in enumerate(zip((c0, c2), factors, strict=True))
        ]
        high = [shifted(product, word, f"{r}/h{i}") for i, product in enumerate(products)]
        mixed = [
            graph.add("BitwiseXor", [h, c], f"{at}/x{i}")
            for i, (h, c) in enumerate(zip(reversed(high), (c1, c3), strict=True))
        ]
        c0, c2 = (
            graph.add("BitwiseXor", [x, key], f"{at}/c{2 * i}")
            for i, (x, key) in enumerate(zip(mixed, keys, strict=True))
        )
        c1, c3 = (
            graph.add("BitwiseAnd", [products[1 - i], low], f"{at}/c{2 * i + 1}") for i in (0, 1)
        )
    return [c0, c1, c2, c3]


def _unit(graph: Graph, place: str, words: Sequence[str], name: str) -> str:
    """The unit values of the places, each from the word of its block that is its own."""
    three = graph.constant("draw/three", 3, np.uint64)
    lane = graph.add("BitwiseAnd", [place, three], f"{name}/lane_bits")
    lane = graph.add("Cast", [lane], f"{name}/lane", to=TensorProto.INT32)
    dropped = graph.constant("draw/dropped", 8, np.uint64)
    numbers = []
    for i, word in enumerate(words):
        upper = graph.add("BitShift", [word, dropped], f"{name}/upper_{i}", direction="RIGHT")
        numbers.append(graph.add("Cast", [upper], f"{name}/number_{i}", to=TensorProto.INT32))
    number = numbers[0]
    for i in (1, 2, 3):
        own = graph.add(
            "Equal", [lane, graph.constant(f"draw/lane_{i}", i, np.int32)], f"{name}/is_{i}"
        )
        number = graph.add("Where", [own, numbers[i], number], f"{name}/choice_{i}")
    half = graph.constant("draw/half", 1 << 23, np.int32)
    turned = graph.add("BitwiseXor", [number, half], f"{name}/turned")
    signed = graph.add("Sub", [turned, half], f"{name}/signed")
    value = graph.add("Cast", [signed], f"{name}/number", to=TensorProto.FLOAT)
    unit = graph.constant("draw/unit", 2.0**-23, np.float32)
    return graph.add("Mul", [value, unit], f"{name}/units")


def _masked(graph: Graph, piece: Piece) -> None:
    """A piece's numbers σ·u where its mask has them, zeros elsewhere, in one row."""
    name, layer = piece.name, piece.layer
    deviation = graph.constant(f"{layer.weight}/deviation", layer.sigma, np.float32)
    value = graph.add("Mul", [f"{name}/draw", deviation], f"{name}/scaled")
    if (layer.mirror_rows or layer.mirror_columns) and not piece.is_bias:
        negative = graph.add("Neg", [value], f"{name}/negative")
        value = graph.add("Where", [f"{name}/mirror/turned", negative, value], f"{name}/signed")
    if layer.half and not piece.is_bias:
        half = graph.add("Cast", [value], f"{name}/half", to=TensorProto.FLOAT16)
        value = graph.add("Cast", [half], f"{name}/rounded", to=TensorProto.FLOAT)
    nothing = graph.constant("draw/nothing", 0, np.float32)
    value = graph.add("Where", [f"{name}/mask/kept", value, nothing], f"{name}/values")
    size = graph.constant(f"{name}/size", [piece.size])
    zeros = graph.add("ConstantOfShape", [size], f"{name}/zeros", value=np.zeros(1, np.float32))
    masked = layer.bias if piece.is_bias and layer.bias is not None else f"{name}/flat"
    graph.add("ScatterElements", [zeros, f"{name}/mask", value], masked, axis=0)


def shape_weight(graph: Graph, layer: LayerRecord) -> None:
    """The layer's own tensor of what `generate` made: in the shape in which it is stored."""
    shape = graph.constant(f"{layer.weight}/shape", layer.shape)
    if layer.transposed:
        rows = graph.add("Reshape", [f"{layer.weight}/flat", shape], f"{layer.weight}/rows")
        graph.add("Transpose", [rows], layer.weight, perm=[1, 0])
    else:
        graph.add("Reshape", [f"{layer.weight}/flat", shape], layer.weight)


def signs_of(slope: float) -> Array:
    """What φ(x), φ(−x) (rows) have of x, max(x, 0) (columns), φ having this slope for x < 0."""
    return np.array([[slope, 1 - slope], [-1, 1 - slope]])


def sum_weight(
    graph: Graph,
    layer: LayerRecord,
    univariate: LayerRecord,
    collapse: CollapsedLayer,
    *,
    slope: float,
) -> None:
    """The weight and bias of a collapsed layer, summed from what `generate` made.

    `univariate` is the layer that opens its block. Letters: G groups, O outputs of one, S neurons,
    C constants, I channels, P parts of each, m neurons of each part, T taps.
    """
    block, name = univariate.block, layer.weight
    assert block is not None
    group, outputs = block.group, collapse.outputs
    channels, parts, m = block.channels // group, len(block.parts), block.neurons
    taps = collapse.inner * int(np.prod(layer.shape[2:]))
    neurons, width = channels * parts * m, layer.shape[1] // collapse.inner
    shape = graph.constant(f"{name}/shape", [group, layer.shape[0] // group, width, taps])
    source = graph.add("Reshape", [f"{name}/flat", shape], f"{name}/source", SUM_TEXT)
    axes = graph.constant("draw/rows_and_columns", [1, 2])
    bounds = [
        graph.constant("draw/begin", [0, 0]),
        graph.constant(f"{name}/end", [outputs, neurons]),
    ]
    kept = graph.add("Slice", [source, *bounds, axes], f"{name}/neurons")
    sets = graph.constant(f"{name}/sets_shape", [group * outputs, channels, parts, m, taps])
    sets = graph.add("Reshape", [kept, sets], f"{name}/sets")
    axis = graph.constant("draw/members", [3])
    sums = graph.add("ReduceSum", [sets, axis], f"{name}/sums", keepdims=0)
    if parts == 2:
        signs = graph.constant("draw/signs", signs_of(slope), np.float32)
        by_tap = graph.add("Transpose", [sums], f"{name}/by_tap", perm=[0, 1, 3, 2])
        mixed = graph.add("MatMul", [by_tap, signs], f"{name}/mixed")
        sums = graph.add("Transpose", [mixed], f"{name}/by_part", perm=[0, 3, 1, 2])
    rows = graph.constant(f"{name}/rows_shape", [group, layer.shape[0] // group])
    rows = graph.add("Reshape", [layer.scale, rows], f"{name}/rows")
    bounds = [graph.constant("draw/start", [0]), graph.constant(f"{name}/outputs", [outputs])]
    one = graph.constant("draw/columns", [1])
    scale = graph.add("Slice", [rows, *bounds, one], f"{name}/scale")
    factor = graph.constant("draw/by_row", [-1, 1, 1, 1])
    factor = graph.add("Reshape", [scale, factor], f"{name}/factor")
    scaled = graph.add("Mul", [sums, factor], f"{name}/weighted")
    if block.gain != 1:
        gain = graph.constant(f"{name}/gain", block.gain, np.float32)
        scaled = graph.add("Mul", [scaled, gain], f"{name}/gained")
    inputs = parts * channels * collapse.inner
    final = graph.constant(f"{name}/sum_shape", [group * outputs, inputs, *layer.shape[2:]])
    if layer.transposed:
        matrix = graph.add("Reshape", [scaled, final], f"{name}/matrix")
        graph.add("Transpose", [matrix], name, perm=[1, 0])
    elif parts == 2 and group > 1:  # an operator for x, one for max(x, 0)
        whole = graph.add("Reshape", [scaled, final], f"{name}/whole")
        halves = whole, graph.constant(f"{name}/halves", [inputs // 2] * 2)
        split = name, f"{name}/{POSITIVE}"
        graph.nodes.append((Node("Split", "", halves, split, {"axis": 1}), ""))
    else:
        graph.add("Reshape", [scaled, final], name)
    if collapse.bias is not None:
        _sum_bias(graph, univariate, layer, collapse, scale=scale, neurons=neurons)


def _sum_bias(
    graph: Graph,
    univariate: LayerRecord,
    layer: LayerRecord,
    collapse: CollapsedLayer,
    *,
    scale: str,
    neurons: int,
) -> None:
    """The bias that the constant neurons of a block add up to."""
    name, width = layer.weight, layer.shape[1] // collapse.inner
    assert collapse.bias is not None
    made = constant_values(univariate, width - neurons)
    values = graph.constant(f"{name}/constants", made[:, None], np.float32)
    bounds = [
        graph.constant(f"{name}/constants_begin", [0, neurons]),
        graph.constant(f"{name}/constants_end", [collapse.outputs, width]),
    ]
    axes = graph.constant("draw/rows_and_columns", [1, 2])
    part = graph.add("Slice", [f"{name}/source", *bounds, axes], f"{name}/constant_weights")
    driven = graph.add("Mul", [part, values], f"{name}/driven")
    axes = graph.constant("draw/columns_and_taps", [2, 3])
    sums = graph.add("ReduceSum", [driven, axes], f"{name}/offsets", keepdims=0)
    biases = graph.add("Mul", [sums, scale], f"{name}/biases")
    graph.add("Reshape", [biases, graph.constant("draw/flat", [-1])], collapse.bias)


def constant_values(univariate: LayerRecord, count: int) -> Array:
    """What a block's constants are, [count]: 2^(d/4 - 24), as its record has d; the last again."""
    block = univariate.block
    assert block is not None
    assert block.constants is not None
    places = np.minimum(np.arange(count), block.constants.count - 1)
    levels = np.array(block.constants.levels)[places % len(block.constants.levels)]
    return np.asarray(2.0 ** (levels / 4 - 24), np.float32)
