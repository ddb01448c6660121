"""Where constants may go: a table of graphs behind the network, and what is said of them."""

import numpy as np
import pytest
from handmade import Handmade, handmade
from onnx import helper, numpy_helper

from lt_onnx.verification.constant_flow import check_constant_flow, computed_integers
from lt_onnx.verification.graph_index import index_graph

ROW, ONE = np.float32([1, 2, 3]), np.float32(2)


def flow(ticket: Handmade) -> list[str]:
    index, _ = index_graph(ticket.model, ticket.manifest)
    return check_constant_flow(index, ticket.tensors, {"a", "b", "a_scale", "b_scale", "b_bias"})


ALLOWED: dict[str, tuple[str, dict[str, object]]] = {
    "a scalar": ("z = Mul (y, k)", {"k": ONE}),
    "bounds": ("z = Clip (y, k, l)", {"k": ONE, "l": ONE}),
    "a shape": ("z = Reshape (y, k)", {"k": np.array([3, 1])}),
    "an axis": ("z = ReduceSum (y, k)", {"k": np.array([1])}),
    "an index": ("z = Gather <axis = 1> (y, k)", {"k": np.arange(3)}),
    "one exponent": ("z = Pow (y, k)", {"k": np.array(2)}),
    "sizes": ('z = Resize <mode = "nearest"> (y, , k)', {"k": np.float32([1, 2])}),
    "shape arithmetic": (
        "s = Shape (y)  t = Mul (s, k)  z = Expand (y, t)",
        {"k": np.array([2, 1])},
    ),
    "a mean by hand": (
        "s = Shape (y)  p = ReduceProd <keepdims = 0> (s)  c = Cast <to = 1> (p)  z = Div (y, c)",
        {},
    ),
    "a threshold": ("t = Greater (y, k)  z = Cast <to = 1> (t)", {"k": ONE}),
    "neighbours that are told by counting": (
        "s = Shape (y)  t = Sub (s, k)  e = Equal (t, s)  c = Cast <to = 1> (e)  z = Mul (y, c)",
        {"k": ONE.astype(np.int64)},
    ),
    "zeros": ("s = Shape (y)  t = ConstantOfShape (s)  z = Add (y, t)", {}),
    "an attribute of its operator": ("z = LeakyRelu <alpha = 0.3> (y)", {}),
    "a class": (
        "i = ArgMax <axis = 1> (y)  e = Equal (i, k)  c = Cast <to = 1> (e)  z = Mul (y, c)",
        {"k": np.array(2)},
    ),
    "an index that counts from the end": (
        "i = ArgMax (y)  t = Less (i, n)  c = Cast <to = 7> (t)  j = Add (i, k)  z = Mul (j, c)",
        {"n": np.array(0), "k": np.array(49)},
    ),
    "a choice by one truth value": ("n = Neg (y)  z = Where (k, y, n)", {"k": np.array(True)}),
}
FORBIDDEN: dict[str, tuple[str, dict[str, object], str]] = {
    "a bias": ("z = Add (y, k)", {"k": ROW}, "reads the parameter 'k' (3 values)"),
    "a scalar elsewhere": ("z = Concat <axis = 1> (y, k)", {"k": ONE}, "'k' (1 values)"),
    "a scalar in a foreign domain": ("z = own.Add (y, k)", {"k": ONE}, "reads the parameter 'k'"),
    "sizes by the dozen": (
        'z = Resize <mode = "nearest"> (y, , k)',
        {"k": np.ones(17, np.float32)},
        "(17 values)",
    ),
    "a layer's scale": ("z = Mul (y, b_scale)", {}, "'b_scale', which belongs to a layer"),
    "integers cast": (
        "c = Cast <to = 1> (k)  z = Mul (y, c)",
        {"k": np.arange(3)},
        "reads the integers 'k' (3 values) as data",
    ),
    "integers looked up by data": (
        "i = Cast <to = 7> (y)  g = Gather (k, i)  z = Cast <to = 1> (g)",
        {"k": np.arange(3)},
        "reads the integers 'k'",
    ),
    "many integers": (
        "i = Cast <to = 7> (y)  j = Add (i, k)  z = Cast <to = 1> (j)",
        {"k": np.arange(33)},
        "(33 values) as data",
    ),
    "integers among data": (
        "i = Cast <to = 7> (y)  j = Add (i, k)  z = Cast <to = 1> (j)",
        {"k": np.arange(3)},
        "brings the integers of shapes into data",
    ),
    "integers by way of a shape": (
        "s = Shape (y)  t = Add (s, k)  c = Cast <to = 1> (t)  z = Mul (y, c)",
        {"k": np.array([3, 5])},
        "brings the integers of shapes into data",
    ),
    "an integer by way of a shape": (
        "s = Shape (y)  t = Add (s, k)  c = Cast <to = 1> (t)  z = Mul (y, c)",
        {"k": np.array(3)},
        "brings the integers of shapes into data",
    ),
    "what the graph makes of an integer": (
        "s = Shape (y)  t = Add (s, k)  c = Cast <to = 1> (t)  d = Sin (c)  z = Mul (y, d)",
        {"k": np.array(3)},
        "brings numbers into data that the graph makes",
    ),
    "integers joined one by one": (
        "s = Shape (y)  t = Concat <axis = 0> (s, k)  e = Equal (t, t)  c = Cast <to = 1> (e)"
        "  z = Mul (y, c)",
        {"k": np.array([3])},
        "brings the integers of shapes into data",
    ),
    "values of a class map": (
        "i = ArgMax (y)  h = OneHot (i, d, k)  c = Cast <to = 1> (h)  z = Mul (y, c)",
        {"d": np.array(3), "k": np.array([3, 9])},
        "reads the integers 'k' (2 values) as data",
    ),
    "a class for each": (
        "i = ArgMax (y)  e = Equal (i, k)  c = Cast <to = 1> (e)  z = Mul (y, c)",
        {"k": np.array([0, 2, 2])},
        "brings the integers of shapes into data",
    ),
    "truth values of integers": (
        "s = Shape (y)  e = Less (s, k)  c = Cast <to = 1> (e)  z = Mul (y, c)",
        {"k": np.array([3, 5])},
        "brings the integers of shapes into data",
    ),
    "a choice by truth values of integers": (
        "s = Shape (y)  e = Less (s, k)  z = Where (e, y, l)",
        {"k": np.array([3, 5]), "l": ONE},
        "brings the integers of shapes into data",
    ),
    "a power for each": ("z = Pow (y, k)", {"k": np.arange(3)}, "integers of shapes into data"),
    "truth values": (
        "n = Neg (y)  z = Where (k, y, n)",
        {"k": np.array([True, False, True])},
        "reads the truth values 'k' as data",
    ),
    "constants alone": ("c = Neg (k)  z = Mul (y, c)", {"k": ONE}, "computes with constants alone"),
    "random numbers": ("r = RandomNormalLike (y)  z = Add (y, r)", {}, "makes numbers of its own"),
    "a node without inputs": (
        "c = Constant <value_float = 0.5> ()  z = Mul (y, c)",
        {},
        "makes numbers of its own",
    ),
    "a float attribute": ("z = Relu <alpha = 0.3> (y)", {}, "has a float attribute 'alpha'"),
    "many floats in an attribute": (
        f"z = Upsample <scales = [{', '.join(['1.0'] * 17)}]> (y)",
        {},
        "has 17 numbers in its attribute 'scales'",
    ),
    "what nothing reads": ("p = Neg (y)  z = Relu (y)", {}, "node 'p' (Neg) makes what nothing"),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_constants_of_the_target_pass(name: str) -> None:
    text, tensors = ALLOWED[name]
    ticket = handmade()
    ticket.extend(text, **tensors)

    assert flow(ticket) == []


@pytest.mark.parametrize("name", FORBIDDEN)
def test_numbers_in_disguise_are_told(name: str) -> None:
    text, tensors, told = FORBIDDEN[name]
    ticket = handmade()
    ticket.extend(text, **tensors)

    assert told in "; ".join(flow(ticket))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32([0]), True),
        (np.float32([-np.inf]), True),
        (np.int64([7]), True),
        (np.float32([0.7]), False),
        (np.float32([np.nan]), False),
    ],
)
def test_a_tensor_is_filled_with_zero_one_or_integers(value: np.ndarray, plain: bool) -> None:
    ticket = handmade()
    ticket.extend("s = Shape (y)  t = ConstantOfShape (s)  z = Expand (y, t)")
    tensor = helper.make_attribute("value", numpy_helper.from_array(value))
    ticket.model.graph.node[-2].attribute.append(tensor)

    assert any("a number of its own" in failure for failure in flow(ticket)) == (not plain)


DENSE: dict[str, tuple[str, object]] = {  # what is read by a place that is declared
    "Add": ("z = Add (y, k)", ROW),
    "Where": ("w = Where (k, y, y)  z = Mul (y, w)", ROW > 1),
    "Equal": ("i = ArgMax (y)  e = Equal (i, k)  c = Cast <to = 1> (e)  z = Mul (y, c)", [1, 2, 3]),
    "OneHot": (
        "i = ArgMax (y)  h = OneHot (i, d, k)  c = Cast <to = 1> (h)  z = Mul (y, c)",
        [3, 9],
    ),
    "Gather": ("i = ArgMax (y)  g = Gather (k, i)  c = Cast <to = 1> (g)  z = Mul (y, c)", [5, 7]),
}


@pytest.mark.parametrize("op", DENSE)
def test_a_place_declared_dense_may_read_parameters(op: str) -> None:
    text, value = DENSE[op]
    ticket = handmade()
    ticket.extend(text, k=np.array(value), **({"d": np.array(3)} if op == "OneHot" else {}))
    ticket.declare_dense("", op, len(np.array(value)))

    assert flow(ticket) == []


def test_a_layer_reads_data() -> None:
    ticket = handmade()
    (node,) = [node for node in ticket.model.graph.node if node.op_type == "ReduceMean"]
    node.op_type = "Shape"
    del node.attribute[:]

    assert "node 'gemm' (Gemm) is a layer that reads no data" in flow(ticket)


def test_a_layer_may_read_what_data_looks_up_and_not_what_shapes_do() -> None:
    for looked_up in ("ArgMax", "Shape"):
        ticket = handmade()
        (mean,) = [node for node in ticket.model.graph.node if node.op_type == "ReduceMean"]
        source, output = mean.input[0], mean.output[0]
        mean.CopyFrom(helper.make_node(looked_up, [source], ["place"]))
        place = [node.output[0] for node in ticket.model.graph.node].index("place")
        table = helper.make_node("Gather", ["table", "place"], [output], name="table")
        ticket.model.graph.node.insert(place + 1, table)
        ticket.put("table", ROW)
        ticket.declare_dense("table", "Gather", 3)

        assert ("is a layer that reads no data" in "; ".join(flow(ticket))) == (
            looked_up == "Shape"
        )


def test_integers_that_are_indices_or_single_are_not_computed_with() -> None:
    ticket = handmade()
    ticket.put("k", np.arange(3))
    ticket.put("one", np.array(1))

    def computed(op: str, *inputs: str, dense: bool = False) -> list[str]:
        node = helper.make_node(op, list(inputs), ["z"])
        return list(computed_integers(node, ticket.tensors, dense=dense))

    assert computed("Add", "y", "k") == ["k"]
    assert computed("Add", "y", "one") == []
    assert computed("Concat", "y", "one") == ["one"]
    assert computed("Gather", "y", "k", dense=True) == []
    assert computed("Gather", "k", "y") == []
    assert computed("Gather", "k", "y", dense=True) == ["k"]
    assert computed("Pow", "y", "k") == ["k"]
