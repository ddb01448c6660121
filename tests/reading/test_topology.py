"""The order of nodes, and graphs that have none."""

from pathlib import Path

import onnx
import pytest
from onnx import helper

from lt_onnx.errors import InputError
from lt_onnx.reading.topology import sort_nodes

PATH = Path("n.onnx")


def graph(*nodes: tuple[str, str], outputs: str = "y") -> onnx.GraphProto:
    """Nodes as (inputs, outputs), named after their place; the input is x, the weight w."""
    return helper.make_graph(
        [
            helper.make_node("Sum", read.split(), written.split(), name=f"n{i}")
            for i, (read, written) in enumerate(nodes)
        ],
        "g",
        [helper.make_tensor_value_info("x", 1, [2])],
        [helper.make_tensor_value_info(name, 1, [2]) for name in outputs.split()],
        [helper.make_tensor("w", 1, [2], [1, 2])],
    )


def test_nodes_come_behind_what_they_read_and_else_keep_their_order() -> None:
    mixed = graph(("b a", "y"), ("x", "c"), ("a w", "b"), ("x", "a"))
    sort_nodes(PATH, mixed)

    assert [node.name for node in mixed.node] == ["n1", "n3", "n2", "n0"]


def test_a_deep_graph_is_sorted_without_recursion() -> None:
    count = 20_000
    nodes = [(f"t{i}", f"t{i + 1}") for i in range(count)][::-1]
    deep = graph(*nodes, ("x", "t0"), outputs=f"t{count}")
    sort_nodes(PATH, deep)

    assert [deep.node[0].name, deep.node[-1].name] == [f"n{count}", "n0"]


REFUSED = {
    "a cycle": (
        graph(("x", "a"), ("a c", "b"), ("b", "c"), ("c", "y")),
        "'n1' .* its own output 'b'",
    ),
    "a node that reads itself": (graph(("x y", "y")), "'n0' .* its own output 'y'"),
    "two writers": (graph(("x", "y"), ("w", "y")), "'n1' .* 'y', which node 'n0' .* already"),
    "a written input": (graph(("w", "x"), ("x", "y")), "'n0' .* writes 'x', which the model gives"),
    "a written weight": (
        graph(("x", "w"), ("w", "y")),
        "'n0' .* writes 'w', which the model gives",
    ),
    "nothing to read": (graph(("x z", "y")), "'n0' .* reads 'z', which nothing provides"),
    "an output of nobody": (graph(("x", "a")), "no node makes the output 'y'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_graph_without_order_is_refused_by_name(case: str) -> None:
    bad, said = REFUSED[case]

    with pytest.raises(InputError, match=f"^n.onnx: .*{said}"):
        sort_nodes(PATH, bad)


def test_omitted_inputs_are_no_tensor() -> None:
    node = helper.make_node("Clip", ["x", "", "w"], ["y"])
    omitting = graph(("x", "y"))
    omitting.node[0].CopyFrom(node)
    sort_nodes(PATH, omitting)

    assert len(omitting.node) == 1
