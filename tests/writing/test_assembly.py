"""An assembled model is, byte for byte, what onnx.helper makes of the same nodes and tensors."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from lt_onnx.runtime import to_proto, value_info
from lt_onnx.target import Node, Port, Target
from lt_onnx.version import __version__
from lt_onnx.writing.assembly import assemble
from lt_onnx.writing.storage import Initializer, name_of

FLOAT = np.dtype(np.float32)
X, Y = Port("x", ("N", 3, None), FLOAT), Port("y", None, FLOAT)


def target(*, inputs: tuple[Port, ...] = (X,), outputs: tuple[Port, ...] = (Y,)) -> Target:
    return Target(
        path=Path("t.onnx"),
        sha256="0" * 64,
        name="t",
        inputs=inputs,
        outputs=outputs,
        steps=(),
        constants={},
        shapes={},
        opsets={"own": 2, "": 17},
        ir_version=3,
    )


def by_helper(
    name: str, nodes: list[Node], tensors: dict[str, Initializer], network: Target
) -> bytes:
    """The same model without onnx-graphsurgeon."""
    sparse = [t for t in tensors.values() if isinstance(t, onnx.SparseTensorProto)]
    graph = helper.make_graph(
        [to_proto(node) for node in nodes],
        name,
        [value_info(port.name, port.dtype, port.shape) for port in network.inputs],
        [value_info(port.name, port.dtype, port.shape) for port in network.outputs],
        [t for t in tensors.values() if isinstance(t, onnx.TensorProto)],
        sparse_initializer=sparse,
    )
    opsets = [helper.make_opsetid(*entry) for entry in sorted(network.opsets.items())]
    model = helper.make_model(
        graph, producer_name="lt-onnx", producer_version=__version__, opset_imports=opsets
    )
    model.ir_version = max(4, network.ir_version)
    return model.SerializeToString(deterministic=True)


def named(*tensors: Initializer) -> dict[str, Initializer]:
    return {name_of(tensor): tensor for tensor in tensors}


def external(name: str) -> onnx.TensorProto:
    """A tensor of 4 TB in a file that is not there."""
    tensor = onnx.TensorProto(name=name, dims=[2**20, 2**20], data_type=onnx.TensorProto.FLOAT)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    for key, value in (("location", "none.data"), ("offset", "4096"), ("length", str(2**42))):
        tensor.external_data.add(key=key, value=value)
    return tensor


def sparse(name: str) -> onnx.SparseTensorProto:
    return onnx.SparseTensorProto(
        values=numpy_helper.from_array(np.ones(2, np.float32), name),
        indices=numpy_helper.from_array(np.array([1, 4]), f"{name}/places"),
        dims=[2, 3],
    )


ATTRIBUTES = {
    "pads": [1, 0, 1, 0],
    "alpha": 0.25,
    "mode": "linear",
    "value": np.arange(3, dtype=np.int64),
    "axis": -1,
}
TENSORS = named(
    numpy_helper.from_array(np.float32(2.5).reshape(()), "read last"),
    external("w"),
    numpy_helper.from_array(np.zeros((0, 2), np.int64), "empty"),
    numpy_helper.from_array(np.array([True, False]), "flags"),
    numpy_helper.from_array(np.array(["a", "bc"], object), "texts"),
    sparse("v"),
    numpy_helper.from_array(np.ones((2, 2), np.float16), "read first"),
    sparse("u"),
)
NODES = [
    Node("Resize", "r", ("x", "", "", "read first"), ("a",), ATTRIBUTES),
    Node("Conv", "c", ("a", "w"), ("b",), {"group": 1, "kernel_shape": [3, 3]}),
    Node("Split", "s", ("b", "empty"), ("c1", "", "c3"), {}),
    Node("Mine", "m", ("c1", "c3", "u", "v", "flags", "texts"), ("d",), {}, domain="own"),
    Node("Mul", "m", ("d", "read last"), ("y",)),
]


def test_nodes_tensors_and_ports_come_out_as_they_were() -> None:
    model = assemble("g", NODES, tensors=TENSORS, target=target())

    assert model.SerializeToString(deterministic=True) == by_helper("g", NODES, TENSORS, target())
    assert not model.graph.value_info


def test_the_same_graph_has_the_same_bytes_and_prints_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Two of the nodes above share a name, which onnx-graphsurgeon would tell."""
    first, second = (
        assemble("g", NODES, tensors=TENSORS, target=target()).SerializeToString(deterministic=True)
        for _ in range(2)
    )

    assert first == second
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("inputs", "outputs"),
    [
        pytest.param((X,), (Y, Port("k", ("K",), FLOAT)), id="a tensor is an output"),
        pytest.param((X,), (Y, Port("x", (None, 3, 2), FLOAT)), id="an input is an output"),
        pytest.param((X,), (Y, Y), id="an output stands twice"),
        pytest.param((X,), (Y, Port("a", (1, "M"), FLOAT)), id="an output is read on"),
        pytest.param((X, Port("q", (), np.dtype(np.int64))), (Y,), id="an input is not read"),
    ],
)
def test_ports_keep_their_own_shapes(inputs: tuple[Port, ...], outputs: tuple[Port, ...]) -> None:
    network = target(inputs=inputs, outputs=outputs)
    tensors = named(numpy_helper.from_array(np.arange(3, dtype=np.float32), "k"))
    nodes = [Node("Add", "n", ("x", "k"), ("a",)), Node("Relu", "r", ("a",), ("y",))]

    model = assemble("g", nodes, tensors=tensors, target=network)

    assert model.SerializeToString(deterministic=True) == by_helper("g", nodes, tensors, network)


def test_another_order_of_tensors_is_another_file() -> None:
    turned = dict(reversed(TENSORS.items()))

    assert assemble("g", NODES, tensors=turned, target=target()) != assemble(
        "g", NODES, tensors=TENSORS, target=target()
    )
    assert [
        t.name for t in assemble("g", NODES, tensors=turned, target=target()).graph.initializer
    ] == [name for name, tensor in turned.items() if isinstance(tensor, onnx.TensorProto)]
