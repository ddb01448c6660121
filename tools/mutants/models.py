"""Fields of a model, and of the JSON in it."""

import hashlib
import json
from typing import Any

import onnx
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import DecodeError, Message

from lt_onnx.manifest import METADATA_KEY, SEAL_KEY
from mutants.values import NUMBERS, TEXTS, Random, of_bytes, other_value, raw


def seal(content: bytes, data: list[bytes]) -> bytes:
    """The ticket with the seal that `convert` would have given it."""
    model = parsed(content)
    if model is None:
        return content
    kept = [entry for entry in model.metadata_props if entry.key != SEAL_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(kept)
    digest = hashlib.sha256(model.SerializeToString(deterministic=True))
    for piece in data:
        digest.update(piece)
    model.metadata_props.add(key=SEAL_KEY, value=digest.hexdigest())
    return bytes(model.SerializeToString(deterministic=True))


def parsed(content: bytes) -> onnx.ModelProto | None:
    """The model in `content`; None where there is none."""
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
    except DecodeError:
        return None
    return model


def of_model(rng: Random, content: bytes, others: list[bytes]) -> bytes:
    """Fields of the model changed, dropped, doubled, moved or taken from another one."""
    model = parsed(content)
    if model is None:
        return of_bytes(rng, content, others)
    other = parsed(rng.choice(others) or content) or model
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        if rng.random() < 0.15 and any(p.key == METADATA_KEY for p in model.metadata_props):
            entry = next(p for p in model.metadata_props if p.key == METADATA_KEY)
            entry.value = of_json(rng, entry.value)
        elif rng.random() < 0.9:
            change(rng, model.graph, other.graph)
        else:
            change(rng, model, other)
    try:
        return bytes(model.SerializeToString())
    except ValueError:  # nested deeper than protobuf writes
        return content


def change(rng: Random, message: Message, other: Message) -> None:
    """Go down from `message` at random and change one field there."""
    while True:
        fields = message.ListFields()
        inner = [(f, v) for f, v in fields if f.type == Field.TYPE_MESSAGE]
        if not inner or rng.random() < 0.2:
            break
        field, value = rng.choice(inner)
        if repeated(field):
            if rng.random() < 0.2:
                return shuffle(rng, value, getattr(other, field.name, value))
            value = rng.choice(value)
            theirs = getattr(other, field.name, None)
            other = rng.choice(theirs) if theirs else value
        else:
            other = getattr(other, field.name, value)
        message = value
    field = rng.choice(
        [f for f, _ in fields] if fields and rng.random() < 0.9 else message.DESCRIPTOR.fields
    )
    if rng.random() < 0.1:
        message.ClearField(field.name)
    elif repeated(field):
        shuffle(rng, getattr(message, field.name), getattr(other, field.name, []))
    elif field.type == Field.TYPE_MESSAGE:
        theirs = getattr(other, field.name, None)
        if isinstance(theirs, Message) and type(theirs) is type(getattr(message, field.name)):
            getattr(message, field.name).MergeFrom(theirs)
    else:
        setattr(message, field.name, scalar(rng, field, getattr(message, field.name)))
    return None


def repeated(field: Any) -> bool:
    """Whether a field holds many."""
    return bool(field.is_repeated)


def shuffle(rng: Random, values: Any, theirs: Any) -> None:
    """Drop, double, swap, change or take over elements of a repeated field."""
    if not len(values):
        if len(theirs):
            values.append(rng.choice(theirs))
        return
    at = rng.randrange(len(values))
    match rng.randrange(6):
        case 0:
            del values[at]
        case 1:
            values.append(values[at])
        case 2:
            kept = list(values)
            b = rng.randrange(len(kept))
            kept[at], kept[b] = kept[b], kept[at]
            del values[:]
            values.extend(kept)
        case 3 if len(theirs) and type(theirs[0]) is type(values[0]):
            values.append(rng.choice(theirs))
        case 4:
            del values[rng.randrange(len(values)) :]
        case _ if isinstance(values[at], Message):
            change(rng, values[at], values[rng.randrange(len(values))])
        case _:
            values[at] = other_value(rng, values[at])


def scalar(rng: Random, field: Any, value: Any) -> Any:
    """Another value that the field can hold."""
    if field.type == Field.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    if field.type in (Field.TYPE_INT32, Field.TYPE_ENUM):
        return rng.choice([n for n in NUMBERS if abs(n) < 1 << 31])
    if field.type == Field.TYPE_BYTES and isinstance(value, bytes):
        return raw(rng, value)
    return other_value(rng, value)


def of_json(rng: Random, text: str) -> str:
    """A document with one value changed, dropped, or of another type."""
    try:
        document = json.loads(text)
    except ValueError:
        return text
    at, here = document, document
    key: Any = None
    while isinstance(here, dict | list) and len(here) and (key is None or rng.random() < 0.8):
        at, key = here, rng.choice([*here] if isinstance(here, dict) else range(len(here)))
        here = at[key]
    if key is None:
        return json.dumps(rng.choice(_VALUES))
    match rng.randrange(4):
        case 0:
            del at[key]
        case 1 if isinstance(at, list):
            at.append(here)
        case 1:
            at[rng.choice(TEXTS)] = here
        case 2 if isinstance(here, int | float | str):
            at[key] = other_value(rng, here)
        case _:
            at[key] = rng.choice(_VALUES)
    return json.dumps(document, sort_keys=True, separators=(",", ":"))  # as the writer writes


_VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2**64,
    10**400,
    0.5,
    1e308,
    float("nan"),
    float("inf"),
    "",
    "x",
    "../x",
    [],
    [0],
    [[]],
    {},
    {"a": 1},
    [2**40, 2**40],
    "folded",
    "masked",
    "sparse",
)
