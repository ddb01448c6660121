"""What a graph may have that no seed fixes: it passes without the target, and is counted."""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from forge.changes import both, edit
from forge.draft import Change, Draft, Step, step
from forge.smuggled import (
    FILL,
    FLOATS,
    MUL,
    ONE,
    TEXT,
    TRAINED,
    C,
    gather,
    label,
    name_a_node,
    name_an_axis,
    set_option,
    slip,
)
from forge.wiring import dense_place

GRID_OF_ONES = (*FILL, step("CumSum", ["ones", "a"], "grid"))


@dataclass(frozen=True)
class Counted:
    """A change that passes without the target: in what its bits are, and how many at least."""

    change: Change
    where: str
    bits: int
    with_target: bool = False  # it passes there too: nothing of it is planned


def counted(draft: Draft) -> dict[str, Counted]:
    """What the proof lets pass without a target, by what it is."""
    return {**_in_the_graph(draft), **_in_texts(draft)}


def _in_the_graph(draft: Draft) -> dict[str, Counted]:
    """Selections, attributes, scalars, dense places, operators."""
    edge = draft.model.graph.output[0].name

    def slipped(*steps: Step, dense: tuple[str, str, int] | None = None, **tensors: Any) -> Change:
        def change(draft: Draft) -> None:
            slip(draft, edge, steps, tensors)
            if dense is not None:
                draft.manifest["dense"].append(dense_place(*dense))

        return change

    chain = [step("Relu", [f"x{n}" if n else "was"], f"x{n + 1}") for n in range(19)]
    twice = [step("Add", [f"x{n}" if n else "was"] * 2, f"x{n + 1}") for n in range(9)]
    square = np.outer(FLOATS, FLOATS + 2).astype(np.float32) + np.eye(C, dtype=np.float32)
    return {
        "a selection": Counted(
            slipped(step("Gather", ["was", "i"], axis=1), i=TRAINED % C), "indices", 30
        ),
        "weights of whole numbers": Counted(
            slipped(
                step("Gather", ["was", "i"], "g", axis=1),
                step("Reshape", ["g", "s"], "r"),
                step("ReduceMax", ["r"], axes=[2], keepdims=0),
                i=np.tile(TRAINED % C, 10),
                s=np.array([-1, C, C]),
            ),
            "indices",
            300,
        ),
        "bounds of a HardSigmoid": Counted(
            slipped(step("HardSigmoid", ["was"], alpha=0.21, beta=0.37)), "attributes", 64
        ),
        "a slope": Counted(slipped(step("LeakyRelu", ["was"], alpha=0.37)), "attributes", 32),
        "a trained scalar": Counted(
            slipped(step("Mul", ["was", "k"]), k=np.float32(0.37)), "dense", 32
        ),
        "trained bounds": Counted(
            slipped(step("Clip", ["was", "k", "l"]), k=np.float32(-0.37), l=np.float32(3.7)),
            "dense",
            64,
        ),
        "a number for every channel": Counted(
            slipped(step("Mul", ["was", "k"]), k=FLOATS, dense=("forged/now", "Mul", C)),
            "dense",
            32 * C,
        ),
        "a whole classifier": Counted(
            slipped(step("MatMul", ["was", "k"]), k=square, dense=("forged/now", "MatMul", C * C)),
            "dense",
            32 * 50,
        ),
        "padding": Counted(
            slipped(step("Pad", ["was", "p"]), p=np.array([0, 0, 0, 5])), "integers", 3
        ),
        "a cut": Counted(
            slipped(step("Slice", ["was", "p", "q"]), p=np.array([0]), q=np.array([77])),
            "integers",
            7,
        ),
        "a chain of operators": Counted(slipped(*chain, step("Neg", ["x19"])), "attributes", 19),
        "doublings": Counted(slipped(*twice, step("Neg", ["x9"])), "attributes", 18),
        "a table of whole labels": Counted(
            partial(label, values_int64s=TRAINED.tolist()), "attributes", 100
        ),
        "a turn": Counted(slipped(step("Transpose", ["was"], perm=[0, 1])), "attributes", 3),
        "signs of zeros": Counted(
            slipped(
                step("Exp", ["was"], "e"),
                step("Unsqueeze", ["e", "one"], "u"),
                step("Mul", ["u", "k"], "p"),
                step("Reciprocal", ["p"], "q"),
                step("ReduceMax", ["q"], axes=[2], keepdims=0),
                k=np.where(square > 0.2, np.float32(-0.0), np.float32(0)),
                one=ONE.reshape(1),
                dense=("forged/p", "Mul", C * C),
            ),
            "dense",
            C * C,
        ),
        "which part where": Counted(_permute, "attributes", round(40 * math.log2(C))),
        "sizes of nothing": Counted(
            partial(
                gather,
                tensor=TensorProto(
                    name="i", data_type=7, dims=[0, *(16 + TRAINED[:5] % 16)], raw_data=b""
                ),
            ),
            "integers",
            5 * 5,
        ),
        "sizes of an output": Counted(_another_rank, "integers", 5 * 30),
        "which axis has which name": Counted(
            partial(_axes, kinds=[{"dim_param": name} for name in "abcdefghijklmnop"]),
            "integers",
            200 * 4,
        ),
        "which axis has no size, and which none is said of": Counted(
            partial(_axes, kinds=[{}, {"dim_value": 0}, {"dim_param": "n"}]),
            "integers",
            round(200 * math.log2(3)),
        ),
        "where a grid is cut": Counted(
            slipped(
                *GRID_OF_ONES,
                step("Less", ["grid", "k"], "c"),
                step("Cast", ["c"], "m", to=1),
                step("Mul", ["was", "m"]),
                a=np.array(1),
                k=np.float32(4.5),
            ),
            "dense",
            32,
        ),
        "places that are computed": Counted(
            slipped(
                *GRID_OF_ONES,
                step("Sub", ["n", "n"], "d"),
                step("ReduceSum", ["d"], "z", keepdims=0),
                step("Add", ["z", "i"], "j"),
                step("Gather", ["grid", "j"], "m", axis=1),
                step("Mul", ["was", "m"]),
                a=np.array(1),
                i=TRAINED % C,
                dense=("forged/now", "Mul", 0),
            ),
            "integers",
            30,
        ),
        "sizes of an input": Counted(_another_input, "integers", 20),
        "what inputs stand for": Counted(_inputs, "integers", 200),
        "which inputs are outputs": Counted(_outputs, "integers", 200),
        "the length of an order": Counted(_longer_order, "integers", 8),
    }


def _permute(draft: Draft) -> None:
    """Channels split apart and put together in a trained order, some often."""
    parts = [f"part{n}" for n in range(C)]
    order = [*parts, *(parts[n % C] for n in np.tile(TRAINED, 3))]
    edge = draft.model.graph.output[0].name
    joined = step("Concat", order, "all", axis=1)
    draft.insert(edge, step("Split", ["was"], parts[0], axis=1), joined, step("Abs", ["all"]))
    draft.maker(parts[0]).output.extend(parts[1:])


def _another_rank(draft: Draft) -> None:
    """Sizes of an output, which nothing reads."""
    shape = draft.model.graph.output[0].type.tensor_type.shape
    for number in TRAINED[:5]:
        shape.dim.add(dim_value=(1 << 20) + int(number))


def _axes(draft: Draft, kinds: list[dict[str, Any]]) -> None:
    """Axes of an output, which nothing reads, of some kinds by turns that are trained."""
    shape = draft.model.graph.output[0].type.tensor_type.shape
    for number in np.random.default_rng(0).integers(len(kinds), size=200):
        shape.dim.add(**kinds[number])


def _another_input(draft: Draft) -> None:
    """A second input, of which only the sizes are read."""
    port = helper.make_tensor_value_info("more", TensorProto.FLOAT, [0, 700, 900])
    draft.model.graph.input.append(port)
    made = [step("Shape", ["more"], "n"), step("Cast", ["n"], "f", to=1)]
    draft.insert(draft.model.graph.output[0].name, *made, step("ReduceMax", ["f"], "k"), MUL)


def _inputs(draft: Draft) -> None:
    """Inputs that nothing reads, of some kinds by turns that are trained."""
    for number, kind in enumerate(np.random.default_rng(0).integers(4, size=100)):
        port = helper.make_tensor_value_info(f"more{number}", TensorProto.FLOAT, [])
        port.type.denotation = "ABCD"[kind]
        draft.model.graph.input.append(port)


def _outputs(draft: Draft) -> None:
    """Inputs that are put out again, in an order that is trained."""
    for number in range(100):
        port = helper.make_tensor_value_info(f"more{number}", TensorProto.FLOAT, [])
        draft.model.graph.input.append(port)
    for number in np.random.default_rng(0).permutation(100)[:50]:
        draft.model.graph.output.append(draft.model.graph.input[1 + int(number)])


def _longer_order(draft: Draft) -> None:
    """More neurons put into slots than are read on."""
    order = next(layer["block"]["order"] for layer in draft.layers if layer["block"])
    held = draft.get(order)
    draft.replace(order, np.concatenate([held, np.repeat(held[-1], 5000)]))
    edge = draft.reader(order).output[0]
    cut = step("Slice", ["was", "begin", "end", "axis"])
    draft.insert(edge, cut, begin=np.array([0]), end=np.array([len(held)]), axis=np.array([1]))


def _in_texts(draft: Draft) -> dict[str, Counted]:
    """Names, options, and a univariate layer that says it is none."""
    number = [n for n, layer in enumerate(draft.layers) if layer["block"]][-1]
    return {
        "a name": Counted(partial(name_a_node, size=900), "texts", 5000),
        "a name of an axis": Counted(partial(name_an_axis, size=300), "texts", 1500),
        "a target's name": Counted(
            lambda d: d.manifest.update(target_name=TEXT[:500]), "texts", 2500, with_target=True
        ),
        "a price": Counted(
            partial(set_option, name="price", value=0.0123456789), "integers", 64, True
        ),
        "a tolerance": Counted(
            partial(set_option, name="tolerance", value=0.123456789), "integers", 64, True
        ),
        "a promise": Counted(
            partial(set_option, name="sqnr", value=12.3456789), "integers", 64, True
        ),
        "a layer of free neurons": Counted(
            both(
                partial(_unblock, number=number),
                edit(
                    draft.layers[number]["scale"],
                    lambda a: a * np.linspace(1, 3, a.size, dtype=np.float32).reshape(a.shape),
                ),
                Draft.comment,
            ),
            "scales",
            23 * int(np.count_nonzero(draft.get(draft.layers[number]["scale"]))),
        ),
    }


def _unblock(draft: Draft, number: int) -> None:
    """Say of a univariate layer that it is a constructed one."""
    draft.layers[number]["block"] = None
