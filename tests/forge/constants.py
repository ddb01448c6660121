"""Constants that layers make of one-hots, norms that were folded, blocks between copies."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from onnx import NodeProto, TensorProto, helper, numpy_helper

from forge.draft import Change, Draft, Forgery, Step, step
from forge.reasons import (
    ANOTHER_ATTRIBUTE,
    ANOTHER_LAYER,
    ANOTHER_NUMBER,
    ANOTHER_OPERATOR,
    ANOTHER_WIRING,
    FILLED,
    LAYERS,
    MADE,
    NO_DATA,
    NODES,
    NOT_DERIVED,
    NOT_PLANNED,
    SIGMA,
    UNREAD,
)
from forge.smuggled import slip

PICKS = np.array([3, 1, 2, 0, 3, 3, 3, 2])
MATRICES: dict[str, tuple[tuple[Step, ...], dict[str, Any]]] = {  # in place of the one-hots, `was`
    "scaled": ((step("Mul", ["was", "k"]),), {"k": np.float32(0.37)}),
    "picked": ((step("Gather", ["was", "i"]),), {"i": PICKS}),
    "summed": ((step("CumSum", ["was", "i"]),), {"i": np.array(0)}),
    "turned": ((step("Transpose", ["was"]),), {}),
    "padded": ((step("Pad", ["was", "p"]),), {"p": np.array([3, 0, 0, 0])}),
    "as they are": ((step("Identity", ["was"]),), {}),
    "cut": ((step("Trilu", ["was", "i"]),), {"i": np.array(2)}),
    "twice": ((step("Concat", ["was", "was"], axis=0),), {}),
    "their sine": ((step("Sin", ["was"]),), {}),
}


def of_constants(draft: Draft) -> Iterator[Forgery]:
    """One-hots that are none, tables that are others', norms with numbers of their own."""
    one_hot = next(n.output[0] for n in draft.model.graph.node if n.op_type == "EyeLike")
    for what, (steps, tensors) in MATRICES.items():
        change = partial(slip, edge=one_hot, steps=steps, tensors=tensors)
        yield Forgery(one_hot, f"one-hots {what}", change, NO_DATA)
    with_data = lambda d: d.insert(  # noqa: E731
        one_hot,
        step("ReduceSum", [d.model.graph.input[0].name], "z", keepdims=0),
        step("Add", ["was", "z"]),
    )
    yield Forgery(one_hot, "one-hots and data", with_data, MADE)
    yield Forgery(one_hot, "one-hots as data", partial(_read_one_hots, name=one_hot), MADE)
    ones = partial(_exchange, old=one_hot, op="Gemm", end="made/ones")
    yield Forgery(one_hot, "a layer of ones", ones, f"{NO_DATA}|{UNREAD}")
    for name, (change, told) in _of_nodes(draft, one_hot).items():
        yield Forgery(one_hot, name, change, told, target=told != FILLED)


def _read_one_hots(draft: Draft, name: str) -> None:
    edge = draft.model.graph.output[0].name
    draft.insert(edge, step("ReduceSum", [name], "k", keepdims=0), step("Mul", ["was", "k"]))


def _exchange(draft: Draft, old: str, op: str, end: str) -> None:
    """Let the operators `op` read another tensor."""
    new = next(n.output[0] for n in draft.model.graph.node if n.output[0].startswith(end))
    for node in draft.model.graph.node:
        if node.op_type == op:
            node.input[:] = [new if name == old else name for name in node.input]


def _of_nodes(draft: Draft, one_hot: str) -> dict[str, tuple[Change, str]]:
    """Single nodes and tensors otherwise than in the target."""

    def node(op: str, change: Any) -> Change:
        return lambda d: change(next(n for n in d.model.graph.node if n.op_type == op))

    def number(key: str, value: Any) -> Any:
        return lambda n: n.attribute.append(helper.make_attribute(key, value))

    def filled(value: float) -> Any:
        held = numpy_helper.from_array(np.float32([value]))
        return lambda n: n.attribute[0].t.CopyFrom(held)

    def tensor(end: str, value: Any) -> Change:
        name = next(t.name for t in draft.model.graph.initializer if t.name.endswith(end))
        return lambda d: d.put(name, np.asarray(value, d.get(name).dtype))

    def of_doubles(node: NodeProto) -> None:
        node.attribute[0].i = TensorProto.DOUBLE

    def mean(d: Draft) -> None:
        norm = next(n for n in d.model.graph.node if n.op_type == "LayerNormalization")
        norm.output.append("mean")
        d.model.graph.output.append(helper.make_tensor_value_info("mean", 1, None))

    def gamma(d: Draft) -> None:
        norm = next(n for n in d.model.graph.node if n.op_type == "LayerNormalization")
        norm.input[1] = next(n.output[0] for n in d.model.graph.node if "/flat" in n.output[0])

    def permuted(d: Draft) -> None:
        made = next(n.input[1] for n in d.model.graph.node if n.op_type == "PRelu")
        d.insert(made, step("Gather", ["was", "i"], axis=1), i=np.array([3, 1, 0, 2]))

    norm = "LayerNormalization"
    return {
        "another diagonal": (node("EyeLike", number("k", 1)), ANOTHER_ATTRIBUTE),
        "of doubles": (
            node("EyeLike", lambda n: setattr(n.attribute[0], "i", 11)),
            ANOTHER_ATTRIBUTE,
        ),
        "more rows": (tensor("like/sizes", [40, 8]), ANOTHER_NUMBER),
        "another epsilon": (node(norm, number("epsilon", 0.37)), ANOTHER_ATTRIBUTE),
        "another axis": (node(norm, number("axis", 0)), ANOTHER_ATTRIBUTE),
        "another precision": (node(norm, number("stash_type", 11)), ANOTHER_ATTRIBUTE),
        "means as an output": (mean, ANOTHER_WIRING),
        "a table as the scale of a norm": (gamma, f"{ANOTHER_WIRING}|{UNREAD}"),
        "ones of 2": (node("ConstantOfShape", filled(2)), FILLED),
        "ones that are infinite": (node("ConstantOfShape", filled(np.inf)), ANOTHER_ATTRIBUTE),
        "another part of a table": (tensor("first/from", [4]), ANOTHER_NUMBER),
        "a table in another shape": (tensor("1x4x1x1/shape", [4, 1, 1, 1]), ANOTHER_NUMBER),
        "slopes in another order": (permuted, f"{NODES}|{ANOTHER_OPERATOR}"),
    }


def of_blocks_between(draft: Draft) -> Iterator[Forgery]:
    """A ticket of mode l+k that says to be of another mode, or of other blocks."""
    (name, size), *_ = draft.manifest["options"]["base_sizes"]
    others: dict[str, dict[str, Any]] = {
        "of mode l+1": {"mode": "l+1"},
        "of mode l+1 and no blocks": {"mode": "l+1", "base_sizes": []},
        "of mode 2l": {"mode": "2l"},
        "of no blocks": {"base_sizes": []},
        "of another m": {"base_sizes": [[name, size + 1]]},
        "of another initial scale": {"init": "kaiming"},
        "of one scale for each layer": {"sigma": "layer"},
    }
    told = f"{NOT_PLANNED}|{LAYERS}|{ANOTHER_LAYER}|{SIGMA}|{NOT_DERIVED}"
    for what, fields in others.items():
        change = lambda d, to=fields: d.manifest["options"].update(to)  # noqa: E731
        yield Forgery("options", what, change, told, target=True)
