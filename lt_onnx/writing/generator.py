"""A ticket's random weights as a graph that makes them: mask codes in, masked weights out.

In: which numbers of each layer are kept. Out: nodes of standard operators (operator set 18) and the
tensors that they read, all integers but each layer's σ. They read nothing else, so that a runtime
folds them once, when it opens the file.

- `mask`: codes become positions. Code c of w bits moves on by c + 1 positions, to a weight that is
  kept; the largest code, 2^w − 1, moves on by 2^w − 1 to one that is not. Words of 64 bits hold as
  many codes as fit, the first one lowest.
- `draw`: Philox4x32-10 at these positions alone (see `source`), for several tensors together.
- the weight: σ·u scattered into zeros.

A runtime that folds keeps all that a number was made of, more than a kilobyte, until its pass over
the graph is done. So there are up to MAX_DRAWS draws, and each waits for the pass before (`_wait`).
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from lt_onnx.manifest import LayerRecord
from lt_onnx.target import Array, Indices, Node

MAX_DRAWS = 8  # onnxruntime makes ten passes at most
MIN_DRAWN = 1 << 18  # numbers that one draw may make, however few there are in all
MAX_CODE_BITS = 24
ROUNDS = 10
MULTIPLIERS, WEYL = (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85)
MASK_TEXT = "Codes become gaps, and gaps the positions that the mask keeps."
WAIT_TEXT = "Nothing is folded through this: the draw waits until those before it are folded."
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


def draws(pieces: Sequence[Piece]) -> list[list[Piece]]:
    """The pieces of each draw, in order: at most MAX_DRAWS, the largest as small as can be."""
    counts = [piece.codes[2] for piece in pieces]
    limits = range(MIN_DRAWN, MIN_DRAWN + sum(counts))
    limit = bisect_left(limits, True, key=lambda limit: len(_ends(counts, limit)) <= MAX_DRAWS)
    ends = _ends(counts, limits[limit])
    return [list(pieces[a:b]) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _ends(counts: Sequence[int], limit: int) -> list[int]:
    """Where each of the parts ends that count at most `limit` together."""
    ends, total = [], 0
    for place, count in enumerate(counts):
        if place and total + count > limit:
            ends.append(place)
            total = 0
        total += count
    return [*ends, len(counts)]


def generate(graph: Graph, pieces: Sequence[Piece], seed: int) -> None:
    """Append what makes `<weight>/flat`, the masked weights of a layer in one row, and biases."""
    graph.constant("draw/nothing", 0, np.float32)
    gate = "draw/gate"
    for number, drawn in enumerate(draws(pieces), 1):
        name = "draw" if number == 1 else f"draw_{number}"
        widths = sorted({piece.codes[1] for piece in drawn})
        for bits in widths:
            graph.constant(f"draw/shifts_{bits}", np.arange(64 // bits) * bits, np.uint64)
        if number > 1:
            graph.constant("draw/gate", [1])
            gate = _wait(graph, gate, widths, name)
        places = [_origins(graph, piece, _mask(graph, piece, name)) for piece in drawn]
        _draw(graph, drawn, places, seed=seed, name=name)
        for piece in drawn:
            _masked(graph, piece, name)


def _wait(graph: Graph, gate: str, widths: Sequence[int], name: str) -> str:
    """Append what a draw begins with, to be folded one pass after `gate`, a 1; returns another 1.

    This is the size of what a Scan hands on: it is known when all sizes are inferred anew. With it
    are made the shifts of codes of these widths, and the zero of the draw.
    """
    size = graph.add("Abs", [gate], f"{name}/wait/size")  # inferring sizes does not evaluate it
    one = graph.add("ConstantOfShape", [size], f"{name}/wait/one", value=np.zeros(1, np.int32))
    # as nothing else is called: what a body makes may not have a name of the graph around it
    names = "draw/hand_on/number", "draw/hand_on/same"
    read, given = (helper.make_tensor_value_info(p, TensorProto.INT32, []) for p in names)
    identity = helper.make_node("Identity", names[:1], names[1:])
    handed_on = helper.make_graph([identity], "hand_on", [read], [given])
    words = {"body": handed_on, "num_scan_inputs": 1}
    waited = graph.add("Scan", [one], f"{name}/wait", WAIT_TEXT, **words)
    gate = graph.add("Shape", [waited], f"{name}/gate")
    factor = graph.add("Cast", [gate], f"{name}/factor", to=TensorProto.UINT64)
    for bits in widths:
        graph.add("Mul", [f"draw/shifts_{bits}", factor], f"{name}/shifts_{bits}")
    graph.add("ConstantOfShape", [gate], f"{name}/nothing", value=np.zeros(1, np.float32))
    return gate


def _mask(graph: Graph, piece: Piece, draw: str) -> str:
    """The positions of a piece's codes, [n]."""
    name = f"{piece.name}/mask"
    coded, bits, count = piece.codes
    codes = graph.constant(f"{piece.name}/codes", coded, np.uint64)
    shifted = [codes, f"{draw}/shifts_{bits}"]
    words = graph.add("BitShift", shifted, f"{name}/words", MASK_TEXT, direction="RIGHT")
    low = graph.constant(f"draw/field_{bits}", 2**bits - 1, np.uint64)
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
    starts = graph.constant(f"{name}/starts", np.cumsum([0, *counts[:-1]]))
    zeros = graph.add("Sub", [joined, joined], f"{name}/zeros")
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


def _masked(graph: Graph, piece: Piece, draw: str) -> None:
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
    nothing = f"{draw}/nothing"
    value = graph.add("Where", [f"{name}/mask/kept", value, nothing], f"{name}/values")
    size = graph.constant(f"{name}/size", [piece.size])
    zeros = graph.add("Expand", [nothing, size], f"{name}/zeros")
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
