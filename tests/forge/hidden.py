"""Trained numbers in foreign places: as weights of other operators, in nodes, as whole numbers."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from forge.draft import Draft, Forgery, Step, step
from forge.reasons import (
    ANOTHER_DENSE,
    ATTRIBUTE_FLOAT,
    ATTRIBUTE_LONG,
    ATTRIBUTE_TENSOR,
    CONSTANTS_ALONE,
    FILLED,
    FOREIGN_DOMAIN,
    FOREIGN_FIELD,
    INTEGERS_AS_DATA,
    NEITHER,
    NO_DATA,
    OWN_NUMBERS,
    SHAPES_AS_DATA,
    UNDECLARED,
)
from forge.wiring import dense_place

C = 10
FLOATS = np.linspace(-1, 1, C).astype(np.float32)
SQUARE = np.eye(C, dtype=np.float32) * FLOATS
KERNEL = np.ones((C, C, 1, 1), np.float32)
WHOLE = np.arange(1, C + 1)
BYTES = WHOLE.astype(np.uint8)
BYTE_SQUARE = np.ones((C, C), np.int8)
TRUTH = WHOLE > 4


def _value(array: Any, name: str = "") -> TensorProto:
    return numpy_helper.from_array(np.asarray(array), name)


def _constant(**keys: Any) -> list[Step]:
    return [step("Constant", [], "k", **keys), step("Mul", ["was", "k"])]


def subgraph(name: str) -> onnx.GraphProto:
    """A graph of a control flow operator, with a weight in it."""
    inner = [helper.make_node("Add", ["was", f"{name}/w"], [f"{name}/y"])]
    found = helper.make_tensor_value_info(f"{name}/y", TensorProto.FLOAT, None)
    return helper.make_graph(inner, name, [], [found], [_value(FLOATS, f"{name}/w")])


def sparse_constant() -> onnx.SparseTensorProto:
    """Ten weights, all of them given."""
    return helper.make_sparse_tensor(_value(FLOATS), _value(np.arange(C)), [C])


@dataclass(frozen=True)
class Hidden:
    """Nodes and tensors to be slipped in, and what is told when nothing declares them."""

    steps: tuple[Step, ...]
    tensors: dict[str, Any]
    told: str

    @property
    def floats(self) -> dict[str, np.ndarray]:
        """The float32 tensors, which may be named as the target's own parameters."""
        arrays = {name: np.asarray(value) for name, value in self.tensors.items()}
        return {name: array for name, array in arrays.items() if array.dtype == np.float32}


def hidden(*steps: Step, told: str = NEITHER, **tensors: Any) -> Hidden:
    return Hidden(steps, tensors, told)


def _by_integers(*steps: Step, told: str, **tensors: Any) -> Hidden:
    """Data made whole, changed by whole numbers, and made real again."""
    first, last = step("Cast", ["was"], "i", to=TensorProto.INT64), step("Cast", ["j"], to=1)
    return hidden(first, *steps, last, told=told, **{"w": WHOLE, **tensors})


LINEAR: dict[str, Hidden] = {
    "MatMul": hidden(step("MatMul", ["was", "w"]), w=SQUARE),
    "Gemm": hidden(step("Gemm", ["was", "w"], transB=1), w=SQUARE),
    "Gemm with a bias": hidden(step("Gemm", ["was", "w", "b"], transB=1), w=SQUARE, b=FLOATS),
    "Conv": hidden(step("Conv", ["was", "w"]), w=KERNEL),
    "ConvTranspose": hidden(step("ConvTranspose", ["was", "w"]), w=KERNEL),
    "Einsum": hidden(step("Einsum", ["was", "w"], equation="ij,jk->ik"), w=SQUARE),
    "Einsum of data": hidden(step("Einsum", ["was", "was"], equation="ij,ij->ij"), told=UNDECLARED),
    "MatMul of data": hidden(step("MatMul", ["was", "was"]), told=UNDECLARED),
    "DeformConv": hidden(step("DeformConv", ["was", "w", "was"]), w=KERNEL),
    "LSTM": hidden(step("LSTM", ["was", "w", "w"], hidden_size=C), w=SQUARE[None]),
    "GRU": hidden(step("GRU", ["was", "w", "w"], hidden_size=C), w=SQUARE[None]),
    "RNN": hidden(step("RNN", ["was", "w", "w"], hidden_size=C), w=SQUARE[None]),
    "ConvInteger": hidden(
        step("Cast", ["was"], "i", to=2),
        step("ConvInteger", ["i", "w"], "j"),
        step("Cast", ["j"], to=1),
        w=KERNEL.astype(np.uint8),
    ),
    "MatMulInteger": hidden(
        step("Cast", ["was"], "i", to=3),
        step("MatMulInteger", ["i", "w"], "j"),
        step("Cast", ["j"], to=1),
        w=BYTE_SQUARE,
    ),
    "a layer's sum": hidden(step("Conv", ["was", "w"], "y"), step("Add", ["was", "y"]), w=KERNEL),
}
BY_CHANNEL: dict[str, Hidden] = {
    **{
        op: hidden(step(op, ["was", "w"]), w=FLOATS[:, None, None])
        for op in ("Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Sum", "Mean", "PRelu", "Mod")
    },
    "Add before": hidden(step("Add", ["w", "was"]), w=FLOATS),
    "BatchNormalization": hidden(step("BatchNormalization", ["was", "w", "w", "w", "w"]), w=FLOATS),
    "InstanceNormalization": hidden(step("InstanceNormalization", ["was", "w", "w"]), w=FLOATS),
    "LayerNormalization": hidden(step("LayerNormalization", ["was", "w", "w"]), w=FLOATS),
    "GroupNormalization": hidden(
        step("GroupNormalization", ["was", "w", "w"], num_groups=1), w=FLOATS
    ),
    "Where": hidden(step("Where", ["c", "was", "w"]), c=TRUTH, w=FLOATS),
    "Where of truth values": hidden(
        step("Neg", ["was"], "n"), step("Where", ["c", "was", "n"]), told=INTEGERS_AS_DATA, c=TRUTH
    ),
    "Where of a comparison": hidden(
        step("Greater", ["was", "w"], "c"), step("Where", ["c", "was", "w"]), w=FLOATS
    ),
    "And": hidden(
        step("Cast", ["was"], "i", to=9),
        step("And", ["i", "w"], "j"),
        step("Cast", ["j"], to=1),
        told=INTEGERS_AS_DATA,
        w=TRUTH,
    ),
    "Xor": hidden(
        step("Cast", ["was"], "i", to=9),
        step("Xor", ["i", "w"], "j"),
        step("Cast", ["j"], to=1),
        told=INTEGERS_AS_DATA,
        w=TRUTH,
    ),
    "Clip by many": hidden(step("Clip", ["was", "w", "w"]), w=FLOATS),
}
MOVED: dict[str, Hidden] = {
    "Concat": hidden(step("Concat", ["was", "w"], axis=1), w=SQUARE),
    "Pad by many": hidden(step("Pad", ["was", "p", "w"]), p=np.zeros(4, np.int64), w=FLOATS),
    "Resize": hidden(
        step("Resize", ["was", "w", "s"]), w=np.ones(20, np.float32), s=np.ones(20, np.float32)
    ),
    "OneHot": hidden(
        step("ArgMax", ["was"], "i", axis=1),
        step("OneHot", ["i", "d", "w"]),
        d=np.array([C]),
        w=FLOATS,
    ),
    "ScatterND": hidden(step("ScatterND", ["was", "i", "w"]), i=WHOLE[:, None], w=FLOATS),
    "ScatterElements": hidden(
        step("ScatterElements", ["was", "i", "w"]), i=WHOLE[None], w=FLOATS[None]
    ),
    "Gather of weights": hidden(
        step("ArgMax", ["was"], "i", axis=1), step("Gather", ["w", "i"]), w=SQUARE
    ),
    "GatherND of weights": hidden(
        step("Cast", ["was"], "i", to=7), step("GatherND", ["w", "i"]), w=SQUARE
    ),
    "GatherElements of weights": hidden(
        step("Cast", ["was"], "i", to=7), step("GatherElements", ["w", "i"]), w=SQUARE
    ),
    "Compress": hidden(step("Cast", ["was"], "c", to=9), step("Compress", ["w", "c"]), w=FLOATS),
    "Expand": hidden(
        step("Shape", ["was"], "s"),
        step("Expand", ["w", "s"], "e"),
        step("Add", ["was", "e"]),
        w=FLOATS,
    ),
    "Tile": hidden(
        step("Shape", ["was"], "s"),
        step("Tile", ["w", "s"], "e"),
        step("Add", ["was", "e"]),
        w=FLOATS,
    ),
    "Reshape": hidden(
        step("Shape", ["was"], "s"),
        step("Reshape", ["w", "s"], "e"),
        step("Add", ["was", "e"]),
        w=FLOATS,
    ),
    "Identity": hidden(step("Identity", ["w"], "k"), step("Mul", ["was", "k"]), w=FLOATS),
    "CastLike": hidden(
        step("CastLike", ["w", "was"], "k"),
        step("Mul", ["was", "k"]),
        told=INTEGERS_AS_DATA,
        w=WHOLE,
    ),
    "Range": hidden(
        step("Range", ["a", "b", "a"], "r"),
        step("Mul", ["was", "r"]),
        a=np.float32(1),
        b=np.float32(11),
    ),
    "MelWeightMatrix": hidden(
        step("MelWeightMatrix", ["n", "n", "n", "f", "f"], "k"),
        step("Mul", ["was", "k"]),
        n=np.array(8),
        f=np.float32(3),
    ),
    "If": hidden(
        step("Cast", ["was"], "c", to=9),
        step("If", ["c"], then_branch=subgraph("a"), else_branch=subgraph("b")),
        told=FOREIGN_FIELD,
    ),
    "Loop": hidden(
        step("Shape", ["was"], "s"),
        step("Loop", ["s", "", "was"], body=subgraph("a")),
        told=FOREIGN_FIELD,
    ),
    "Scan": hidden(
        step("Scan", ["was"], body=subgraph("a"), num_scan_inputs=1), told=FOREIGN_FIELD
    ),
}
IN_NODES: dict[str, Hidden] = {
    "Constant": hidden(*_constant(value=_value(FLOATS)), told=ATTRIBUTE_TENSOR),
    "Constant value_float": hidden(*_constant(value_float=0.3), told=OWN_NUMBERS),
    "Constant value_floats": hidden(*_constant(value_floats=FLOATS.tolist()), told=OWN_NUMBERS),
    "Constant value_int": hidden(*_constant(value_int=3), told=OWN_NUMBERS),
    "Constant value_ints": hidden(*_constant(value_ints=WHOLE.tolist()), told=OWN_NUMBERS),
    "Constant sparse_value": hidden(*_constant(sparse_value=sparse_constant()), told=FOREIGN_FIELD),
    "Constant strings": hidden(*_constant(value_strings=["0.1", "0.2"]), told=OWN_NUMBERS),
    "ConstantOfShape": hidden(
        step("Shape", ["was"], "s"),
        step("ConstantOfShape", ["s"], "k", value=_value(np.float32([0.7]))),
        step("Add", ["was", "k"]),
        told=FILLED,
    ),
    "ConstantOfShape of many": hidden(
        step("Shape", ["was"], "s"),
        step("ConstantOfShape", ["s"], "k", value=_value(FLOATS)),
        step("Add", ["was", "k"]),
        told=FILLED,
    ),
    "ConstantOfShape of a whole number": hidden(
        step("Shape", ["was"], "s"),
        step("ConstantOfShape", ["s"], "k", value=_value([7])),
        step("Cast", ["k"], "f", to=1),
        step("Mul", ["was", "f"]),
        told=SHAPES_AS_DATA,
    ),
    "a tensor in an attribute": hidden(
        step("Relu", ["was"], value=_value(FLOATS)), told=ATTRIBUTE_TENSOR
    ),
    "floats in an attribute": hidden(
        step("Relu", ["was"], alpha=FLOATS.tolist()), told=ATTRIBUTE_FLOAT
    ),
    "many whole numbers in an attribute": hidden(
        step("TfIdfVectorizer", ["was"], mode="TF", pool_int64s=list(range(2000))),
        told=ATTRIBUTE_LONG,
    ),
    "weights of a TfIdfVectorizer": hidden(
        step("TfIdfVectorizer", ["was"], mode="TF", weights=FLOATS.tolist()), told=ATTRIBUTE_FLOAT
    ),
    "many scales": hidden(step("Upsample", ["was"], scales=[1.0] * 100), told=ATTRIBUTE_LONG),
    "HannWindow": hidden(
        step("HannWindow", ["z"], "k"),
        step("Mul", ["was", "k"]),
        told=INTEGERS_AS_DATA,
        z=np.array(C),
    ),
    **{
        op: hidden(
            step(op, [], "k", shape=[C], seed=1.0), step("Add", ["was", "k"]), told=OWN_NUMBERS
        )
        for op in ("RandomNormal", "RandomUniform")
    },
    **{
        op: hidden(step(op, ["was"], "k", seed=1.0), step("Add", ["was", "k"]), told=OWN_NUMBERS)
        for op in ("RandomNormalLike", "RandomUniformLike", "Bernoulli", "Multinomial")
    },
    "a foreign operator": hidden(
        step("Gelu", ["was"], domain="com.microsoft"), told=FOREIGN_DOMAIN
    ),
    "a foreign MatMul": hidden(step("FusedMatMul", ["was", "w"], domain="com.microsoft"), w=SQUARE),
    "a foreign Relu with weights": hidden(step("Relu", ["was", "w"], domain="own"), w=FLOATS),
}
INTEGERS: dict[str, Hidden] = {
    "Cast": hidden(
        step("Cast", ["w"], "k", to=1), step("Mul", ["was", "k"]), told=INTEGERS_AS_DATA, w=WHOLE
    ),
    "Cast of bytes": hidden(step("Cast", ["w"], "k", to=1), step("Mul", ["was", "k"]), w=BYTES),
    "Cast of 32 bits": hidden(
        step("Cast", ["w"], "k", to=1),
        step("Mul", ["was", "k"]),
        told=INTEGERS_AS_DATA,
        w=WHOLE.astype(np.int32),
    ),
    "BitCast": hidden(
        step("BitCast", ["w"], "k", to=1), step("Mul", ["was", "k"]), told=INTEGERS_AS_DATA, w=WHOLE
    ),
    "DequantizeLinear": hidden(
        step("DequantizeLinear", ["w", "s"], "k"),
        step("Mul", ["was", "k"]),
        w=BYTES,
        s=np.float32(0.1),
    ),
    "QuantizeLinear": hidden(
        step("QuantizeLinear", ["was", "s"], "i"), step("DequantizeLinear", ["i", "s"]), s=FLOATS
    ),
    **{
        f"{op} of whole numbers": _by_integers(
            step(op, ["i", "w"], "j"), told=f"{SHAPES_AS_DATA}|{INTEGERS_AS_DATA}"
        )
        for op in "Add Sub Mul Div Mod Min Max Pow BitwiseXor Equal Less GreaterOrEqual".split()
    },
    "Pow by many whole numbers": hidden(step("Pow", ["was", "w"]), told=SHAPES_AS_DATA, w=WHOLE),
    "Concat of whole numbers": _by_integers(
        step("Concat", ["i", "w"], "j", axis=0), told=SHAPES_AS_DATA
    ),
    "Where of whole numbers": _by_integers(
        step("Greater", ["i", "w"], "c"), step("Where", ["c", "i", "w"], "j"), told=SHAPES_AS_DATA
    ),
    "Gather of whole numbers": _by_integers(step("Gather", ["w", "i"], "j"), told=INTEGERS_AS_DATA),
    "many whole numbers": _by_integers(
        step("Add", ["i", "w"], "j"), w=np.arange(1000), told=SHAPES_AS_DATA
    ),
    "OneHot of whole numbers": _by_integers(
        step("OneHot", ["i", "d", "w"], "j"), d=np.array([C]), told=INTEGERS_AS_DATA
    ),
    "ScatterND of whole numbers": _by_integers(
        step("ScatterND", ["i", "p", "w"], "j"), p=WHOLE[:, None], told=INTEGERS_AS_DATA
    ),
    "whole numbers among shapes": hidden(
        step("Shape", ["was"], "s"),
        step("Sub", ["s", "s"], "z"),
        step("Add", ["z", "w"], "n"),
        step("Cast", ["n"], "f", to=1),
        step("Mul", ["was", "f"]),
        told=SHAPES_AS_DATA,
        w=WHOLE[:2],
    ),
}
OTHER_TYPES: dict[str, Hidden] = {
    **{
        f"{kind} added": hidden(
            step("Cast", ["w"], "k", to=1), step("Add", ["was", "k"]), w=FLOATS.astype(kind)
        )
        for kind in "float16 float64 int8 int16 uint16 uint32 uint64 complex64".split()
    },
    "text added": hidden(
        step("Cast", ["w"], "k", to=1),
        step("Add", ["was", "k"]),
        told=FOREIGN_FIELD,
        w=np.array([str(value) for value in FLOATS], object),
    ),
}
HIDDEN = LINEAR | BY_CHANNEL | MOVED | IN_NODES | INTEGERS | OTHER_TYPES
NAMED = [  # those that hold float32 tensors, hidden as parameters that the manifest names
    name for name, held in HIDDEN.items() if any(np.size(t) > 1 for t in held.floats.values())
]


def of_hidden(draft: Draft) -> Iterator[Forgery]:
    """Trained numbers in every disguise, at the first scale, in the middle and at the end."""
    for at, edge in enumerate(draft.edges()):
        for what, held in HIDDEN.items():
            yield Forgery(edge, what, partial(_hide, held=held, edge=edge), held.told)
        for what in NAMED[at::3]:
            named = partial(_hide, held=HIDDEN[what], edge=edge, named=True)
            yield Forgery(edge, f"{what}, named", named, UNDECLARED)
            dense = partial(_hide, held=HIDDEN[what], edge=edge, named=True, dense=True)
            told = f"{ANOTHER_DENSE}|{NO_DATA}|{CONSTANTS_ALONE}"
            yield Forgery(edge, f"{what}, named and declared dense", dense, told, target=True)


def _hide(
    draft: Draft, held: Hidden, edge: str, *, named: bool = False, dense: bool = False
) -> None:
    """Slip hidden numbers in at an edge; named as parameters, in nodes declared dense."""
    draft.insert(edge, *held.steps, **held.tensors)
    if named:
        draft.declare(*held.floats)
    if dense:
        for made in held.steps:
            sizes = [held.floats[name].size for name in made.inputs if name in held.floats]
            count = sum(size for size in sizes if size > 1)
            draft.manifest["dense"].append(dense_place(f"forged/{made.output}", made.op, count))
