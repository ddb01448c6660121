"""The copies of channels that a ticket holds, and whether a rule keeps each what it is.

A rule is run on a tensor whose copies all differ. Copy q of its output must then be what the
operator makes of copy q of its input, and a constant the same number everywhere.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lt_onnx.layout import CONSTANT, UNUSED, Layout, whole_channels
from lt_onnx.ops.activation_fit import LocalModel, Use
from lt_onnx.ops.activations import RELU
from lt_onnx.ops.rule import RefusalError, Rule
from lt_onnx.ops.table import rule_for
from lt_onnx.options import Options
from lt_onnx.planning.draft import Draft
from lt_onnx.planning.request import Request
from lt_onnx.planning.requirements import Requirement
from lt_onnx.runtime import evaluate
from lt_onnx.target import Array, Linear, Node, Shape, Target

LINEAR = LocalModel(Use.SPLIT, 1.0, 0.0, 0.0, np.inf, 0.0)


def layout(channels: str, axis: int = 1, size: int | None = None) -> Layout:
    """A layout from words: `0a 1a 0b . c`: copies a and b, an unused channel, a constant."""
    words = channels.split()
    copies = [ord(word[-1]) - ord("a") if word[0].isdigit() else 0 for word in words]
    meanings = [
        int(word[:-1]) if word[0].isdigit() else CONSTANT if word == "c" else UNUSED
        for word in words
    ]
    constant = np.cumsum(np.array(meanings) == CONSTANT) - 1
    numbers = np.where(np.array(meanings) == CONSTANT, constant, copies)
    return whole_channels(size or max(meanings) + 1, axis, channel=meanings, copy=numbers)


def words_of(made: Layout) -> str:
    """The words of a layout."""
    names = {CONSTANT: "c", UNUSED: "."}
    entries = zip(made.channel.tolist(), made.copy.tolist(), strict=True)
    return " ".join(names[c] if c in names else f"{c}{chr(ord('a') + q)}" for c, q in entries)


def draft_of(
    shapes: Mapping[str, Shape],
    constants: Mapping[str, Array] | None = None,
    *,
    layouts: Mapping[str, Layout | None] | None = None,
    opset: int = 17,
    many: Sequence[str] = (),
    steps: Sequence[Node | Linear] = (),
) -> Draft:
    """A plan in the making that holds tensors with `layouts`; copies of `many` are wanted."""
    held = dict(constants or {})
    opsets = {"": opset}
    target = Target(Path("t"), "", "t", (), (), tuple(steps), held, dict(shapes), opsets, 8)
    wanted = {name: Requirement(True, True, 0) for name in many}
    lost = frozenset[str]()
    draft = Draft(Request(target, Options(), RELU, LINEAR, lost, lost, wanted))
    for name, given in (layouts or {}).items():
        draft.put(name, name if given is None else f"{name}/copies", given)
    return draft


def physical(given: Layout | None, copies: Sequence[Array], rng: np.random.Generator) -> Array:
    """The ticket's tensor: copy q of a channel from `copies[q]`, constants, noise for the rest."""
    if given is None:
        return copies[0]
    parts = []
    for c, q in zip(given.channel.tolist(), given.copy.tolist(), strict=True):
        part = np.take(copies[q if c >= 0 else 0], max(c, 0), given.axis)
        if c < 0:
            part = np.full_like(part, 0.5 + q) if c == CONSTANT else rng.normal(size=part.shape)
        parts.append(part)
    return np.stack(parts, given.axis).astype(np.float32)


def check(
    node: Node,
    inputs: Mapping[str, tuple[tuple[int, ...], Layout | None]],
    constants: Mapping[str, Array] | None = None,
    *,
    opset: int = 17,
    many: bool = False,
    rule: Rule | None = None,
) -> list[Layout]:
    """The layouts that the rule gives the node's outputs, each entry checked against the operator.

    `inputs` are the shapes and layouts of those that are no constants; `many` copies are wanted.
    """
    rng = np.random.default_rng(0)
    constants = dict(constants or {})
    numbers = {q for _, given in inputs.values() if given is not None for q in range(given.copies)}
    copies: dict[str, list[Array]] = {}
    for name, (shape, given) in inputs.items():
        own = max(1, given.copies if given is not None else 1)
        values = [rng.uniform(0.5, 2, shape).astype(np.float32) for _ in range(own)]
        copies[name] = [values[q % own] for q in range(len(numbers))]
        absent = set(range(shape[given.axis])) - set(given.channel.tolist()) if given else ()
        for value in {id(value): value for value in copies[name]}.values():
            for c in absent:  # a channel without a copy is zero
                np.moveaxis(value, given.axis if given else 0, 0)[c] = 0
    wanted = [
        evaluate(
            [node],
            {name: values[q] for name, values in copies.items()},
            constants=constants,
            outputs=node.outputs,
            opsets={"": opset},
        )
        for q in range(len(numbers))
    ]
    shapes = {name: shape for name, (shape, _) in inputs.items()}
    shapes |= {name: value.shape for name, value in zip(node.outputs, wanted[0], strict=True)}
    layouts = {name: given for name, (_, given) in inputs.items()}
    wants = node.outputs if many else ()
    draft = draft_of(shapes, constants, layouts=layouts, opset=opset, many=wants)
    made = (rule or rule_for(node))(node, [layouts.get(name) for name in node.inputs], draft)
    results = made if isinstance(made, list) else [made]
    feeds = {draft.place(name): physical(layouts[name], copies[name], rng) for name in inputs}
    values = evaluate(
        [step.nodes[0] for step in draft.emitted.steps],
        feeds,
        constants={**constants, **draft.emitted.constants},
        outputs=[draft.place(name) for name in node.outputs],
        opsets={"": opset},
    )
    for number, (given, value) in enumerate(zip(results, values, strict=True)):
        compare(given, value, [outputs[number] for outputs in wanted])
    return results


def compare(given: Layout, value: Array, wanted: Sequence[Array]) -> None:
    """Every physical channel of `value` is what the layout says: copy q is in `wanted[q]`."""
    assert value.shape[given.axis] == given.width
    assert wanted[0].shape[given.axis] == given.size
    for place, (c, q) in enumerate(zip(given.channel.tolist(), given.copy.tolist(), strict=True)):
        channel = np.take(value, place, given.axis)
        if c >= 0:
            np.testing.assert_allclose(channel, np.take(wanted[q], c, given.axis), rtol=1e-5)
        elif c == CONSTANT:
            np.testing.assert_allclose(channel, channel.flat[0], rtol=1e-5)
    absent = set(range(given.size)) - set(given.channel.tolist())
    for c in absent:
        assert not np.take(wanted[0], c, given.axis).any()


def refusal(
    node: Node,
    shapes: Mapping[str, Shape],
    layouts: Mapping[str, Layout | None],
    constants: Mapping[str, Array] | None = None,
    *,
    opset: int = 17,
) -> str:
    """Why the rule of a node refuses; nothing that it emitted may be read."""
    draft = draft_of(shapes, constants, layouts=layouts, opset=opset)
    try:
        rule_for(node)(node, [layouts.get(name) for name in node.inputs], draft)
    except RefusalError as error:
        return str(error)
    raise AssertionError(f"{node.op} was not refused")
