"""Seeded and collapsed tickets: what stands behind a generator, and what sums are said to be of."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from forge.draft import Change, Draft, Forgery
from forge.reasons import (
    ANOTHER_BLOCK,
    DAMAGED,
    LONG_TEXT,
    MADE_TWICE,
    NO_SCALE,
    NO_SUM,
    NOT_ADDED,
    NOT_JOINED,
    NOT_LOWERED,
    NOT_THE_GENERATORS,
    NOTHING_MAKES,
    ON_PADDING,
    OTHER_COLLAPSE,
    OTHER_SIGN,
    TOO_LARGE,
    TWICE_MADE,
)
from forge.smuggled import TEXT
from forge.wiring import dense_place

FLOATS = np.linspace(-1, 1, 10).astype(np.float32)


def made_by(draft: Draft, end: str) -> onnx.NodeProto:
    """The node whose output's name ends so."""
    return next(n for n in draft.model.graph.node if n.output and n.output[0].endswith(end))


def _tensor(draft: Draft, end: str) -> str:
    return next(t.name for t in draft.model.graph.initializer if t.name.endswith(end))


def _input(draft: Draft, name: str, shape: tuple[int, ...] = (1,)) -> None:
    port = helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
    draft.model.graph.input.append(port)


def _given_input(draft: Draft, end: str) -> None:
    """An input that a user may give in place of a tensor that the generator reads."""
    held = draft.proto(_tensor(draft, end))
    port = helper.make_tensor_value_info(held.name, held.data_type, list(held.dims))
    draft.model.graph.input.append(port)


def _parameter(draft: Draft, name: str) -> None:
    """A dense parameter that is called as what the generator makes."""
    edge = draft.model.graph.output[0].name
    draft.maker(edge).output[0] = "was"
    node = helper.make_node("Mul", ["was", name], [edge], "forged/now")
    draft.model.graph.node.append(node)
    draft.add(name, FLOATS)
    draft.declare(name)
    draft.manifest["dense"].append(dense_place("forged/now", "Mul", len(FLOATS)))


def of_seeded(draft: Draft) -> Iterator[Forgery]:
    """What stands beside a generator under a name of its own, and what it is said to make."""
    cases: dict[str, tuple[Change, str]] = {
        "an input in place of a constant": (partial(_given_input, end="draw/m0"), TWICE_MADE),
        "an input in place of codes": (partial(_given_input, end="weight/codes"), TWICE_MADE),
        "an input called as numbers": (partial(_input, name="draw/units"), TWICE_MADE),
        "an input called as a weight": (
            partial(_input, name=draft.layers[0]["weight"]),
            f"{TWICE_MADE}|is defined",
        ),
        "a parameter called as numbers": (partial(_parameter, name="draw/units"), TWICE_MADE),
        "a parameter called as a counter": (partial(_parameter, name="draw/3/c2"), TWICE_MADE),
        "another seed": (lambda d: d.manifest.update(seed=7), NOT_THE_GENERATORS),
        "a seed of 33 bits": (lambda d: d.manifest.update(seed=1 << 32), NOT_THE_GENERATORS),
        "layers exchanged": (_exchange_layers, NOT_THE_GENERATORS),
        "mirror images": (lambda d: d.layers[-1].update(mirror_columns=1), NOT_THE_GENERATORS),
        "another deviation": (lambda d: d.layers[-1].update(sigma=0.5), NOT_THE_GENERATORS),
        "in half precision": (lambda d: d.layers[-1].update(half=True), NOT_THE_GENERATORS),
        "one layer that is no generator's": (
            lambda d: d.layers[-1].update(stored="folded"),
            "are not all seeded",
        ),
        "a slope without sums": (lambda d: d.deployed.update(slope=0.37), "has a slope"),
        "another set": (lambda d: d.deployed.update(opset=19), "its operator set or IR version"),
        "another IR": (lambda d: d.deployed.update(ir_version=99), "its operator set or IR"),
        "a digest more": (lambda d: d.deployed["digests"].append("0" * 16), "digest"),
        "digests exchanged": (lambda d: d.deployed["digests"].reverse(), "were changed after"),
        "a text for a digest": (lambda d: d.deployed.update(digests=["x" * 16]), DAMAGED),
        "a slope of -0.0": (lambda d: d.deployed.update(slope=-0.0), DAMAGED),
        "a weight called as numbers": (partial(rename_layer, name="draw/units"), MADE_TWICE),
        "a weight called as a mask": (
            lambda d: rename_layer(d, f"{d.layers[0]['weight']}/mask"),
            MADE_TWICE,
        ),
        "a node that makes nothing": (_make_nothing, "makes nothing"),
        "numbers after the generator": (_more_numbers, NOTHING_MAKES),
        "2^30 biases": (_many_biases, NO_SCALE),
    }
    for what, (change, told) in cases.items():
        yield Forgery("seeded", what, change, told)


def rename_layer(draft: Draft, name: str) -> None:
    """Another name for the last layer's weight, in the graph and in what is said of it."""
    old = draft.layers[-1]["weight"]

    def renamed(said: Any) -> Any:
        if isinstance(said, str) and (said == old or said.startswith(f"{old}/")):
            return name + said[len(old) :]
        if isinstance(said, dict):
            return {key: renamed(value) for key, value in said.items()}
        return [renamed(value) for value in said] if isinstance(said, list) else said

    for node in draft.model.graph.node:
        node.input[:], node.output[:] = renamed([*node.input]), renamed([*node.output])
    for tensor in draft.model.graph.initializer:
        tensor.name = renamed(tensor.name)
    draft.manifest, draft.deployed = renamed(draft.manifest), renamed(draft.deployed)


def _make_nothing(draft: Draft) -> None:
    """A node without outputs, which a runtime would not take, and numbers in its attributes."""
    node = draft.model.graph.node.add(op_type="Relu", name="nothing")
    node.input.append(draft.model.graph.output[0].name)
    node.attribute.append(helper.make_attribute("secret", list(range(1000))))


def _exchange_layers(draft: Draft) -> None:
    draft.manifest["layers"] = draft.layers[::-1]


def _more_numbers(draft: Draft) -> None:
    """The generator's random numbers, read by the network too."""
    edge = draft.model.graph.output[0].name
    draft.maker(edge).output[0] = "was"
    draft.model.graph.node.append(helper.make_node("Mul", ["was", "draw/units"], [edge], "more"))


def _many_biases(draft: Draft) -> None:
    layer = next(layer for layer in draft.layers if layer["bias"])
    layer["shape"] = [1 << 30, *[1] * (len(layer["shape"]) - 1)]


def of_softmax(draft: Draft) -> Iterator[Forgery]:
    """A Softmax of an operator set before 13, written in a later one."""

    def axis(draft: Draft) -> None:
        made_by(draft, "/along").attribute[0].i = 2

    def unflattened(draft: Draft) -> None:
        along, whole = made_by(draft, "/along"), made_by(draft, "/along").output[0]
        reshape = next(node for node in draft.model.graph.node if whole in node.input)
        flat, shape = made_by(draft, along.input[0]), made_by(draft, reshape.input[1])
        along.input[0], along.output[0], along.name = flat.input[0], reshape.output[0], reshape.name
        for node in (flat, shape, reshape):
            draft.model.graph.node.remove(node)

    def read_again(draft: Draft) -> None:
        name = made_by(draft, "/along").output[0]
        draft.model.graph.output.append(helper.make_tensor_value_info(name, 1, None))

    cases: dict[str, tuple[Change, str]] = {
        "along another axis": (axis, NOT_LOWERED),
        "along one axis alone": (unflattened, NOT_LOWERED),
        "its parts as an output": (read_again, NOTHING_MAKES),
        "in the shape of its outcome": (
            lambda d: made_by(d, "/along").input.append("x"),
            NOT_LOWERED,
        ),
    }
    for what, (change, told) in cases.items():
        yield Forgery("softmax", what, change, told)
    shown = {"another operator": "LogSoftmax", "the largest": "Hardmax"}
    for what, op in shown.items():
        change = lambda d, to=op: setattr(made_by(d, "/along"), "op_type", to)  # noqa: E731
        yield Forgery("softmax", what, change, "stands where the target has", target=True)


def _beside(end: str, told: str) -> dict[str, tuple[Change, str]]:
    """What a node may say of its own that is not put back, where its output's name ends so."""

    def on(change: Callable[[onnx.NodeProto], Any]) -> Change:
        return lambda draft: change(made_by(draft, end))

    return {
        f"numbers at {end}": (
            on(lambda n: n.attribute.append(helper.make_attribute("secret", FLOATS))),
            told,
        ),
        f"a comment at {end}": (on(lambda n: setattr(n, "doc_string", TEXT[:300])), told),
        f"metadata at {end}": (on(lambda n: n.metadata_props.add(key="k", value=TEXT)), told),
        f"a domain at {end}": (on(lambda n: setattr(n, "domain", "ai.onnx")), told),
        f"a long name of {end}": (on(lambda n: setattr(n, "name", TEXT[:9000])), LONG_TEXT),
        f"a long name for {end}": (partial(rename, end=end, name=TEXT[:9000]), LONG_TEXT),
    }


def rename(draft: Draft, end: str, name: str) -> None:
    """Another name for the tensor whose name ends so."""
    old = made_by(draft, end).output[0]
    for node in draft.model.graph.node:
        node.input[:] = [name if read == old else read for read in node.input]
        node.output[:] = [name if made == old else made for made in node.output]


def of_products(draft: Draft) -> Iterator[Forgery]:
    """A MatMul of sums, and the Add of what its constants come to."""
    added = next(
        n for n in draft.model.graph.node if n.op_type == "Add" and n.input[1].endswith("/bias")
    )
    for what, (change, told) in _beside(added.output[0], NOT_ADDED).items():
        yield Forgery("products", what, change, told)
    axis = lambda d: made_by(d, "/both/last").attribute.append(  # noqa: E731
        helper.make_attribute("secret", FLOATS)
    )
    yield Forgery("products", "numbers beside an axis", axis, NOT_JOINED)
    for number in (1, 2):  # the last one of what is read is not told by its name
        turned = partial(_along, axis=number)
        yield Forgery("products", f"along axis {number}", turned, NOT_JOINED)


def _along(draft: Draft, axis: int) -> None:
    made_by(draft, "/both/last").attribute[0].i = axis


def of_joined(draft: Draft) -> Iterator[Forgery]:
    """What layers of sums read: x and max(x, 0), side by side."""

    def joined(*order: int) -> Change:
        def change(draft: Draft) -> None:
            node = made_by(draft, "/both")
            node.input[:] = [node.input[at] for at in order]

        return change

    def turned(draft: Draft) -> None:
        made_by(draft, "/both").attribute[0].i = 2

    def bent(op: str, **attributes: Any) -> Change:
        def change(draft: Draft) -> None:
            node = made_by(draft, "/positive")
            node.op_type = op
            node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())

        return change

    def another(draft: Draft) -> None:
        made_by(draft, "/positive").input[0] = draft.model.graph.input[0].name

    def foreign(draft: Draft) -> None:
        made_by(draft, "/positive").domain = "com.microsoft"

    def one(draft: Draft) -> None:
        node = made_by(draft, "/both")
        node.op_type, node.input[:] = "Neg", node.input[:1]
        del node.attribute[:]
        draft.model.graph.node.remove(made_by(draft, "/positive"))

    def slope(draft: Draft) -> None:
        draft.deployed["slope"] = 0.37
        signs = np.array([[0.37, 1 - 0.37], [-1, 1 - 0.37]], np.float32)
        draft.put("draw/signs", signs)

    cases: dict[str, tuple[Change, str]] = {
        **_beside("/positive", NOT_JOINED),
        **_beside("/both", NOT_JOINED),
        "numbers in an axis": (
            lambda d: made_by(d, "/both").attribute[0].floats.extend(FLOATS),
            NOT_JOINED,
        ),
        "x twice": (joined(0, 0), NOT_JOINED),
        "max(x, 0) first": (joined(1, 0), NOT_JOINED),
        "max(x, 0) twice": (joined(1, 1), NOT_JOINED),
        "along another axis": (turned, NOT_JOINED),
        "x and |x|": (bent("Abs"), NOT_JOINED),
        "x and a sigmoid": (bent("Sigmoid"), NOT_JOINED),
        "x and a trained slope": (bent("LeakyRelu", alpha=0.37), NOT_JOINED),
        "x and somebody's Relu": (foreign, NOT_JOINED),
        "neither": (one, NOT_JOINED),
        "a slope without its sums": (lambda d: d.deployed.update(slope=0.37), NOT_THE_GENERATORS),
    }
    for what, (change, told) in cases.items():
        yield Forgery("both", what, change, told)
    yield Forgery("both", "another slope", slope, OTHER_COLLAPSE, target=True)


def of_sums(draft: Draft) -> Iterator[Forgery]:
    """Sums over blocks: of one sign, with constants that become biases."""
    relu = next(
        node.output[0]
        for node in draft.model.graph.node
        if node.op_type == "Relu" and not node.output[0].endswith("/positive")
    )

    def instead(op: str, **attributes: Any) -> Change:
        def change(draft: Draft) -> None:
            node = draft.maker(relu)
            node.op_type = op
            node.attribute.extend(helper.make_attribute(k, v) for k, v in attributes.items())

        return change

    for op in ("Identity", "Neg", "Tanh", "Selu", "Erf"):
        yield Forgery(relu, f"{op} before a block of one sign", instead(op), OTHER_SIGN)

    def clipped(draft: Draft) -> None:
        """Bounded from 0 on, and up to -3: always -3."""
        node = draft.maker(relu)
        node.op_type = "Clip"
        node.input.extend(draft.add(f"bound{n}", np.float32(n)) for n in (0, -3))
        draft.declare(*node.input[1:])

    yield Forgery(relu, "a clip below 0 before a block of one sign", clipped, OTHER_SIGN)

    def entry(number: int, **fields: Any) -> Change:
        return lambda draft: draft.deployed["collapsed"][number].update(fields)

    def padded(draft: Draft) -> None:
        weight = draft.layers[draft.deployed["collapsed"][1]["layer"]]["weight"]
        pads = next(a for a in draft.reader(weight).attribute if a.name == "pads")
        pads.ints[:] = [0, 0, 2, 2]

    def without_end(draft: Draft) -> None:
        at = next(entry for entry in draft.deployed["collapsed"] if entry["bias"])
        draft.layers[at["layer"]]["shape"][1] = 1 << 20

    def of_nothing(draft: Draft) -> None:
        """A block whose derivation would take minutes, and a layer that fits it."""
        at = draft.deployed["collapsed"][1]
        block, layer = draft.layers[at["block"]], draft.layers[at["layer"]]
        constants = layer["shape"][1] // at["inner"] - block["block"]["channels"] * (
            block["block"]["neurons"] * len(block["block"]["parts"])
        )
        count = 1 << 18
        block["block"].update(channels=count, neurons=1, reads=[[-1, count]], parts=[1])
        block.update(shape=[count + 64, *block["shape"][1:]])
        layer["shape"][1] = count + constants

    last = len(draft.deployed["collapsed"]) - 1
    held = draft.deployed["collapsed"]
    cases: dict[str, tuple[Change, str]] = {
        "a node that makes nothing": (_make_nothing, "makes nothing"),
        "constants on padding": (padded, ON_PADDING),
        "constants without end": (without_end, f"{NO_SUM}|{TOO_LARGE}"),
        "a block that takes minutes": (of_nothing, TOO_LARGE),
        "another block": (entry(1, block=held[2]["block"]), ANOTHER_BLOCK),
        "another layer": (entry(1, layer=held[2]["layer"]), ANOTHER_BLOCK),
        "one entry less": (lambda d: d.deployed["collapsed"].pop(), ANOTHER_BLOCK),
        "entries exchanged": (lambda d: d.deployed["collapsed"].reverse(), ANOTHER_BLOCK),
        "more outputs than rows": (entry(1, outputs=10**6), NO_SUM),
        "outputs that are no rows": (entry(1, outputs=1), NOT_THE_GENERATORS),
        "another place of a channel": (entry(1, inner=2), NO_SUM),
        "no bias": (entry(last, bias=None), NO_SUM),
        "a bias of another name": (entry(last, bias="trained"), NO_SUM),
        "one scale for all": (
            lambda d: d.manifest["options"].update(sigma="layer"),
            "one scale for all",
        ),
        "in mode l+1": (lambda d: d.manifest["options"].update(mode="l+1"), ""),
    }
    for what, (change, told) in cases.items():
        target = what == "in mode l+1"
        yield Forgery("sums", what, change, told, target=target)
