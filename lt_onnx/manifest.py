"""What a ticket says of itself: the metadata entry `lt_onnx`, its schema and its strict reading.

The writer and `verification` share this file and the written specification of the generator, no
more. A manifest may come from anybody: nothing in it is believed, and what is read here has the
type, the range and the size that a ticket's would have.
"""

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx

from lt_onnx.errors import InputError

if TYPE_CHECKING:
    from lt_onnx.options import Options

METADATA_KEY = "lt_onnx"
SEAL_KEY = "lt_onnx.sha256"
FORMAT = 3
GENERATOR = "philox4x32-10/1"
LARGEST_LAYER = 1 << 36  # weights; a manifest that claims more is forged
LARGEST_ROW = 1 << 28  # weights of an output channel
MOST_AXES = 8


@dataclass(frozen=True)
class LayerRecord:
    """One random layer as the manifest has it: what to draw, and what it is called."""

    weight: str
    index: int
    shape: list[int]
    sigma: float
    kept: int
    transposed: bool
    mirror_rows: int
    mirror_columns: int
    bias: str | None
    kept_bias: int
    scale: str
    stored: str  # folded, masked or sparse
    half: bool  # as float16


@dataclass(frozen=True)
class Manifest:
    """What a ticket says of itself; everything in it is checked by `verify`."""

    format: int
    version: str
    generator: str
    seed: int
    target_sha256: str
    target_name: str
    options: dict[str, Any]
    layers: list[LayerRecord]
    order: list[str]  # integer tensors that reorder channels
    dense: list[dict[str, Any]]  # target operators that run on collapsed channels, and why
    parameters: list[str]  # float constants taken over from the target
    fresh: list[str]  # tensors that constants were lost on, so that a block opens there

    def construction(self) -> "Options":
        """The options that the ticket was constructed with. Raises InputError."""
        from lt_onnx.options import Options

        try:
            return Options.remembered(self.options, self.seed)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"'{METADATA_KEY}' metadata: options damaged ({error})") from None

    def to_json(self) -> str:
        """One line of JSON with sorted keys."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))


def parse_manifest(path: Path, model: onnx.ModelProto) -> Manifest | None:
    """The manifest in a model read from `path`; None when there is none. Raises InputError."""
    entry = {p.key: p.value for p in model.metadata_props}.get(METADATA_KEY)
    if entry is None:
        return None
    try:
        known = json.loads(entry, object_pairs_hook=_once, parse_constant=_refuse)
        return _manifest(known)
    except (TypeError, ValueError, KeyError, RecursionError, OverflowError) as error:
        raise InputError(
            f"{path}: its '{METADATA_KEY}' metadata is damaged, or of another version: "
            f"{error}; convert again"
        ) from None


Test = Callable[[Any], bool]
INIT = ("unit", "kaiming", "xavier", "lecun")


def _whole(most: int, least: int = 0) -> Test:
    return lambda value: type(value) is int and least <= value <= most


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _flag(value: Any) -> bool:
    return isinstance(value, bool)


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e30  # neither NaN nor infinity


def _one_of(*words: str) -> Test:
    return lambda value: isinstance(value, str) and value in words


def _or_none(test: Test) -> Test:
    return lambda value: value is None or test(value)


def _list_of(test: Test) -> Test:
    return lambda value: isinstance(value, list) and all(test(part) for part in value)


def _names(value: Any) -> bool:
    return _list_of(_text)(value) and len(set(value)) == len(value)


def _pairs(test: Test) -> Test:
    return _list_of(
        lambda pair: isinstance(pair, list) and len(pair) == 2 and _text(pair[0]) and test(pair[1])
    )


_TOP: dict[str, Test] = {
    "format": _whole(FORMAT, FORMAT),
    "version": lambda value: _text(value) and len(value) < 100,
    "generator": _one_of(GENERATOR),
    "seed": _whole(2**64 - 1),
    "target_sha256": lambda value: (
        _text(value) and len(value) == 64 and not set(value) - set("0123456789abcdef")
    ),
    "target_name": _text,
    "options": lambda value: isinstance(value, dict),
    "layers": lambda value: isinstance(value, list) and len(value) > 0,
    "order": _names,
    "dense": lambda value: isinstance(value, list),
    "parameters": _names,
    "fresh": _names,
}
_OPTIONS: dict[str, Test] = {
    "mode": _one_of("l+1", "2l"),
    "base_size": _or_none(_whole(32, 2)),
    "tolerance": lambda value: _number(value) and 0 < value < 1,
    "select": _one_of("noise", "smallest", "best", "exact"),
    "sigma": _one_of("channel", "layer"),
    "init": _one_of(*INIT),
    "price": _or_none(lambda value: _number(value) and 0 <= value < 1),
    "dearness": lambda value: _number(value) and -4 <= value <= 4,
    "prices": _pairs(lambda value: _number(value) and 0 <= value < 1),
    "base_sizes": _pairs(_whole(32, 2)),
}
_LAYER: dict[str, Test] = {
    "weight": _text,
    "index": _whole(2**32 - 1),
    "shape": lambda value: (
        _list_of(_whole(LARGEST_LAYER, 1))(value) and 2 <= len(value) <= MOST_AXES
    ),
    "sigma": lambda value: type(value) is float and 0 < value < 1e30,
    "kept": _whole(LARGEST_LAYER),
    "transposed": _flag,
    "mirror_rows": _whole(LARGEST_LAYER),
    "mirror_columns": _whole(LARGEST_LAYER),
    "bias": _or_none(_text),
    "kept_bias": _whole(LARGEST_LAYER),
    "scale": _text,
    "stored": _one_of("folded", "masked", "sparse"),
    "half": _flag,
}
_DENSE: dict[str, Test] = {"name": _text, "op": _text, "reason": _text, "parameters": _whole(2**40)}


def _manifest(known: Any) -> Manifest:
    """The manifest in parsed JSON. Raises ValueError."""
    if isinstance(known, Mapping) and (
        known.get("format") != FORMAT or known.get("generator") != GENERATOR
    ):
        raise ValueError("not the format and generator of this version")
    _check(known, _TOP, "manifest")
    _check(known["options"], _OPTIONS, "options")
    for number, place in enumerate(known["dense"]):
        _check(place, _DENSE, f"dense place {number}")
    for number, layer in enumerate(known["layers"]):
        _check(layer, _LAYER, f"layer {number}")
        _check_sizes(layer, f"layer {number} ('{layer['weight'][:80]}')")
    layers = [LayerRecord(**layer) for layer in known["layers"]]
    assert {f.name for f in fields(Manifest)} == set(_TOP)
    return Manifest(**{**known, "layers": layers})


def _check(value: Any, tests: Mapping[str, Test], where: str) -> None:
    """Raise ValueError unless `value` has these fields, each as its test wants it."""
    if not isinstance(value, dict):
        raise ValueError(f"{where} is not an object")
    for key in tests.keys() ^ value.keys():
        raise ValueError(f"{where} {'lacks' if key in tests else 'has an unknown'} '{key[:80]}'")
    for key, test in tests.items():
        if not test(value[key]):
            raise ValueError(f"{where}: '{key}' is {json.dumps(value[key])[:80]}")


def _check_sizes(layer: Mapping[str, Any], where: str) -> None:
    """Raise ValueError for a layer that contradicts itself, or is too large to be one."""
    shape = layer["shape"]
    size = math.prod(shape)
    if size > LARGEST_LAYER or size // shape[0] > LARGEST_ROW:
        raise ValueError(f"{where} claims {size:,} weights")
    for half, whole in (("mirror_rows", shape[0]), ("mirror_columns", shape[1])):
        if 2 * layer[half] > whole:
            raise ValueError(f"{where}: '{half}' is {layer[half]} of {whole}")
    if layer["kept"] > size or layer["kept_bias"] > (shape[0] if layer["bias"] is not None else 0):
        raise ValueError(f"{where} keeps more than it has")
    if layer["transposed"] and len(shape) != 2:
        raise ValueError(f"{where}: a kernel is not transposed")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys stand there once. Raises ValueError."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no number")
