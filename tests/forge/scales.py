"""The layers' scales: their numbers, their shape, their one reader."""

from collections.abc import Iterator
from functools import partial

import numpy as np
from onnx import TensorProto, helper

from forge.changes import both, edit, place, record
from forge.draft import Draft, Forgery, step
from forge.reasons import (
    DEFINED_TWICE,
    MISSING,
    NAMED_TOO,
    NO_SCALE,
    NOT_FINITE,
    NOT_THE_MUL,
    SCALE_READ,
)


def of_scales(draft: Draft) -> Iterator[Forgery]:
    """Every layer's scale."""
    for number in range(len(draft.layers)):
        yield from _numbers(draft, number)
        yield from _readers(draft, number)


def _numbers(draft: Draft, number: int) -> Iterator[Forgery]:
    name, shape = draft.layers[number]["scale"], draft.layers[number]["shape"]
    for what, value in (("NaN", np.nan), ("infinity", np.inf), ("-infinity", -np.inf)):
        yield Forgery(name, what, edit(name, place(-1, value)), NOT_FINITE)
    rows, ones = shape[0], [1] * len(shape[2:])
    pixels = np.ones((rows, *[7] * len(ones)), np.float32)
    for what, value in {
        "one per pixel": pixels if ones else np.ones((5, rows), np.float32),
        "a trained tensor": np.ones(shape, np.float32),
        "with a batch axis": np.ones((1, rows, *ones), np.float32),
        "a scalar": np.float32(1),
        "empty": np.ones((0, *ones), np.float32),
        "one row more": np.ones((rows + 1, *ones), np.float32),
        "doubles": np.ones((rows, *ones)),
        "halves": np.ones((rows, *ones), np.float16),
        "whole numbers": np.ones((rows, *ones), np.int64),
    }.items():
        yield Forgery(name, what, partial(Draft.replace, name=name, value=value), NO_SCALE)


def _readers(draft: Draft, number: int) -> Iterator[Forgery]:
    name, scaled = draft.layers[number]["scale"], draft.reader(draft.layers[number]["scale"])
    on = scaled.output[0]
    other = draft.layers[number - 1]["scale"]
    yield Forgery(name, "its Mul dropped", lambda d: d.bypass(on), SCALE_READ)
    gone = both(lambda d: d.bypass(on), lambda d: d.drop(name))
    yield Forgery(name, "dropped", gone, MISSING)
    yield Forgery(name, "another's", both(gone, record(number, scale=other)), SCALE_READ)
    for op in ("Add", "Div", "Pow", "PRelu"):
        yield Forgery(
            name,
            f"read by {op}",
            lambda d, to=op: setattr(d.reader(name), "op_type", to),
            NOT_THE_MUL,
        )
    attribute = helper.make_attribute("axis", 1)
    yield Forgery(
        name,
        "an attribute at its Mul",
        lambda d: d.reader(name).attribute.append(attribute),
        NOT_THE_MUL,
    )
    for op in ("Mul", "Add"):
        yield Forgery(
            name,
            f"read twice, by {op}",
            lambda d, by=op: d.insert(on, step(by, ["was", name])),
            SCALE_READ,
        )
    port = helper.make_tensor_value_info(name, TensorProto.FLOAT, list(draft.shape(name)))
    yield Forgery(name, "a graph output", lambda d: d.model.graph.output.append(port), SCALE_READ)
    yield Forgery(name, "a parameter too", lambda d: d.declare(name), NAMED_TOO)
    yield Forgery(
        name, "a graph input too", lambda d: d.model.graph.input.append(port), DEFINED_TWICE
    )
