"""What a forger may hide in a ticket's graph, its file and the file beside it."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from forgeries import both, edit, place
from forging import Change, Draft, Forgery, node
from onnx import AttributeProto, TensorProto, helper, numpy_helper

# hidden weights --------------------------------------------------------------------------------

C = 10
FLOATS = np.linspace(-1, 1, C).astype(np.float32)
SQUARE = np.eye(C, dtype=np.float32) * FLOATS
KERNEL = np.ones((C, C, 1, 1), np.float32)
WHOLE = np.arange(1, C + 1)
BYTES = WHOLE.astype(np.uint8)
BYTE_SQUARE = np.ones((C, C), np.int8)
TRUTH = WHOLE > 4
FOUND = helper.make_tensor_value_info

Nodes = list[onnx.NodeProto]
Hidden = tuple[Nodes, dict[str, Any]]


def _value(array: Any, name: str = "") -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def _constant(**keys: Any) -> Nodes:
    constant = helper.make_node("Constant", [], ["k"], name="forged/k", **keys)
    return [constant, node("Mul", ["was", "k"])]


def _graph(name: str) -> onnx.GraphProto:
    """A subgraph with a weight in it."""
    inner = [helper.make_node("Add", ["was", f"{name}/w"], [f"{name}/y"])]
    found = FOUND(f"{name}/y", TensorProto.FLOAT, None)
    return helper.make_graph(inner, name, [], [found], [_value(FLOATS, f"{name}/w")])


def _sparse_constant() -> onnx.SparseTensorProto:
    return helper.make_sparse_tensor(_value(FLOATS), _value(np.arange(C)), [C])


def _by_integers(*nodes: onnx.NodeProto, **tensors: Any) -> Hidden:
    """Data made whole, changed by whole numbers, and made real again."""
    return (
        [node("Cast", ["was"], "i", to=TensorProto.INT64), *nodes, node("Cast", ["j"], to=1)],
        {"w": WHOLE, **tensors},
    )


HIDDEN: dict[str, Hidden] = {
    # linear operators
    "MatMul": ([node("MatMul", ["was", "w"])], {"w": SQUARE}),
    "Gemm": ([node("Gemm", ["was", "w"], transB=1)], {"w": SQUARE}),
    "Gemm with a bias": ([node("Gemm", ["was", "w", "b"], transB=1)], {"w": SQUARE, "b": FLOATS}),
    "Conv": ([node("Conv", ["was", "w"])], {"w": KERNEL}),
    "ConvTranspose": ([node("ConvTranspose", ["was", "w"])], {"w": KERNEL}),
    "Einsum": ([node("Einsum", ["was", "w"], equation="ij,jk->ik")], {"w": SQUARE}),
    "Einsum of data": ([node("Einsum", ["was", "was"], equation="ij,ij->ij")], {}),
    "MatMul of data": ([node("MatMul", ["was", "was"])], {}),
    "DeformConv": ([node("DeformConv", ["was", "w", "was"])], {"w": KERNEL}),
    "LSTM": ([node("LSTM", ["was", "w", "w"], hidden_size=C)], {"w": SQUARE[None]}),
    "GRU": ([node("GRU", ["was", "w", "w"], hidden_size=C)], {"w": SQUARE[None]}),
    "RNN": ([node("RNN", ["was", "w", "w"], hidden_size=C)], {"w": SQUARE[None]}),
    "ConvInteger": (
        [
            node("Cast", ["was"], "i", to=2),
            node("ConvInteger", ["i", "w"], "j"),
            node("Cast", ["j"], to=1),
        ],
        {"w": KERNEL.astype(np.uint8)},
    ),
    "MatMulInteger": (
        [
            node("Cast", ["was"], "i", to=3),
            node("MatMulInteger", ["i", "w"], "j"),
            node("Cast", ["j"], to=1),
        ],
        {"w": BYTE_SQUARE},
    ),
    "a layer's sum": ([node("Conv", ["was", "w"], "y"), node("Add", ["was", "y"])], {"w": KERNEL}),
    # one per channel
    **{
        op: ([node(op, ["was", "w"])], {"w": FLOATS[:, None, None]})
        for op in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu", "Mod")
    },
    "Add before": ([node("Add", ["w", "was"])], {"w": FLOATS}),
    "BatchNormalization": (
        [node("BatchNormalization", ["was", "w", "w", "w", "w"])],
        {"w": FLOATS},
    ),
    "InstanceNormalization": ([node("InstanceNormalization", ["was", "w", "w"])], {"w": FLOATS}),
    "LayerNormalization": ([node("LayerNormalization", ["was", "w", "w"])], {"w": FLOATS}),
    "GroupNormalization": (
        [node("GroupNormalization", ["was", "w", "w"], num_groups=1)],
        {"w": FLOATS},
    ),
    "Where": ([node("Where", ["c", "was", "w"])], {"c": TRUTH, "w": FLOATS}),
    "Where of truth values": (
        [node("Neg", ["was"], "n"), node("Where", ["c", "was", "n"])],
        {"c": TRUTH},
    ),
    "Where of a comparison": (
        [node("Greater", ["was", "w"], "c"), node("Where", ["c", "was", "w"])],
        {"w": FLOATS},
    ),
    "And": (
        [node("Cast", ["was"], "i", to=9), node("And", ["i", "w"], "j"), node("Cast", ["j"], to=1)],
        {"w": TRUTH},
    ),
    "Xor": (
        [node("Cast", ["was"], "i", to=9), node("Xor", ["i", "w"], "j"), node("Cast", ["j"], to=1)],
        {"w": TRUTH},
    ),
    "Clip by many": ([node("Clip", ["was", "w", "w"])], {"w": FLOATS}),
    "Concat": ([node("Concat", ["was", "w"], axis=1)], {"w": SQUARE}),
    "Pad by many": ([node("Pad", ["was", "p", "w"])], {"p": np.zeros(4, np.int64), "w": FLOATS}),
    "Resize": (
        [node("Resize", ["was", "w", "s"])],
        {"w": np.ones(20, np.float32), "s": np.ones(20, np.float32)},
    ),
    "OneHot": (
        [node("ArgMax", ["was"], "i", axis=1), node("OneHot", ["i", "d", "w"])],
        {"d": np.array([C]), "w": FLOATS},
    ),
    "ScatterND": ([node("ScatterND", ["was", "i", "w"])], {"i": WHOLE[:, None], "w": FLOATS}),
    "ScatterElements": (
        [node("ScatterElements", ["was", "i", "w"])],
        {"i": WHOLE[None], "w": FLOATS[None]},
    ),
    "Gather of weights": (
        [node("ArgMax", ["was"], "i", axis=1), node("Gather", ["w", "i"])],
        {"w": SQUARE},
    ),
    "GatherND of weights": (
        [node("Cast", ["was"], "i", to=7), node("GatherND", ["w", "i"])],
        {"w": SQUARE},
    ),
    "GatherElements of weights": (
        [node("Cast", ["was"], "i", to=7), node("GatherElements", ["w", "i"])],
        {"w": SQUARE},
    ),
    "Compress": ([node("Cast", ["was"], "c", to=9), node("Compress", ["w", "c"])], {"w": FLOATS}),
    "Expand": (
        [node("Shape", ["was"], "s"), node("Expand", ["w", "s"], "e"), node("Add", ["was", "e"])],
        {"w": FLOATS},
    ),
    "Tile": (
        [node("Shape", ["was"], "s"), node("Tile", ["w", "s"], "e"), node("Add", ["was", "e"])],
        {"w": FLOATS},
    ),
    "Reshape": (
        [node("Shape", ["was"], "s"), node("Reshape", ["w", "s"], "e"), node("Add", ["was", "e"])],
        {"w": FLOATS},
    ),
    "Identity": ([node("Identity", ["w"], "k"), node("Mul", ["was", "k"])], {"w": FLOATS}),
    "CastLike": ([node("CastLike", ["w", "was"], "k"), node("Mul", ["was", "k"])], {"w": WHOLE}),
    "Range": (
        [node("Range", ["a", "b", "a"], "r"), node("Mul", ["was", "r"])],
        {"a": np.float32(1), "b": np.float32(11)},
    ),
    "MelWeightMatrix": (
        [node("MelWeightMatrix", ["n", "n", "n", "f", "f"], "k"), node("Mul", ["was", "k"])],
        {"n": np.array(8), "f": np.float32(3)},
    ),
    "If": (
        [
            node("Cast", ["was"], "c", to=9),
            node("If", ["c"], then_branch=_graph("a"), else_branch=_graph("b")),
        ],
        {},
    ),
    "Loop": ([node("Shape", ["was"], "s"), node("Loop", ["s", "", "was"], body=_graph("a"))], {}),
    "Scan": ([node("Scan", ["was"], body=_graph("a"), num_scan_inputs=1)], {}),
    # in nodes
    "Constant": (_constant(value=_value(FLOATS)), {}),
    "Constant value_float": (_constant(value_float=0.3), {}),
    "Constant value_floats": (_constant(value_floats=FLOATS.tolist()), {}),
    "Constant value_int": (_constant(value_int=3), {}),
    "Constant value_ints": (_constant(value_ints=WHOLE.tolist()), {}),
    "Constant sparse_value": (_constant(sparse_value=_sparse_constant()), {}),
    "Constant strings": (_constant(value_strings=["0.1", "0.2"]), {}),
    "ConstantOfShape": (
        [
            node("Shape", ["was"], "s"),
            node("ConstantOfShape", ["s"], "k", value=_value(np.float32([0.7]))),
            node("Add", ["was", "k"]),
        ],
        {},
    ),
    "ConstantOfShape of many": (
        [
            node("Shape", ["was"], "s"),
            node("ConstantOfShape", ["s"], "k", value=_value(FLOATS)),
            node("Add", ["was", "k"]),
        ],
        {},
    ),
    "ConstantOfShape of a whole number": (
        [
            node("Shape", ["was"], "s"),
            node("ConstantOfShape", ["s"], "k", value=_value([7])),
            node("Cast", ["k"], "f", to=1),
            node("Mul", ["was", "f"]),
        ],
        {},
    ),
    "a tensor in an attribute": ([node("Relu", ["was"], value=_value(FLOATS))], {}),
    "floats in an attribute": ([node("Relu", ["was"], alpha=FLOATS.tolist())], {}),
    "many whole numbers in an attribute": (
        [node("TfIdfVectorizer", ["was"], mode="TF", pool_int64s=list(range(2000)))],
        {},
    ),
    "weights of a TfIdfVectorizer": (
        [node("TfIdfVectorizer", ["was"], mode="TF", weights=FLOATS.tolist())],
        {},
    ),
    "many scales": ([node("Upsample", ["was"], scales=[1.0] * 100)], {}),
    "HannWindow": (
        [node("Shape", ["was"], "s"), node("HannWindow", ["z"], "k"), node("Mul", ["was", "k"])],
        {"z": np.array(C)},
    ),
    **{
        op: ([node(op, [], "k", shape=[C], seed=1.0), node("Add", ["was", "k"])], {})
        for op in ("RandomNormal", "RandomUniform")
    },
    **{
        op: ([node(op, ["was"], "k", seed=1.0), node("Add", ["was", "k"])], {})
        for op in ("RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")
    },
    "a foreign operator": ([node("Gelu", ["was"], domain="com.microsoft")], {}),
    "a foreign MatMul": (
        [node("FusedMatMul", ["was", "w"], domain="com.microsoft")],
        {"w": SQUARE},
    ),
    "a foreign Relu with weights": ([node("Relu", ["was", "w"], domain="own")], {"w": FLOATS}),
    # whole numbers
    "Cast": ([node("Cast", ["w"], "k", to=1), node("Mul", ["was", "k"])], {"w": WHOLE}),
    "Cast of bytes": ([node("Cast", ["w"], "k", to=1), node("Mul", ["was", "k"])], {"w": BYTES}),
    "Cast of 32 bits": (
        [node("Cast", ["w"], "k", to=1), node("Mul", ["was", "k"])],
        {"w": WHOLE.astype(np.int32)},
    ),
    "BitCast": ([node("BitCast", ["w"], "k", to=1), node("Mul", ["was", "k"])], {"w": WHOLE}),
    "DequantizeLinear": (
        [node("DequantizeLinear", ["w", "s"], "k"), node("Mul", ["was", "k"])],
        {"w": BYTES, "s": np.float32(0.1)},
    ),
    "QuantizeLinear": (
        [node("QuantizeLinear", ["was", "s"], "i"), node("DequantizeLinear", ["i", "s"])],
        {"s": FLOATS},
    ),
    **{
        f"{op} of whole numbers": _by_integers(node(op, ["i", "w"], "j"))
        for op in (
            "Add",
            "Sub",
            "Mul",
            "Div",
            "Mod",
            "Min",
            "Max",
            "Pow",
            "BitwiseXor",
            "Equal",
            "Less",
            "GreaterOrEqual",
        )
    },
    "Pow by many whole numbers": ([node("Pow", ["was", "w"])], {"w": WHOLE}),
    "Concat of whole numbers": _by_integers(node("Concat", ["i", "w"], "j", axis=0)),
    "Where of whole numbers": _by_integers(
        node("Greater", ["i", "w"], "c"), node("Where", ["c", "i", "w"], "j")
    ),
    "Gather of whole numbers": _by_integers(node("Gather", ["w", "i"], "j")),
    "many whole numbers": _by_integers(node("Add", ["i", "v"], "j"), v=np.arange(1000)),
    "OneHot of whole numbers": _by_integers(node("OneHot", ["i", "d", "w"], "j"), d=np.array([C])),
    "ScatterND of whole numbers": _by_integers(
        node("ScatterND", ["i", "p", "w"], "j"), p=WHOLE[:, None]
    ),
    "whole numbers among shapes": (
        [
            node("Shape", ["was"], "s"),
            node("Sub", ["s", "s"], "z"),
            node("Add", ["z", "w"], "n"),
            node("Cast", ["n"], "f", to=1),
            node("Mul", ["was", "f"]),
        ],
        {"w": WHOLE[:2]},
    ),
    # other kinds of numbers
    **{
        f"{kind} added": (
            [node("Cast", ["w"], "k", to=1), node("Add", ["was", "k"])],
            {"w": FLOATS.astype(kind)},
        )
        for kind in (
            "float16",
            "float64",
            "int8",
            "int16",
            "uint16",
            "uint32",
            "uint64",
            "complex64",
        )
    },
    "text added": (
        [node("Cast", ["w"], "k", to=1), node("Add", ["was", "k"])],
        {"w": np.array([str(value) for value in FLOATS], object)},
    ),
}
NAMED = [  # those that hold float32 tensors, hidden as parameters that the manifest names
    name
    for name, (_, tensors) in HIDDEN.items()
    if any(np.asarray(t).dtype == np.float32 and np.size(t) > 1 for t in tensors.values())
]


def _hide(what: str, edge: str, *, named: bool = False, dense: bool = False) -> Change:
    """Slip hidden numbers in at an edge; named as parameters, in nodes declared dense."""

    def forge(draft: Draft) -> None:
        nodes, tensors = HIDDEN[what]
        copies = []
        for held in nodes:
            copies.append(onnx.NodeProto())
            copies[-1].CopyFrom(held)
        draft.insert(edge, *copies, **tensors)
        floats = {k: v for k, v in tensors.items() if np.asarray(v).dtype == np.float32}
        if named:
            draft.manifest["parameters"] = sorted([*draft.manifest["parameters"], *floats])
        if dense:
            draft.manifest["dense"] += [
                {
                    "name": made.name,
                    "op": made.op_type,
                    "reason": "the op table has no rule for it",
                    "parameters": sum(
                        np.size(floats[name])
                        for name in made.input
                        if name in floats and np.size(floats[name]) > 1
                    ),
                }
                for made in copies
            ]

    return forge


def of_hidden(draft: Draft) -> Iterator[Forgery]:
    """Trained numbers in every disguise, at the first scale, in the middle and at the end."""
    for at, edge in enumerate(draft.edges()):
        for what in HIDDEN:
            yield Forgery(f"{what} at {edge}", _hide(what, edge))
        for what in NAMED[at::3]:
            yield Forgery(f"{what} at {edge}, named", _hide(what, edge, named=True))
            yield Forgery(
                f"{what} at {edge}, named and declared dense",
                _hide(what, edge, named=True, dense=True),
                target=True,
            )


# layers ----------------------------------------------------------------------------------------


def of_wiring(draft: Draft) -> Iterator[Forgery]:
    """Every layer's nodes: other operators, inputs, readers, attributes."""
    last = draft.model.graph.output[0].name
    for number, layer in enumerate(draft.layers):
        weight, read = layer["weight"], draft.reader(layer["weight"])
        rows, op, made = layer["shape"][0], read.op_type, read.output[0]

        def at_linear(
            what: str, change: Callable[[onnx.NodeProto], Any], weight: str = weight
        ) -> Forgery:
            return Forgery(f"layer of {weight}: {what}", lambda d: change(d.reader(weight)))

        for named, declared in ((False, False), (True, False), (False, True)):
            yield Forgery(
                f"layer of {weight}: a hidden bias{', named' * named}{', recorded' * declared}",
                _bias(number, rows, named=named, declared=declared),
            )
        for other in ("Conv", "ConvTranspose", "Gemm", "MatMul", "Einsum", "Mul", "QLinearConv"):
            if other != op:
                yield at_linear(f"as {other}", lambda n, to=other: setattr(n, "op_type", to))
        yield at_linear("of a foreign domain", lambda n: setattr(n, "domain", "own"))
        yield at_linear(
            "its inputs swapped", lambda n: n.input.__setitem__(slice(0, 2), n.input[1::-1])
        )
        yield at_linear("a second output", lambda n: n.output.append("second"))
        for key, value in (("alpha", 2.0), ("transA", 1), ("fmf", [1, 2]), ("activation", "Relu")):
            yield at_linear(
                f"its attribute {key}",
                lambda n, k=key, v=value: n.attribute.append(helper.make_attribute(k, v)),
            )
        yield at_linear("its weight again", lambda n, w=weight: n.input.append(w))
        yield at_linear("an empty input", lambda n: n.input.extend(["", "", ""]))
        yield Forgery(f"layer of {weight}: reads no data", _constant_data(weight))
        yield Forgery(
            f"layer of {weight}: its weight read twice",
            lambda d, w=weight: d.insert(last, node("Mul", ["was", w])),
        )
        for what, name in (("weight", draft.numbers(layer)), ("unscaled sum", made)):
            yield Forgery(
                f"layer of {weight}: its {what} as a graph output",
                lambda d, at=name: d.model.graph.output.append(FOUND(at, TensorProto.FLOAT, None)),
            )
        yield Forgery(
            f"layer of {weight}: Relu before its scale",
            lambda d, at=made: d.insert(at, node("Relu", ["was"])),
        )
        yield Forgery(
            f"layer of {weight}: read before its scale",
            lambda d, at=made: d.insert(last, node("Add", ["was", at])),
        )
        yield Forgery(f"layer of {weight}: stands there twice", _again(weight))
        yield Forgery(f"layer of {weight}: taken out", lambda d, w=weight: d.bypass(d.reader(w)))
        yield Forgery(
            f"layer of {weight}: declared dense", _declare(number, removed=False), target=False
        )
    for trained in (False, True):
        yield Forgery(
            f"the last layer is declared dense{', and trained' * trained}",
            both(_train if trained else _leave, _declare(-1, removed=True)),
            target=True,
        )
    yield Forgery("the first layer is declared dense", _declare(0, removed=True))
    yield Forgery("a branch around everything", _around)


def _bias(number: int, rows: int, *, named: bool, declared: bool) -> Change:
    def forge(draft: Draft) -> None:
        layer = draft.layers[number]
        linear = draft.reader(layer["weight"])
        del linear.input[2:]
        linear.input.append(draft.add("hidden", np.linspace(1, 2, rows, dtype=np.float32)))
        if named:
            draft.manifest["parameters"] = sorted([*draft.manifest["parameters"], "hidden"])
        if declared:
            layer.update(bias="hidden", kept_bias=rows)

    return forge


def _constant_data(weight: str) -> Change:
    def forge(draft: Draft) -> None:
        linear = draft.reader(weight)
        linear.input[0] = draft.add("k", FLOATS)
        draft.manifest["parameters"] = sorted([*draft.manifest["parameters"], "k"])

    return forge


def _again(weight: str) -> Change:
    def forge(draft: Draft) -> None:
        linear = draft.reader(weight)
        graph = draft.model.graph
        copy = graph.node.add()
        copy.CopyFrom(linear)
        copy.name, copy.output[0] = "again", "again"
        draft.insert(graph.output[0].name, node("Add", ["was", "again"]))
        made = list(graph.node)
        del graph.node[:]
        at = made.index(copy)
        graph.node.extend([*made[:at], *made[at + 1 : -1], made[at], made[-1]])

    return forge


def _leave(draft: Draft) -> None:
    pass


def _train(draft: Draft) -> None:
    edit(draft.numbers(draft.layers[-1]), lambda array: array * np.float32(0.7))(draft)


def _declare(number: int, *, removed: bool) -> Change:
    """Say of a layer that it is the target's own, and of its weights that they are parameters."""

    def forge(draft: Draft) -> None:
        layer = draft.layers[number]
        linear = draft.reader(layer["weight"])
        names = {draft.numbers(layer), layer["scale"]} if removed else set()
        count = sum(draft.get(name).size for name in names if name in linear.input)
        draft.manifest["dense"].append(
            {
                "name": linear.name,
                "op": linear.op_type,
                "parameters": count,
                "reason": "the op table has no rule for it",
            }
        )
        if removed:
            scaled = draft.reader(layer["scale"])
            draft.manifest["dense"].append(
                {
                    "name": scaled.name,
                    "op": scaled.op_type,
                    "parameters": draft.get(layer["scale"]).size,
                    "reason": "the op table has no rule for it",
                }
            )
            draft.manifest["layers"].remove(layer)
            draft.manifest["parameters"] = sorted({*draft.manifest["parameters"], *names})

    return forge


def _around(draft: Draft) -> None:
    entry = draft.model.graph.input[0].name
    branch = [node("Flatten", [entry], "f"), node("MatMul", ["f", "w"], "y")]
    draft.insert(
        draft.model.graph.output[0].name,
        *branch,
        node("Add", ["was", "y"]),
        w=np.ones((64, C), np.float32),
    )


# the file --------------------------------------------------------------------------------------

Parts = Callable[[onnx.ModelProto], Any]


def of_file(draft: Draft) -> Iterator[Forgery]:
    """Whatever a protobuf can say besides, of the model and of every tensor."""
    names = [t.name for t in draft.model.graph.initializer] + [t.name for t in draft.values()]
    for name in names:
        yield from _tensor(draft, name)
    for what, change in PARTS.items():
        yield Forgery(what, lambda d, to=change: to(d.model))
    for what, ending in ENDINGS.items():
        yield Forgery(what, lambda d, to=ending: setattr(d, "ending", to))
    for number, made in enumerate(draft.model.graph.node):
        if number % 5 == 0:
            yield from _node(number, made.name)


def _tensor(draft: Draft, name: str) -> Iterator[Forgery]:
    held = draft.proto(name)

    def changed(what: str, change: Callable[[TensorProto], Any]) -> Forgery:
        return Forgery(f"tensor {name}: {what}", lambda d: change(d.proto(name)))

    yield changed("float_data too", lambda t: t.float_data.extend([1.0, 2.0]))
    yield changed("int64_data too", lambda t: t.int64_data.append(1))
    yield changed("string_data too", lambda t: t.string_data.append(b"1"))
    yield changed("a segment", lambda t: setattr(t.segment, "end", 1))
    yield changed("its doc_string", lambda t: setattr(t, "doc_string", "0.1 0.2"))
    yield changed("metadata", lambda t: t.metadata_props.add(key="k", value="v"))
    yield changed("bytes more", lambda t: setattr(t, "raw_data", t.raw_data + b"\0" * 4))
    if held.data_location == TensorProto.EXTERNAL:
        return
    if held.raw_data:
        yield changed("bytes less", lambda t: setattr(t, "raw_data", t.raw_data[:-1]))
        yield changed("no bytes", lambda t: t.ClearField("raw_data"))
    for dims in ([-1], [2**50], [2**31, 2**31, 2**31], [2**62, 4], [0], [*held.dims, 2], [1] * 100):
        yield changed(f"dims {dims[:3]}", lambda t, to=dims: t.dims.__setitem__(slice(None), to))
    for kind in (0, 99, -1, TensorProto.STRING, TensorProto.DOUBLE, TensorProto.UINT4):
        yield changed(f"type {kind}", lambda t, to=kind: setattr(t, "data_type", to))
    yield changed("no name", lambda t: setattr(t, "name", ""))
    yield changed("another name", lambda t: setattr(t, "name", f"{t.name}/other"))
    yield changed("said to be external", lambda t: setattr(t, "data_location", 1))
    yield changed("a place outside", lambda t: t.external_data.add(key="location", value="x"))
    yield Forgery(
        f"tensor {name}: twice", lambda d: d.model.graph.initializer.append(d.proto(name))
    )
    yield Forgery(f"tensor {name}: and a sparse one", lambda d: _and_sparse(d, name))
    yield Forgery(
        f"tensor {name}: a graph input too",
        lambda d: d.model.graph.input.append(FOUND(name, TensorProto.FLOAT, None)),
    )
    yield Forgery(
        f"tensor {name}: made by a node too",
        lambda d: d.model.graph.node.insert(0, node("Relu", [d.model.graph.input[0].name], name)),
    )


def _and_sparse(draft: Draft, name: str) -> None:
    draft.model.graph.sparse_initializer.append(
        helper.make_sparse_tensor(_value(FLOATS, name), _value(np.arange(C), "places"), [C])
    )


def _node(number: int, name: str) -> Iterator[Forgery]:
    def changed(what: str, change: Callable[[onnx.NodeProto], Any]) -> Forgery:
        return Forgery(
            f"node {name or number}: {what}", lambda d: change(d.model.graph.node[number])
        )

    yield changed("its doc_string", lambda n: setattr(n, "doc_string", "0.1"))
    yield changed("an overload", lambda n: setattr(n, "overload", "own"))
    yield changed("metadata", lambda n: n.metadata_props.add(key="k", value="v"))
    yield changed("a graph", lambda n: n.attribute.append(helper.make_attribute("g", _graph("g"))))
    yield changed(
        "a tensor", lambda n: n.attribute.append(helper.make_attribute("t", _value(FLOATS)))
    )
    yield changed(
        "tensors",
        lambda n: n.attribute.add(name="t", type=AttributeProto.TENSORS, tensors=[_value(FLOATS)]),
    )
    yield changed(
        "a sparse tensor",
        lambda n: n.attribute.add(
            name="t", type=AttributeProto.SPARSE_TENSOR, sparse_tensor=_sparse_constant()
        ),
    )
    yield changed("a reference", lambda n: n.attribute.add(name="t", ref_attr_name="x"))
    yield changed("floats", lambda n: n.attribute.append(helper.make_attribute("f", [0.1, 0.2])))
    yield changed(
        "floats as integers",
        lambda n: n.attribute.add(name="f", type=AttributeProto.INT, floats=[0.1]),
    )
    yield changed(
        "integers without end",
        lambda n: n.attribute.append(helper.make_attribute("i", list(range(5000)))),
    )
    text = helper.make_attribute("s", "x" * 5000)
    yield changed("a long text", lambda n: n.attribute.append(text))
    yield changed("a type of no attribute", lambda n: n.attribute.add(name="u", type=0))
    yield changed(
        "an attribute twice",
        lambda n: n.attribute.extend(
            [helper.make_attribute("a", 1), helper.make_attribute("a", 2)]
        ),
    )
    yield changed("reads what is not there", lambda n: n.input.__setitem__(0, "nowhere"))
    yield changed("makes what it reads", lambda n: n.output.__setitem__(0, n.input[0]))
    yield changed("its output twice", lambda n: n.output.append(n.output[0]))
    yield changed("an operator nobody knows", lambda n: setattr(n, "op_type", "Conv2"))
    yield changed("no operator", lambda n: setattr(n, "op_type", ""))
    yield changed("of a foreign domain", lambda n: setattr(n, "domain", "com.own"))
    yield Forgery(
        f"node {name or number}: twice",
        lambda d: d.model.graph.node.append(d.model.graph.node[number]),
    )
    yield Forgery(f"node {name or number}: gone", lambda d: d.model.graph.node.pop(number))
    yield Forgery(
        f"node {name or number}: at the end",
        lambda d: (
            d.model.graph.node.append(d.model.graph.node.pop(number))
            if number + 1 < len(d.model.graph.node)
            else d.model.graph.node.pop(number)
        ),
    )


def _first(model: onnx.ModelProto, change: Callable[[onnx.TypeProto], Any]) -> None:
    change(model.graph.input[0].type)


PARTS: dict[str, Parts] = {
    "doc_string of the model": lambda m: setattr(m, "doc_string", "0.1"),
    "domain of the model": lambda m: setattr(m, "domain", "own"),
    "model_version": lambda m: setattr(m, "model_version", 7),
    "another entry": lambda m: m.metadata_props.add(key="lt_onnx", value="{}"),
    "training": lambda m: m.training_info.add(),
    "a function": lambda m: m.functions.append(
        helper.make_function(
            "own",
            "Relu",
            ["x"],
            ["y"],
            [helper.make_node("Neg", ["x"], ["y"])],
            [helper.make_opsetid("", 17)],
        )
    ),
    "a function in place of an operator": lambda m: m.functions.append(
        helper.make_function(
            "",
            "Relu",
            ["x"],
            ["y"],
            [helper.make_node("Neg", ["x"], ["y"])],
            [helper.make_opsetid("", 17)],
        )
    ),
    "doc_string of the graph": lambda m: setattr(m.graph, "doc_string", "0.1"),
    "value_info": lambda m: m.graph.value_info.append(FOUND("x", 1, [1])),
    "quantisation": lambda m: m.graph.quantization_annotation.add(tensor_name="x"),
    "metadata of the graph": lambda m: m.graph.metadata_props.add(key="k", value="v"),
    "doc_string of an input": lambda m: setattr(m.graph.input[0], "doc_string", "0.1"),
    "a sequence as input": lambda m: _first(m, lambda t: t.sequence_type.elem_type.SetInParent()),
    "an optional input": lambda m: _first(m, lambda t: t.optional_type.elem_type.SetInParent()),
    "a sparse input": lambda m: _first(m, lambda t: t.sparse_tensor_type.SetInParent()),
    "an input twice": lambda m: m.graph.input.append(m.graph.input[0]),
    "an output twice": lambda m: m.graph.output.append(m.graph.output[0]),
    "an output of nothing": lambda m: m.graph.output.append(FOUND("nowhere", 1, None)),
    "an output without a name": lambda m: m.graph.output.append(FOUND("", 1, None)),
    "no outputs": lambda m: m.graph.ClearField("output"),
    "no graph": lambda m: m.ClearField("graph"),
    "no nodes": lambda m: m.graph.ClearField("node"),
    "no tensors": lambda m: (
        m.graph.ClearField("initializer"),
        m.graph.ClearField("sparse_initializer"),
    ),
    "nodes the other way": lambda m: _reverse(m.graph.node),
    "IR 3": lambda m: setattr(m, "ir_version", 3),
    "no IR": lambda m: m.ClearField("ir_version"),
    "negative IR": lambda m: setattr(m, "ir_version", -1),
    "no operator set": lambda m: m.ClearField("opset_import"),
    "an operator set twice": lambda m: m.opset_import.append(m.opset_import[0]),
    "an operator set by two names": lambda m: m.opset_import.add(domain="ai.onnx", version=9),
    "an unread tensor": lambda m: m.graph.initializer.append(_value(FLOATS, "w")),
    "unread whole numbers": lambda m: m.graph.initializer.append(_value(WHOLE, "w")),
    "an unread sparse tensor": lambda m: m.graph.sparse_initializer.append(
        helper.make_sparse_tensor(_value(FLOATS, "w"), _value(np.arange(C), "p"), [C])
    ),
    "an empty sparse tensor": lambda m: m.graph.sparse_initializer.add(),
    "an unread node": lambda m: m.graph.node.append(node("Relu", [m.graph.input[0].name], "w")),
    "a node of nothing": lambda m: m.graph.node.add(),
    "a node without outputs": lambda m: m.graph.node.append(helper.make_node("Relu", ["x"], [])),
    "an unread dense layer": lambda m: (
        m.graph.node.append(node("Conv", [m.graph.input[0].name, "w"], "y")),
        m.graph.initializer.append(_value(KERNEL, "w")),
    ),
}


def _reverse(nodes: Any) -> None:
    held = list(nodes)[::-1]
    del nodes[:]
    nodes.extend(held)


def _bytes(**fields: Any) -> bytes:
    return onnx.ModelProto(**fields).SerializeToString()


ENDINGS: dict[str, Callable[[bytes], bytes]] = {
    "a second graph behind": lambda b: b + _bytes(graph=onnx.GraphProto(name="other")),
    "a second IR behind": lambda b: b + _bytes(ir_version=8),
    "a first IR before": lambda b: _bytes(ir_version=7) + b,
    "a hidden tensor before": lambda b: (
        _bytes(graph=onnx.GraphProto(initializer=[_value(FLOATS, "w")])) + b
    ),
    "an unknown field": lambda b: b + b"\xfa\x7f\x04data",
    "an unknown field in the graph": lambda b: b + b"\x3a\x07\xfa\x7f\x04data",
    "bytes behind": lambda b: b + b"\0" * 16,
    "cut": lambda b: b[:-40],
    "half of it": lambda b: b[: len(b) // 2],
    "nothing": lambda b: b"",
    "a bare text": lambda b: b"ONNX",
    "a name of no text": lambda b: b.replace(b"lt-onnx", b"lt\xff\xfe\xfdnx"),
    "a long number": lambda b: b.replace(b"\x08", b"\x88\x00", 1),
}


# external data ---------------------------------------------------------------------------------

OFFSETS = ["-1", "1", "4", "4096", "1e3", "0x0", " 0", "+0", "٣", "", "first", str(2**40), "9" * 40]
LOCATIONS = [
    "",
    ".",
    "..",
    "../t.onnx.data",
    "./t.onnx.data",
    "a/t.onnx.data",
    "a\\t.onnx.data",
    "/etc/hostname",
    "C:t.onnx.data",
    "t.onnx",
    "link",
    "copy",
    "nowhere",
    "t.onnx.data\n",
    "t.onnx.data ",
    "\0",
    "folder",
    "x" * 5000,
    "file:t.onnx.data",
    "*",
]


def of_external(draft: Draft) -> Iterator[Forgery]:
    """Places of external tensors, and the file beside the ticket."""
    held = [t.name for t in draft.model.graph.initializer if t.external_data]
    assert held
    for name in held:
        at = {entry.key: entry.value for entry in draft.proto(name).external_data}
        wrong = {
            "offset": [w for w in OFFSETS if w != at["offset"]],
            "length": [*OFFSETS, str(int(at["length"]) - 4), str(int(at["length"]) + 4)],
            "location": LOCATIONS,
        }
        for key, values in wrong.items():
            for value in values:
                yield Forgery(f"{name}: {key} = {value[:20]!r}", _placed(name, **{key: value}))
        for key in at:
            if key != "offset" or int(at[key]):
                yield Forgery(f"{name}: no {key}", _placed(name, **{key: None}))
            yield Forgery(
                f"{name}: {key} twice",
                lambda d, k=key, n=name, v=at[key]: d.proto(n).external_data.add(key=k, value=v),
            )
        yield Forgery(f"{name}: a checksum", _placed(name, checksum="0"))
        yield Forgery(
            f"{name}: inline too",
            lambda d, n=name: setattr(d.proto(n), "raw_data", d.get(n).tobytes()),
        )
        yield Forgery(
            f"{name}: said to be inline", lambda d, n=name: setattr(d.proto(n), "data_location", 0)
        )
        for other in held:
            if other != name:
                there = {e.key: e.value for e in draft.proto(other).external_data}
                yield Forgery(f"{name}: where {other} is", _placed(name, offset=there["offset"]))
    for what, change in DATA.items():
        yield Forgery(f"data: {what}", lambda d, to=change: setattr(d, "data", to(d.data)))
    for what, act in BESIDE.items():
        yield Forgery(f"data: {what}", lambda d, to=act: setattr(d, "beside", to))
    for layer in draft.layers:
        yield Forgery(
            f"{layer['scale']}: in a second file", lambda d, n=layer["scale"]: _elsewhere(d, n)
        )


def _placed(name: str, **changes: str | None) -> Change:
    def forge(draft: Draft) -> None:
        proto = draft.proto(name)
        at = {entry.key: entry.value for entry in proto.external_data} | changes
        del proto.external_data[:]
        for key, value in at.items():
            if value is not None:
                proto.external_data.add(key=key, value=value)
        draft.beside = _bait

    return forge


def _bait(path: Path) -> None:
    """Files that a location may lead to."""
    data = path.with_name(f"{path.name}.data")
    (path.parent / "copy").write_bytes(data.read_bytes())
    (path.parent / "link").symlink_to(data.name)
    (path.parent / "folder").mkdir()


DATA: dict[str, Callable[[bytes], bytes]] = {
    "a byte more": lambda b: b + b"\0",
    "a page more": lambda b: b + b"\0" * 4096,
    "a byte less": lambda b: b[:-1],
    "half of it": lambda b: b[: len(b) // 2],
    "nothing": lambda b: b"",
    "shifted": lambda b: b"\0\0\0\0" + b[:-4],
    "the first byte": lambda b: bytes([b[0] ^ 1]) + b[1:],
    "all zeros": lambda b: bytes(len(b)),
    "reversed": lambda b: b[::-1],
}


def _linked(path: Path) -> None:
    data = path.with_name(f"{path.name}.data")
    data.rename(path.parent / "elsewhere")
    data.symlink_to("elsewhere")


def _folder(path: Path) -> None:
    data = path.with_name(f"{path.name}.data")
    data.unlink()
    data.mkdir()


BESIDE: dict[str, Callable[[Path], None]] = {
    "missing": lambda path: path.with_name(f"{path.name}.data").unlink(),
    "a link": _linked,
    "a folder": _folder,
}


def _elsewhere(draft: Draft, name: str) -> None:
    value = draft.get(name).tobytes()
    proto = draft.proto(name)
    proto.ClearField("raw_data")
    proto.data_location = TensorProto.EXTERNAL
    for key, entry in (("location", "second"), ("offset", "0"), ("length", str(len(value)))):
        proto.external_data.add(key=key, value=entry)
    draft.beside = lambda path: path.with_name("second").write_bytes(value) and None


# what only the target shows --------------------------------------------------------------------

ACTIVATIONS = {
    "Relu": "Abs",
    "Sigmoid": "Tanh",
    "Clip": "Max",
    "MaxPool": "AveragePool",
    "Add": "Sub",
    "GlobalAveragePool": "GlobalMaxPool",
    "ReduceMean": "ReduceSum",
    "Softmax": "LogSoftmax",
    "Erf": "Tanh",
    "Div": "Mul",
    "Mul": "Div",
    "Identity": "Neg",
    "Gather": "GatherElements",
}
SLIPPED: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "Relu": ([node("Relu", ["was"])], {}),
    "Identity": ([node("Identity", ["was"])], {}),
    "LeakyRelu of a trained slope": ([node("LeakyRelu", ["was"], alpha=0.37)], {}),
    "Elu of a trained slope": ([node("Elu", ["was"], alpha=0.37)], {}),
    "a permutation": ([node("Gather", ["was", "i"], axis=1)], {"i": np.arange(C)[::-1]}),
    "a trained choice": ([node("Gather", ["was", "i"], axis=1)], {"i": np.arange(C) // 2}),
    "part of it": ([node("Slice", ["was", "a", "b"])], {"a": np.array([0]), "b": np.array([3])}),
    "a turn": ([node("Transpose", ["was"])], {}),
    "Softmax": ([node("Softmax", ["was"])], {}),
    "Dropout": ([node("Dropout", ["was", "", "t"], seed=3)], {"t": np.array(True)}),
    "a trained shift": ([node("Add", ["was", "s"])], {"s": np.float32(0.37)}),
    "a trained bound": ([node("Clip", ["was", "s"])], {"s": np.float32(0.37)}),
    "a number made of ones": (
        [
            node("Shape", ["was"], "n"),
            node("ConstantOfShape", ["n"], "one", value=_value(np.float32([1]))),
            node("Add", ["one", "one"], "two"),
            node("Div", ["one", "two"], "h"),
            node("Add", ["was", "h"]),
        ],
        {},
    ),
    "a number made of a shape": (
        [
            node("Shape", ["was"], "n"),
            node("Cast", ["n"], "f", to=1),
            node("Sin", ["f"], "g"),
            node("Mul", ["was", "g"]),
        ],
        {},
    ),
    "padding": ([node("Pad", ["was", "p"])], {"p": np.array([0, 0, 0, 3])}),
    "a sum along an axis": ([node("CumSum", ["was", "a"])], {"a": np.array(1)}),
    "many bounds": ([node("HardSigmoid", ["was"], alpha=0.21, beta=0.37)], {}),
}


def of_target(draft: Draft) -> Iterator[Forgery]:
    """Another network than the target: nodes, attributes, indices, parameters, ports."""
    graph, known = draft.model.graph, draft.manifest
    for number, held in enumerate(graph.node):
        name = held.name or str(number)
        yield Forgery(
            f"{name}: taken out", lambda d, n=number: d.bypass(d.model.graph.node[n]), target=True
        )
        if held.op_type in ACTIVATIONS:
            to = ACTIVATIONS[held.op_type]
            yield Forgery(
                f"{name}: as {to}",
                lambda d, n=number, to=to: setattr(d.model.graph.node[n], "op_type", to),
                target=True,
            )
        for which, attribute in enumerate(held.attribute):
            yield Forgery(
                f"{name}: another {attribute.name}",
                lambda d, n=number, w=which: _attribute(d.model.graph.node[n].attribute[w]),
                target=True,
            )
        if len(held.input) > 1 and held.input[0] != held.input[1]:
            yield Forgery(
                f"{name}: its inputs swapped",
                lambda d, n=number: _turn(d.model.graph.node[n]),
                target=True,
            )
    yield from _constants(draft)
    for edge in draft.edges():
        for what, (nodes, tensors) in SLIPPED.items():
            yield Forgery(f"{what} at {edge}", _slip(edge, nodes, tensors), target=True)
    for what, change in PORTS.items():
        yield Forgery(what, lambda d, to=change: to(d.model), target=True)
    free = next(n for n in graph.node if n.op_type in ("Relu", "Sigmoid", "Clip", "Erf"))
    extra = {"name": free.name, "op": free.op_type, "parameters": 0, "reason": "it is needed"}
    yield Forgery(
        f"{free.name} declared dense", lambda d: d.manifest["dense"].append(extra), target=True
    )
    yield Forgery(
        "a dense place of nothing",
        lambda d: d.manifest["dense"].append({**extra, "name": "nowhere"}),
    )
    for number, dense in enumerate(known["dense"]):
        for key, value, shown in (
            ("parameters", dense["parameters"] + 1, False),
            ("name", "nowhere", False),
            ("parameters", 2**40, False),
            ("op", "Conv", False),
            ("reason", "it is nice", True),
        ):
            yield Forgery(
                f"dense {dense['name']}: {key} = {value}",
                lambda d, n=number, k=key, v=value: d.manifest["dense"][n].update({k: v}),
                shown,
            )
        yield Forgery(
            f"dense {dense['name']}: dropped", lambda d, n=number: d.manifest["dense"].pop(n)
        )
        yield Forgery(
            f"dense {dense['name']}: twice",
            lambda d, n=number: d.manifest["dense"].append(d.manifest["dense"][n]),
        )


def _constants(draft: Draft) -> Iterator[Forgery]:
    """Every index, order and parameter."""
    known = draft.manifest
    of_layers = {layer["scale"] for layer in draft.layers}
    of_layers |= {layer["bias"] for layer in draft.layers}
    for held in draft.model.graph.initializer:
        name, size = held.name, int(np.prod(held.dims))
        if name in known["order"]:
            far = max(layer["shape"][0] for layer in draft.layers)
            for value, shown in ((-1, False), (far, False), (2**40, False)):
                yield Forgery(f"{name}: {value}", edit(name, place(0, value)), shown)
            for what, change in (
                ("one less", lambda array: array[:-1]),
                ("one more", lambda array: array[[0, *range(len(array))]]),
                ("as a column", lambda array: array[:, None]),
            ):
                yield Forgery(f"{name}: {what}", edit(name, change), target=True)
        elif held.data_type == TensorProto.INT64 and size:
            yield Forgery(f"{name}: another first", edit(name, _more(0)), target=True)
            yield Forgery(f"{name}: another last", edit(name, _more(-1)), target=True)
        elif name in known["parameters"] and size:
            for what, value, shown in (
                ("NaN", np.nan, False),
                ("infinity", np.inf, False),
                ("0.37", 0.37, True),
                ("-0.0", -0.0, True),
                ("a denormal", 1e-45, True),
            ):
                yield Forgery(f"{name}: {what}", edit(name, place(0, value)), shown)
            yield Forgery(f"{name}: its last bit", edit(name, _last_bit), target=True)
            yield Forgery(f"{name}: as doubles", lambda d, n=name: _doubles(d, n))
            yield Forgery(
                f"{name}: an axis more", edit(name, lambda array: array[None]), target=True
            )


def _doubles(draft: Draft, name: str) -> None:
    value = draft.get(name).astype(np.float64)
    draft.drop(name)
    draft.add(name, value)


def _last_bit(array: np.ndarray) -> None:
    array.reshape(-1).view(np.uint32)[-1] ^= np.uint32(1)


def _more(at: int) -> Callable[[np.ndarray], None]:
    def change(array: np.ndarray) -> None:
        array.reshape(-1)[at] += 1

    return change


def _turn(made: onnx.NodeProto) -> None:
    made.input[0], made.input[1] = made.input[1], made.input[0]


def _attribute(attribute: AttributeProto) -> None:
    match attribute.type:
        case AttributeProto.FLOAT:
            attribute.f = attribute.f * 1.5 + 0.1
        case AttributeProto.INT:
            attribute.i += 1
        case AttributeProto.INTS:
            attribute.ints[0] += 1
        case AttributeProto.FLOATS:
            attribute.floats[0] += 0.1
        case AttributeProto.TENSOR:
            value = numpy_helper.to_array(attribute.t) + 1
            attribute.t.CopyFrom(numpy_helper.from_array(value, attribute.t.name))
        case _:
            attribute.s = b"other"


def _slip(edge: str, nodes: list[onnx.NodeProto], tensors: dict[str, Any]) -> Change:
    def forge(draft: Draft) -> None:
        copies = []
        for held in nodes:
            copies.append(onnx.NodeProto())
            copies[-1].CopyFrom(held)
        draft.insert(edge, *copies, **tensors)
        floats = [k for k, v in tensors.items() if np.asarray(v).dtype == np.float32]
        draft.manifest["parameters"] = sorted([*draft.manifest["parameters"], *floats])

    return forge


def _rename(model: onnx.ModelProto, old: str, new: str) -> None:
    for value in [*model.graph.input, *model.graph.output]:
        value.name = new if value.name == old else value.name
    for made in model.graph.node:
        made.input[:] = [new if name == old else name for name in made.input]
        made.output[:] = [new if name == old else name for name in made.output]


def _first_dim(value: onnx.ValueInfoProto, size: int) -> None:
    value.type.tensor_type.shape.dim[1].dim_value = size


PORTS: dict[str, Parts] = {
    "an input renamed": lambda m: _rename(m, m.graph.input[0].name, "renamed"),
    "an output renamed": lambda m: _rename(m, m.graph.output[0].name, "renamed"),
    "an input of doubles": lambda m: setattr(m.graph.input[0].type.tensor_type, "elem_type", 11),
    "an output of doubles": lambda m: setattr(m.graph.output[0].type.tensor_type, "elem_type", 11),
    "an input of other size": lambda m: _first_dim(m.graph.input[0], 77),
    "an output of other size": lambda m: _first_dim(m.graph.output[0], 77),
    "an input without a shape": lambda m: m.graph.input[0].type.tensor_type.ClearField("shape"),
    "an input more": lambda m: m.graph.input.append(FOUND("more", 1, [1])),
    "an inner tensor as output": lambda m: m.graph.output.append(
        FOUND(next(n.output[0] for n in m.graph.node if n.op_type == "Gather"), 1, None)
    ),
    "the input as output": lambda m: m.graph.output.append(m.graph.input[0]),
    "an older operator set": lambda m: setattr(m.opset_import[0], "version", 9),
    "a newer operator set": lambda m: setattr(m.opset_import[0], "version", 99),
    "a foreign operator set": lambda m: m.opset_import.add(domain="com.own", version=1),
    "a newer IR": lambda m: setattr(m, "ir_version", m.ir_version + 1),
}


def of_outputs(draft: Draft) -> Iterator[Forgery]:
    """The outputs of a network that has several, swapped."""
    outputs = [value.name for value in draft.model.graph.output]
    assert len(outputs) > 1

    def renamed(draft: Draft) -> None:
        first, second = outputs[:2]
        for old, new in ((first, "t"), (second, first), ("t", second)):
            for made in draft.model.graph.node:
                made.input[:] = [new if name == old else name for name in made.input]
                made.output[:] = [new if name == old else name for name in made.output]

    yield Forgery("outputs swapped by name", renamed, target=True)
    yield Forgery("outputs in another order", lambda d: _reverse(d.model.graph.output), target=True)
    yield Forgery("an output less", lambda d: d.model.graph.output.pop(), target=True)
