"""Trained numbers where a proof might not look: refused, or counted, not as masks."""

import base64
from collections.abc import Iterator
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
    DENSE_SIZE,
    FOREIGN_DOMAIN,
    FOREIGN_FIELD,
    FOREIGN_OPTION,
    FOREIGN_SET,
    FOREIGN_TEXT,
    KEEPS_NOTHING,
    LONG_TEXT,
    MADE,
    NEWER,
    NO_ATTRIBUTE,
    NO_SET,
    NO_TENSOR,
    NO_TRUTH,
    NO_TYPE,
    NOT_DERIVED,
    OLD_IR,
    OTHER_FORMS,
    OTHER_LOSS,
    OTHER_NAME,
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
        yield Forgery(edge, what, partial(slip, edge=edge, steps=steps, tensors=tensors), told)
    for what, (steps, told) in OPERATORS.items():
        yield Forgery(edge, what, partial(slip, edge=edge, steps=steps, tensors=KINDS), told)
    for what, (change, told) in {**FILES, **OPTIONS}.items():
        yield Forgery("file", what, change, told, target=told == OTHER_VERSION)
    for what, (change, told) in TARGETS.items():
        yield Forgery("file", what, change, told, target=True)
    for what, (tensor, told) in TENSORS.items():
        yield Forgery(edge, what, partial(gather, tensor=tensor), told)
    number = next(n for n, layer in enumerate(draft.layers) if not layer["block"])
    weight = draft.layers[number]["weight"]
    yield Forgery(
        weight, "a layer that keeps nothing", partial(_empty, number=number), KEEPS_NOTHING
    )
    yield Forgery("file", "a ticket that keeps nothing", _all_empty, KEEPS_NOTHING)
    said = partial(set_option, name="sigma", value="layer")
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


BYTES = bytes(TRAINED.astype(np.uint8))
TENSORS: dict[str, tuple[TensorProto, str]] = {  # initializers "i", to gather by
    "sizes of nothing": (
        TensorProto(name="i", data_type=7, dims=[0, *(2**50 + TRAINED[:5])]),
        NO_TENSOR,
    ),
    "sizes past 64 bits": (TensorProto(name="i", data_type=7, dims=[0, 2**62, 2**62]), NO_TENSOR),
    "bytes of truth values": (
        TensorProto(name="i", data_type=9, dims=[C], raw_data=BYTES),
        NO_TRUTH,
    ),
}


def gather(draft: Draft, tensor: TensorProto) -> None:
    """Data gathered by a tensor of any size, and what size that was."""
    made = [
        step("Shape", ["g"], "n"),
        step("Cast", ["n"], "f", to=1),
        step("ReduceSum", ["f"], "k"),
    ]
    draft.insert(
        draft.model.graph.output[0].name, step("Gather", ["was", "i"], "g", axis=1), *made, MUL
    )
    if not tensor.raw_data:
        tensor.raw_data = b""
    draft.model.graph.initializer.append(tensor)


def slip(draft: Draft, edge: str, steps: tuple[Step, ...], tensors: dict[str, Any]) -> None:
    read = {name for made in steps for name in made.inputs}
    held = {name: value for name, value in tensors.items() if name in read}
    draft.insert(edge, *steps, **held)
    draft.declare(*[k for k, v in held.items() if np.asarray(v).dtype == np.float32])


def _empty(draft: Draft, number: int) -> None:
    name = draft.numbers(draft.layers[number])
    both(edit(name, lambda array: array * 0), record(number, kept=0))(draft)


def _all_empty(draft: Draft) -> None:
    for number, layer in enumerate(draft.layers):
        if not layer["block"]:
            _empty(draft, number)
            edit(layer["scale"], lambda array: array * 0)(draft)


def set_option(draft: Draft, name: str, value: Any) -> None:
    draft.manifest["options"][name] = value


def _price_layers(draft: Draft, order: int = 1, times: int = 1) -> None:
    """Prices of layers that there are, in an order that says something, or again and again."""
    readers = [draft.reader(layer["weight"]) for layer in draft.layers if not layer["block"]]
    names = sorted(node.name for node in readers)[::order]
    set_option(draft, "prices", [[name, 0] for name in names for _ in range(times)])


def _foreign_operator(draft: Draft) -> None:
    edge = draft.model.graph.output[0].name
    draft.insert(edge, step("QuickGelu", ["was"], domain="com.microsoft"))
    del draft.model.opset_import[1:]  # surgery has added one
    draft.manifest["dense"].append(dense_place("forged/now", "QuickGelu", 0))


def _dense_namesakes(draft: Draft) -> None:
    """Two operators without parameters and of one name, declared with trained ones."""
    edge = draft.model.graph.output[0].name
    draft.insert(edge, step("Relu", ["was"], "r"), step("Relu", ["r"]))
    for node in draft.model.graph.node:
        if node.output[0] in ("forged/r", edge):
            node.name = "alike"
    for number in TRAINED[:2]:
        draft.manifest["dense"].append(dense_place("alike", "Relu", int(number)))


def _mask_one(draft: Draft) -> None:
    """One layer with its mask beside its source, among layers that are masked."""
    layer = draft.layers[-1]
    name = layer["weight"]
    held = draft.get(name)
    draft.drop(name)
    draft.add(f"{name}/mask", (held != 0).astype(np.uint8))
    layer["stored"] = "folded"
    draft.add(f"{name}/source", np.zeros(held.shape, np.float32))
    drawn = draft.source({**layer, "stored": "masked"})
    draft.replace(f"{name}/source", drawn.reshape(held.shape))
    layer["stored"] = "masked"
    cast = helper.make_node("Cast", [f"{name}/mask"], [f"{name}/mask_cast"], to=1)
    mask = helper.make_node("Mul", [f"{name}/source", f"{name}/mask_cast"], [name])
    nodes = [cast, mask, *draft.model.graph.node]
    del draft.model.graph.node[:]
    draft.model.graph.node.extend(nodes)


def _lengthen(draft: Draft, of: str) -> None:
    """Say in every block what says the same in more bits."""
    for block in [layer["block"] for layer in draft.layers if layer["block"]]:
        constants = block["constants"] or {"values": []}
        match of:
            case "gain":
                block["gain"] *= 1 + 1e-12
            case "values":
                constants["values"] = [[at, v * (1 + 1e-12)] for at, v in constants["values"]]
            case "reads":
                block["reads"] = [[at + n, 1] for at, count in block["reads"] for n in range(count)]


def _entry(key: str, text: str) -> Change:
    return lambda d: d.model.metadata_props.add(key=key, value=text)


def _exchange_comments(draft: Draft) -> None:
    first, second = (draft.reader(layer["weight"]) for layer in draft.layers[:2])
    first.doc_string, second.doc_string = second.doc_string, first.doc_string


def _input_with_default(draft: Draft) -> None:
    name = draft.layers[0]["scale"]
    shape = list(draft.shape(name))
    draft.model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))


def name_a_node(draft: Draft, size: int) -> None:
    draft.model.graph.node[-1].name = TEXT[:size]


def name_an_axis(draft: Draft, size: int) -> None:
    draft.model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = TEXT[:size]


def label(draft: Draft, **values: Any) -> None:
    """Data made whole and looked up in a table, which is declared dense."""
    edge = draft.model.graph.output[0].name
    table = step("LabelEncoder", ["i"], "j", domain="ai.onnx.ml", keys_int64s=[*range(C)], **values)
    first, last = step("Cast", ["was"], "i", to=TensorProto.INT64), step("Cast", ["j"], to=1)
    draft.insert(edge, first, table, last)
    del draft.model.opset_import[1:]  # surgery has added one, of a version of its own
    draft.model.opset_import.add(domain="ai.onnx.ml", version=3)
    draft.manifest["dense"].append(dense_place("forged/j", "LabelEncoder", 0))


FILES: dict[str, tuple[Change, str]] = {
    "a table of labels": (partial(label, values_floats=FLOATS.tolist()), ATTRIBUTE_FLOAT),
    "64 kB of text in metadata": (_entry("notes", TEXT), FOREIGN_TEXT),
    "a key for each number": (
        lambda d: [d.model.metadata_props.add(key=f"{n}", value="") for n in TRAINED[:3]],
        FOREIGN_TEXT,
    ),
    "a long name of a node": (partial(name_a_node, size=9000), LONG_TEXT),
    "a long name of an axis": (partial(name_an_axis, size=9000), LONG_TEXT),
    "a long name of the graph": (lambda d: setattr(d.model.graph, "name", TEXT[:9000]), LONG_TEXT),
    "a text for its maker": (lambda d: setattr(d.model, "producer_name", TEXT[:99]), FOREIGN_TEXT),
    "a long text for its version": (
        lambda d: setattr(d.model, "producer_version", TEXT[:9000]),
        LONG_TEXT,
    ),
    "dense namesakes": (_dense_namesakes, DENSE_SIZE),
    "a comment at a Relu": (
        lambda d: setattr(d.model.graph.node[2], "doc_string", TEXT[:300]),
        FOREIGN_FIELD,
    ),
    "comments of other layers": (_exchange_comments, FOREIGN_FIELD),
    "comments of some layers": (
        lambda d: d.reader(d.layers[0]["weight"]).ClearField("doc_string"),
        FOREIGN_FIELD,
    ),
    "comments without the graph's": (
        lambda d: d.model.graph.ClearField("doc_string"),
        FOREIGN_FIELD,
    ),
    "an input with a default": (_input_with_default, DEFINED_TWICE),
    "two forms of layers": (_mask_one, OTHER_FORMS),
    "an output of no type": (
        lambda d: setattr(d.model.graph.output[0].type.tensor_type, "elem_type", 12345678),
        NO_TYPE,
    ),
    "inputs of no type": (
        lambda d: [
            d.model.graph.input.append(helper.make_tensor_value_info(f"i{n}", int(n) + 100, [1]))
            for n in TRAINED
        ],
        f"{NO_TYPE}|{DEFINED_TWICE}",
    ),
    "an IR of nobody yet": (lambda d: setattr(d.model, "ir_version", 2**61 + 77), OLD_IR),
    "an operator of a set that is not named": (_foreign_operator, NO_SET),
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
        partial(
            set_option,
            name="prices",
            value=sorted([f"w{n}", n / 1000] for n in {*TRAINED.tolist()}),
        ),
        FOREIGN_OPTION,
    ),
    "base sizes of no layer": (
        partial(set_option, name="base_sizes", value=[["w", 7]]),
        FOREIGN_OPTION,
    ),
    "a text for a version": (lambda d: d.manifest.update(version="0.7, 0.3"), DAMAGED),
    "a target's name of 9 kB": (lambda d: d.manifest.update(target_name=TEXT[:9000]), DAMAGED),
    "another version": (lambda d: d.manifest.update(version="9.9.9"), OTHER_VERSION),
    "gains of doubles": (partial(_lengthen, of="gain"), DAMAGED),
    "constants of doubles": (partial(_lengthen, of="values"), DAMAGED),
    "runs of inputs in pieces": (partial(_lengthen, of="reads"), DAMAGED),
    "prices out of order": (partial(_price_layers, order=-1), DAMAGED),
    "300 prices of few layers": (partial(_price_layers, times=99), DAMAGED),
    "names out of order": (lambda d: d.manifest.update(parameters=["b", "a"]), DAMAGED),
}
TARGETS: dict[str, tuple[Change, str]] = {  # what only the target shows
    "a name for the graph": (lambda d: setattr(d.model.graph, "name", TEXT[:2000]), OTHER_NAME),
    "a version for its maker": (
        lambda d: setattr(d.model, "producer_version", TEXT[:2000]),
        OTHER_NAME,
    ),
    "a text for lost constants": (
        lambda d: d.manifest.update(fresh=sorted(TEXT[n : n + 2000] for n in range(0, 9000, 2000))),
        OTHER_LOSS,
    ),
}
