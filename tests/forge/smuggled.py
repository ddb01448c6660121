"""Trained numbers where a proof might not look: refused, or counted, not as masks."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from forge.changes import both, edit, record
from forge.draft import Change, Draft, Forgery, Step, step
from forge.reasons import (
    ATTRIBUTE_FLOAT,
    COMPILED,
    CONSTANTS_ALONE,
    DAMAGED,
    DEFINED_TWICE,
    FOREIGN_DOMAIN,
    FOREIGN_OPTION,
    FOREIGN_SET,
    FOREIGN_TEXT,
    KEEPS_NOTHING,
    LONG_TEXT,
    MADE,
    NEWER,
    NO_ATTRIBUTE,
    NOT_DERIVED,
    OTHER_VERSION,
    SHAPES_AS_DATA,
    TOO_MANY,
    TRAINING,
    UNDECLARED,
)
from forge.wiring import dense_place

C = 10
TRAINED = np.array([7, 3, 250, 12, 0, 99, 41, 3, 8, 77])
FLOATS = np.linspace(-1, 1, C).astype(np.float32)
ONES = numpy_helper.from_array(np.float32([1]))
TEXT = base64.b64encode(np.random.default_rng(0).bytes(48_000)).decode()
ONE = np.array(1)
FILL = (step("Shape", ["was"], "n"), step("ConstantOfShape", ["n"], "ones", value=ONES))
GRID = (  # 0, 1, 2, … as floats, as many as the graph makes of its own shapes
    step("Size", ["was"], "n"),
    step("Range", ["zero", "n", "one"], "r"),
    step("Cast", ["r"], "grid", to=1),
)
LIMITS = {"zero": np.array(0), "one": np.array(1)}


def _grid(*steps: Step, **tensors: Any) -> tuple[tuple[Step, ...], dict[str, Any]]:
    return (*GRID, *steps), {**LIMITS, **tensors}


def _fill(*steps: Step, **tensors: Any) -> tuple[tuple[Step, ...], dict[str, Any]]:
    return (*FILL, *steps), tensors


def _sizes(*steps: Step, **tensors: Any) -> tuple[tuple[Step, ...], dict[str, Any]]:
    made = (step("Shape", ["was"], "n"), step("Cast", ["n"], "f", to=1))
    return (*made, *steps), tensors


MUL = step("Mul", ["was", "k"])
MADE_BY_THE_GRAPH: dict[str, tuple[tuple[tuple[Step, ...], dict[str, Any]], str]] = {
    "a range, chosen from": (
        _grid(step("Gather", ["grid", "i"], "k"), MUL, i=TRAINED),
        SHAPES_AS_DATA,
    ),
    "a range, chosen from by place": (
        _grid(step("GatherElements", ["grid", "i"], "k"), MUL, i=TRAINED),
        SHAPES_AS_DATA,
    ),
    "a range, chosen from by coordinates": (
        _grid(step("GatherND", ["grid", "i"], "k"), MUL, i=TRAINED[:, None]),
        SHAPES_AS_DATA,
    ),
    "a range, compressed": (
        _grid(step("Compress", ["grid", "i"], "k"), MUL, i=TRAINED > 8),
        SHAPES_AS_DATA,
    ),
    "a range, cut": (
        _grid(step("Slice", ["grid", "i", "j"], "k"), MUL, i=np.array([3]), j=np.array([4])),
        SHAPES_AS_DATA,
    ),
    "a range, as it is": (_grid(step("Slice", ["grid", "r", "r"], "k"), MUL), MADE),
    "a range, scaled": (_grid(step("Mul", ["grid", "s"], "k"), MUL, s=np.float32(0.1)), MADE),
    "the sine of a range": (_grid(step("Sin", ["grid"], "k"), MUL), MADE),
    "sums of ones": (_fill(step("CumSum", ["ones", "a"], "k", reverse=1), MUL, a=ONE), MADE),
    "sums of ones, chosen from": (
        _fill(
            step("CumSum", ["ones", "a"], "c"),
            step("Gather", ["c", "i"], "k", axis=1),
            MUL,
            a=ONE,
            i=TRAINED % C,
        ),
        SHAPES_AS_DATA,
    ),
    "a count of ones": (_fill(step("ReduceSum", ["ones"], "k", keepdims=0), MUL), MADE),
    "ones by twos": (
        _fill(step("Add", ["ones", "ones"], "t"), step("Div", ["ones", "t"], "k"), MUL),
        MADE,
    ),
    "ones scattered": (
        _fill(
            step("Sub", ["ones", "ones"], "z"),
            step("ScatterElements", ["z", "i", "ones"], "k", axis=1),
            MUL,
            i=TRAINED[None] % C,
        ),
        f"{SHAPES_AS_DATA}|{MADE}",
    ),
    "ones scattered by coordinates": (
        _fill(step("ScatterND", ["ones", "i", "ones"], "k"), MUL, i=TRAINED[:, None] % 2),
        SHAPES_AS_DATA,
    ),
    "ones, chosen from": (
        _fill(step("Gather", ["ones", "i"], "k", axis=1), MUL, i=TRAINED % C),
        SHAPES_AS_DATA,
    ),
    "places of ones": (
        _fill(step("NonZero", ["ones"], "z"), step("Cast", ["z"], "k", to=1), MUL),
        MADE,
    ),
    "ones shared": (_fill(step("Softmax", ["ones"], "k"), MUL), MADE),
    "the largest of ones": (
        _fill(step("ArgMax", ["ones"], "z"), step("Cast", ["z"], "k", to=1), MUL),
        MADE,
    ),
    "a unit matrix": (((step("EyeLike", ["was"], "k"), MUL), {}), MADE),
    "the sine of a shape": (_sizes(step("Sin", ["f"], "k"), MUL), MADE),
    "a shape, chosen from": (
        _sizes(step("Gather", ["f", "i"], "k"), MUL, i=TRAINED % 2),
        SHAPES_AS_DATA,
    ),
    "a filled size": (
        (
            (
                step("ConstantOfShape", ["i"], "t", value=ONES),
                step("ReduceSum", ["t"], "k", keepdims=0),
                MUL,
            ),
            {"i": np.array([300])},
        ),
        f"{MADE}|{CONSTANTS_ALONE}",
    ),
}


def of_smuggled(draft: Draft) -> Iterator[Forgery]:
    """What no ticket has, target or none."""
    edge = draft.model.graph.output[0].name
    for what, ((steps, tensors), told) in MADE_BY_THE_GRAPH.items():
        yield Forgery(edge, what, partial(_slip, edge=edge, steps=steps, tensors=tensors), told)
    for what, (steps, told) in OPERATORS.items():
        yield Forgery(edge, what, partial(_slip, edge=edge, steps=steps, tensors=KINDS), told)
    for what, (change, told) in {**FILES, **OPTIONS}.items():
        yield Forgery("file", what, change, told, target=told == OTHER_VERSION)
    number = next(n for n, layer in enumerate(draft.layers) if not layer["block"])
    weight = draft.layers[number]["weight"]
    yield Forgery(
        weight, "a layer that keeps nothing", partial(_empty, number=number), KEEPS_NOTHING
    )
    said = partial(_set_option, name="sigma", value="layer")
    yield Forgery("options", "one scale per layer, says it", said, f"several scales|{NOT_DERIVED}")


KINDS = {"no": np.array(False), "yes": np.array(True), "w": FLOATS}
OPERATORS: dict[str, tuple[tuple[Step, ...], str]] = {
    "whole numbers in a Relu": ((step("Relu", ["was"], secret=TRAINED.tolist()),), NO_ATTRIBUTE),
    "texts in a Relu": ((step("Relu", ["was"], secret=["0.1", "0.2"]),), NO_ATTRIBUTE),
    "a text in a Neg": ((step("Neg", ["was"], secret="0.1"),), NO_ATTRIBUTE),
    "a number for whole ones": ((step("Flatten", ["was"], axis=0.37),), NO_ATTRIBUTE),
    "whole numbers for one": ((step("Softmax", ["was"], axis=[1, 0, 1]),), NO_ATTRIBUTE),
    "a second input of a Relu": ((step("Relu", ["was", "was"]),), TOO_MANY),
    "Dropout while training": ((step("Dropout", ["was", "", "yes"], seed=3),), TRAINING),
    "Dropout of data": (
        (step("Cast", ["was"], "c", to=9), step("Dropout", ["was", "", "c"])),
        TRAINING,
    ),
    "an operator that is newer": ((step("Swish", ["was"], alpha=0.3),), NEWER),
    "an operator of nobody": ((step("Forget", ["was"]),), NEWER),
    "an operator of somebody": ((step("Relu", ["was"], domain="own"),), FOREIGN_DOMAIN),
    "a compiled network": (
        (step("EPContext", ["was"], domain="com.microsoft", ep_cache_context="x" * 999),),
        COMPILED,
    ),
    "moments of the batch": (
        (step("BatchNormalization", ["was", "w", "w", "w", "w"], training_mode=1),),
        f"{TRAINING}|{UNDECLARED}",
    ),
}


def _slip(draft: Draft, edge: str, steps: tuple[Step, ...], tensors: dict[str, Any]) -> None:
    read = {name for made in steps for name in made.inputs}
    held = {name: value for name, value in tensors.items() if name in read}
    draft.insert(edge, *steps, **held)
    draft.declare(*[k for k, v in held.items() if np.asarray(v).dtype == np.float32])


def _empty(draft: Draft, number: int) -> None:
    name = draft.numbers(draft.layers[number])
    both(edit(name, lambda array: array * 0), record(number, kept=0))(draft)


def _set_option(draft: Draft, name: str, value: Any) -> None:
    draft.manifest["options"][name] = value


def _entry(key: str, text: str) -> Change:
    return lambda d: d.model.metadata_props.add(key=key, value=text)


def _input_with_default(draft: Draft) -> None:
    name = draft.layers[0]["scale"]
    shape = list(draft.shape(name))
    draft.model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def _name_a_node(draft: Draft, size: int) -> None:
    draft.model.graph.node[-1].name = TEXT[:size]


def _name_an_axis(draft: Draft, size: int) -> None:
    draft.model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = TEXT[:size]


def _label(draft: Draft, **values: Any) -> None:
    """Data made whole and looked up in a table, which is declared dense."""
    edge = draft.model.graph.output[0].name
    table = step("LabelEncoder", ["i"], "j", domain="ai.onnx.ml", keys_int64s=[*range(C)], **values)
    first, last = step("Cast", ["was"], "i", to=TensorProto.INT64), step("Cast", ["j"], to=1)
    draft.insert(edge, first, table, last)
    del draft.model.opset_import[1:]  # surgery has added one, of a version of its own
    draft.model.opset_import.add(domain="ai.onnx.ml", version=3)
    draft.manifest["dense"].append(dense_place("forged/j", "LabelEncoder", 0))


FILES: dict[str, tuple[Change, str]] = {
    "a table of labels": (partial(_label, values_floats=FLOATS.tolist()), ATTRIBUTE_FLOAT),
    "64 kB of text in metadata": (_entry("notes", TEXT), FOREIGN_TEXT),
    "a key for each number": (
        lambda d: [d.model.metadata_props.add(key=f"{n}", value="") for n in TRAINED[:3]],
        FOREIGN_TEXT,
    ),
    "a long name of a node": (partial(_name_a_node, size=9000), LONG_TEXT),
    "a long name of an axis": (partial(_name_an_axis, size=9000), LONG_TEXT),
    "a long name of the graph": (lambda d: setattr(d.model.graph, "name", TEXT[:9000]), LONG_TEXT),
    "a text for its maker": (lambda d: setattr(d.model, "producer_name", TEXT[:99]), FOREIGN_TEXT),
    "a long text for its version": (
        lambda d: setattr(d.model, "producer_version", TEXT[:9000]),
        LONG_TEXT,
    ),
    "an input with a default": (_input_with_default, DEFINED_TWICE),
    "an operator set of nobody yet": (
        lambda d: setattr(d.model.opset_import[0], "version", 9999),
        "is newer than",
    ),
    "an operator set of somebody": (
        lambda d: d.model.opset_import.add(domain="own.numbers", version=7),
        FOREIGN_SET,
    ),
}
OPTIONS: dict[str, tuple[Change, str]] = {
    "prices of no layer": (
        partial(_set_option, name="prices", value=[[f"w{n}", n / 1000] for n in TRAINED]),
        FOREIGN_OPTION,
    ),
    "base sizes of no layer": (
        partial(_set_option, name="base_sizes", value=[["w", 7]]),
        FOREIGN_OPTION,
    ),
    "a text for a version": (lambda d: d.manifest.update(version="0.7, 0.3"), DAMAGED),
    "a target's name of 9 kB": (lambda d: d.manifest.update(target_name=TEXT[:9000]), DAMAGED),
    "another version": (lambda d: d.manifest.update(version="9.9.9"), OTHER_VERSION),
}


# what a graph may have, and what it then counts ------------------------------------------------


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
            _slip(draft, edge, steps, tensors)
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
            partial(_label, values_int64s=TRAINED.tolist()), "attributes", 100
        ),
        "a turn": Counted(slipped(step("Transpose", ["was"], perm=[0, 1])), "attributes", 3),
    }


def _in_texts(draft: Draft) -> dict[str, Counted]:
    """Names, options, and a univariate layer that says it is none."""
    number = [n for n, layer in enumerate(draft.layers) if layer["block"]][-1]
    return {
        "a name": Counted(partial(_name_a_node, size=900), "texts", 5000),
        "a name of an axis": Counted(partial(_name_an_axis, size=300), "texts", 1500),
        "a target's name": Counted(
            lambda d: d.manifest.update(target_name=TEXT[:500]), "texts", 2500, with_target=True
        ),
        "a price": Counted(
            partial(_set_option, name="price", value=0.0123456789), "integers", 64, True
        ),
        "a tolerance": Counted(
            partial(_set_option, name="tolerance", value=0.123456789), "integers", 64, True
        ),
        "a promise": Counted(
            partial(_set_option, name="sqnr", value=12.3456789), "integers", 64, True
        ),
        "a layer of free neurons": Counted(
            both(
                partial(_unblock, number=number),
                edit(
                    draft.layers[number]["scale"],
                    lambda a: a * np.linspace(1, 3, a.size, dtype=np.float32).reshape(a.shape),
                ),
            ),
            "scales",
            23 * int(np.count_nonzero(draft.get(draft.layers[number]["scale"]))),
        ),
    }


def _unblock(draft: Draft, number: int) -> None:
    """Say of a univariate layer that it is a constructed one."""
    draft.layers[number]["block"] = None
