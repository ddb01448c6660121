"""Identity and Dropout vanish where nobody can see it."""

import numpy as np

from lt_onnx.reading.remove_identity import remove_identity
from lt_onnx.target import Node


def node(op: str, source: str, *outputs: str, **keys: str) -> Node:
    return Node(op, outputs[0], (source,), outputs, **keys)


def test_readers_of_the_output_read_the_input() -> None:
    nodes = [
        node("Identity", "x", "a"),
        node("Dropout", "a", "b", "mask"),
        node("Relu", "b", "c"),
        node("Tanh", "a", "d"),
    ]
    kept, constants = remove_identity(nodes, {}, {"c", "d"})

    assert [(n.op, n.inputs) for n in kept] == [("Relu", ("x",)), ("Tanh", ("x",))]
    assert constants == {}


def test_what_is_an_output_or_has_its_mask_read_stays() -> None:
    nodes = [
        node("Identity", "x", "a"),
        node("Dropout", "a", "b", "mask"),
        node("Not", "mask", "c"),
        node("Identity", "x", "d", domain="com.they"),
    ]
    kept, _ = remove_identity(nodes, {}, {"a", "b", "c", "d"})

    assert kept == nodes


def test_a_constant_handed_on_is_a_constant() -> None:
    value = np.arange(3)
    given = {"w": value}
    kept, constants = remove_identity([node("Identity", "w", "v")], given, set())

    assert kept == []
    assert constants["v"] is value
    assert list(given) == ["w"]  # what came in is as it was
