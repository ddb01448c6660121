"""Lengths of codes: no more things are short than short codes there are (Kraft's inequality)."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from onnx import GraphProto, ModelProto, NodeProto, ValueInfoProto, helper

from lt_onnx.verification.code_lengths import kinds_bits, level_bits, scale_bits
from lt_onnx.verification.graph_bits import graph_bits
from lt_onnx.verification.graph_index import edges_of


@pytest.mark.parametrize("length", [1, 2, 6])
def test_sequences_of_kinds(length: int) -> None:
    """Those of three kinds: the sum of 2^-bits over all is 1 at most."""
    total = 0.0
    for kinds in itertools.product(range(3), repeat=length):
        total += 2.0 ** -kinds_bits([kinds.count(kind) for kind in range(3)])

    assert total == pytest.approx(1)
    assert kinds_bits([]) == 0


def test_few_floats_are_near_a_level() -> None:
    """Of random bits at most one in 2^k is told in k bits less than a float has."""
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**32, 20_000, np.uint32).view(np.float32)
    words = words[np.isfinite(words) & (words != 0)]
    bits = level_bits(words, np.full(len(words), 0.37))

    for saved in (0, 2, 4, 6):
        assert (bits <= 32 - saved).mean() <= 2.0**-saved
    levels = np.float32(2.0) ** (np.arange(1, 13) / 4).astype(np.float32)
    assert level_bits(-levels, np.ones(12)).max() < 13


def test_scales_take_their_fraction_and_their_signs() -> None:
    scales = 1 + np.random.default_rng(0).random(64, np.float32)
    flipped = np.where(np.arange(64) % 2, scales, -scales)

    assert 64 * 23 <= scale_bits(scales) < 64 * 23 + 24
    assert scale_bits(flipped) >= scale_bits(scales) + 50
    assert scale_bits(scales * np.float32(2.0) ** (np.arange(64) % 8)) >= 64 * 26


def graphs() -> Iterator[GraphProto]:
    """All of two nodes, of two operators with an axis or none, that read any two tensors.

    Those that exist: the input, nothing, and initializers in the order of their first reading.
    """
    x, reads = ValueInfoProto(name="x"), []
    for names in itertools.product(["x", "", "k0", "k1", "k2", "k3", "a"], repeat=4):
        fresh = list(dict.fromkeys(name for name in names if name.startswith("k")))
        if "a" not in names[:2] and fresh == [f"k{n}" for n in range(len(fresh))]:
            reads.append(names)
    forms = [(op, axis) for op in ("Gather", "Concat") for axis in (None, 0, 1)]
    for names in reads:
        for first, second in itertools.product(forms, repeat=2):
            nodes: list[NodeProto] = []
            for (op, axis), read, made in zip(
                (first, second), (names[:2], names[2:]), "ab", strict=True
            ):
                words = {} if axis is None else {"axis": axis}
                nodes.append(helper.make_node(op, read, [made], **words))
            yield GraphProto(node=nodes, input=[x], output=[ValueInfoProto(name="b")])


def test_graphs() -> None:
    """The sum of 2^-bits is 1 at most for each choice of operators.

    Each is named by 8 bits, and 7 say that it has two inputs and one output, which all have here.
    """
    total: dict[frozenset[str], float] = {}
    for graph in graphs():
        kinds = frozenset(node.op_type for node in graph.node)
        bits = graph_bits(edges_of(ModelProto(graph=graph)), set(), {"": 13}) - 15 * len(kinds)
        total[kinds] = total.get(kinds, 0.0) + 2.0**-bits

    assert len(total) == 3
    assert 0.01 < max(total.values()) <= 1
