"""What a ticket says of itself: the metadata entry `lt_onnx`, its schema and its strict reading.

In: the entry's text, from a file that anybody may have made. Out: a `Manifest` whose every field
has the type, range and length of a ticket's; text that the writer would not have written is
refused. The writer and `verification` share this schema and the written specification of the
generator, and nothing else.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from enum import StrEnum
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from lt_onnx.errors import InputError
from lt_onnx.options import (
    MAX_BASE_SIZE,
    MAX_PRICE_BITS,
    MAX_SQNR,
    MIN_PRICE_BITS,
    Init,
    Mode,
    Options,
    Select,
    Sigma,
    Weights,
)

METADATA_KEY = "lt_onnx"
SEAL_KEY = "lt_onnx.sha256"
DEPLOYED_KEY = "lt_onnx.deployed"
FORMAT = 5
GENERATOR = "philox4x32-10/1"
MAX_LAYER_WEIGHTS = 1 << 36
MAX_ROW_WEIGHTS = 1 << 28  # of one output channel
MAX_AXES = 8
MAX_NAME = 2048  # characters of a text that is no name of the graph's
MAX_SINGLE = 3e38
MAX_LEVEL = 120  # of a constant: quarter octaves from 2^-24 to 2^6
MAX_ERROR_TEXT = 200  # characters of a message, which may quote the entry

TICKET_TEXT = (  # the doc string of a ticket's graph, where it says nothing else
    "A strong lottery ticket: a random network, masked, with one scale for each channel. "
    "`lt-onnx verify` proves it from this file."
)

Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_LAYER_WEIGHTS)]
Extent: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_LAYER_WEIGHTS)]
BaseSize: TypeAlias = Annotated[int, Meta(ge=2, le=MAX_BASE_SIZE)]
Price: TypeAlias = Annotated[float, Meta(ge=0, lt=1)]
Decibels: TypeAlias = Annotated[float, Meta(gt=0, le=MAX_SQNR)]
Share: TypeAlias = Annotated[float, Meta(ge=0, le=1)]
Names: TypeAlias = tuple[str, ...]


class OptionsRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The options that decide the masks; the fields are those of `Options`."""

    mode: Mode
    base_size: BaseSize | None
    tolerance: Annotated[float, Meta(gt=0, lt=1)]
    select: Select
    sigma: Sigma
    init: Init
    price: Price | None
    sqnr: Decibels
    agreement: Share
    prices: tuple[tuple[str, Price], ...]
    base_sizes: tuple[tuple[str, BaseSize], ...]
    price_bits: Annotated[float, Meta(ge=MIN_PRICE_BITS, le=MAX_PRICE_BITS)] = 0.0  # left out

    def __post_init__(self) -> None:
        for pairs in (self.prices, self.base_sizes):
            names = [name for name, _ in pairs]
            if names != sorted({*names}):
                raise ValueError("a layer has two prices or base sizes, or they are not sorted")

    @staticmethod
    def of(options: Options) -> "OptionsRecord":
        """The record of `options`."""
        chosen = {name: getattr(options, name) for name in OptionsRecord.__struct_fields__}
        for name in ("tolerance", "price", "sqnr", "agreement", "price_bits"):
            if chosen[name] is not None:  # Python may have given integers
                chosen[name] = float(chosen[name])
        chosen["prices"] = tuple((name, float(price)) for name, price in options.prices)
        if not options.price_bits:  # is left out, which msgspec tells by identity
            del chosen["price_bits"]
        return OptionsRecord(**chosen)


def _is_single(value: float) -> bool:
    """Whether a number is a finite float32: what a longer one has more, nothing would check."""
    return math.isfinite(value) and abs(value) < MAX_SINGLE and float(np.float32(value)) == value


class ConstantNeurons(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Neurons of a block that are the same for every input: how they are chosen and scaled.

    A neuron's drive is its bias or, where `values` are given, the weight by which it listens to one
    of these constant inputs times that input's value, the largest in the direction `sign`. The
    `count` neurons that are driven hardest are constants; the i-th one's scale makes
    sign · 2^(d/4 - 24) of its drive, d being `levels[i % len(levels)]`.
    """

    count: Extent
    sign: Literal[-1, 1]
    values: tuple[tuple[Count, float], ...]  # input channel, and its value, a float32
    levels: Annotated[
        tuple[Annotated[int, Meta(ge=0, le=MAX_LEVEL)], ...], Meta(min_length=1, max_length=6)
    ]

    def __post_init__(self) -> None:
        if any(value == 0 or not _is_single(value) for _, value in self.values):
            raise ValueError("a block listens to a constant that is 0 or no float32")
        if len({place for place, _ in self.values}) < len(self.values):
            raise ValueError("a block listens to a constant twice")


class BlockRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The univariate layer of a two-for-one block: with the seed it decides mask, scales and order.

    Every neuron computes φ(±`gain` · x) of one input channel x. `parts` are those of a channel that
    have neurons of their own, `neurons` each: (1,) and (1, -1) where neurons are assigned to
    channels by the signs of their weights, (0,) where slot i is neuron i.

    Raises ValueError when its numbers contradict each other.
    """

    channels: Extent
    neurons: Annotated[int, Meta(ge=1, le=MAX_BASE_SIZE)]  # m
    parts: tuple[Literal[-1, 0, 1], ...]
    group: Extent  # of the layer behind
    reads: tuple[tuple[Annotated[int, Meta(ge=-1)], Extent], ...]  # runs of inputs; -1: of none
    gain: Annotated[float, Meta(gt=0, le=1e30)]  # a float32
    constants: ConstantNeurons | None
    order: str  # the integer tensor that puts neurons into slots

    def __post_init__(self) -> None:
        if self.parts not in ((0,), (1,), (1, -1)):
            raise ValueError(f"a block with the parts {list(self.parts)[:4]}")
        if sum(count for _, count in self.reads) != self.channels or self.slots % self.group:
            raise ValueError("a block whose channels do not fit its inputs or groups")
        for (first, count), (after, _) in pairwise(self.reads):
            if after == (-1 if first < 0 else first + count):
                raise ValueError("a block that says of one run of inputs that it is several")
        runs = sorted((first, first + count) for first, count in self.reads if first >= 0)
        if any(end > first for (_, end), (first, _) in pairwise(runs)):
            raise ValueError("a block that reads an input twice")
        if not _is_single(self.gain):
            raise ValueError("a block whose gain is no float32")

    @property
    def columns(self) -> NDArray[np.int64]:
        """The input that each channel is, [channels]; -1: none."""
        runs = [np.full(n, -1) if at < 0 else np.arange(at, at + n) for at, n in self.reads]
        return np.concatenate(runs)

    @property
    def slots(self) -> int:
        """Places for neurons: m of every channel and part."""
        return self.channels * len(self.parts) * self.neurons


class LayerRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One random layer: what to draw, and what its tensors are called.

    Raises ValueError when its numbers contradict each other.
    """

    weight: str
    index: Annotated[int, Meta(ge=0, lt=2**32)]
    shape: Annotated[tuple[Extent, ...], Meta(min_length=2, max_length=MAX_AXES)]  # [O, I, *K]
    sigma: Annotated[float, Meta(gt=0, lt=1e30)]
    kept: Count
    transposed: bool
    mirror_rows: Count
    mirror_columns: Count
    bias: str | None
    kept_bias: Count
    scale: str
    stored: Weights
    half: bool  # numbers stored as float16
    block: BlockRecord | None  # of a univariate layer

    def __post_init__(self) -> None:
        size, rows = math.prod(self.shape), self.shape[0]
        if size > MAX_LAYER_WEIGHTS or size // rows > MAX_ROW_WEIGHTS:
            raise ValueError(f"layer '{self.weight[:80]}' claims {size:,} weights")
        if 2 * self.mirror_rows > rows or 2 * self.mirror_columns > self.shape[1]:
            raise ValueError(f"layer '{self.weight[:80]}' mirrors more than half of its channels")
        if self.kept > size or self.kept_bias > (0 if self.bias is None else rows):
            raise ValueError(f"layer '{self.weight[:80]}' keeps more than it has")
        if self.transposed and len(self.shape) != 2:
            raise ValueError(f"layer '{self.weight[:80]}': a kernel is not transposed")
        if self.block is not None:
            images = (2 if self.mirror_rows else 1) * self.block.slots
            ends = (first + count for first, count in self.block.reads if first >= 0)
            if (
                images > rows
                or max(ends, default=0) > self.shape[1]
                or math.prod(self.shape[2:]) != 1
            ):
                raise ValueError(f"layer '{self.weight[:80]}' is too small for its block")
            if self.mirror_rows not in (0, self.block.slots if self.block.parts == (0,) else 0):
                raise ValueError(f"layer '{self.weight[:80]}' mirrors other rows than its block's")


class DenseReason(StrEnum):
    """Why a place is dense, where code decides by it; other reasons are a rule's refusal."""

    REPEATED = "its parameters are the target's own, repeated for the copies"


class DensePlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place where the target's own operator works on collapsed channels."""

    name: str
    op: Annotated[str, Meta(max_length=MAX_NAME)]
    reason: Annotated[str, Meta(max_length=MAX_NAME)]
    parameters: Annotated[int, Meta(ge=0, le=2**40)]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a ticket says of itself; `verify` checks all of it.

    Raises ValueError for another generator, a seed of more than 64 bits, or a name that
    stands twice in a list.
    """

    format: int
    version: Annotated[str, Meta(pattern=r"\A[0-9]{1,4}(\.[0-9]{1,4}){0,3}[a-z0-9.+]{0,16}\Z")]
    generator: str
    seed: Annotated[int, Meta(ge=0)]
    target_sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    target_name: Annotated[str, Meta(min_length=1, max_length=MAX_NAME)]
    options: OptionsRecord
    layers: Annotated[tuple[LayerRecord, ...], Meta(min_length=1)]
    dense: tuple[DensePlace, ...]
    parameters: Names  # float constants taken over from the target
    fresh: Names  # target tensors that constants were lost on: a block opens there

    def __post_init__(self) -> None:
        if self.generator != GENERATOR:
            raise ValueError("not the generator of this version")
        if self.seed >= 2**64:  # more than msgspec's own bounds can say
            raise ValueError(f"'seed' is {self.seed}, not below 2^64")
        for field in ("parameters", "fresh"):
            names = getattr(self, field)
            if names != tuple(sorted({*names})):
                raise ValueError(f"'{field}' has a name twice, or is not sorted")

    def construction(self) -> Options:
        """The options that the ticket was constructed with."""
        return Options(seed=self.seed, **msgspec.structs.asdict(self.options))

    def to_json(self) -> str:
        """The entry in its canonical form: one line of ASCII, keys sorted."""
        # NumPy's scalars may have come in as options
        plain = msgspec.to_builtins(self, enc_hook=lambda number: number.item())
        return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def doc_strings(manifest: Manifest) -> dict[str, str]:
    """What the operators of a ticket's layers say to people, by the weight that each reads."""
    return {
        layer.weight: (
            f"Random layer {layer.index} of seed {manifest.seed}, "
            f"{'opens a two-for-one block' if layer.block else 'constructed'}: "
            f"{layer.kept + layer.kept_bias:,} of its "
            f"{math.prod(layer.shape) + (layer.shape[0] if layer.bias else 0):,} weights are kept"
        )
        for layer in manifest.layers
    }


class _Format(msgspec.Struct):
    """What every format begins with."""

    format: Annotated[int, Meta(ge=0, le=MAX_LAYER_WEIGHTS)]


class CollapsedLayer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A layer whose weight is summed over the neurons of its block's channels.

    Its source is [O, I, *K] as in its record: rows are, group by group, `outputs` of the layer and
    what handed constants on; columns the neurons of the block's channels, m of each part, and then
    the block's constants, `inner` of each one.
    """

    layer: Count  # its number among the ticket's
    block: Count  # of the univariate layer before it
    outputs: Extent  # in every group
    inner: Extent  # inputs of the layer for each channel of its block
    bias: str | None  # what the constants add up to


class Deployed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a seeded ticket says of the plain one that it stands for.

    `digests` name the layer when a seal is broken: see `digest`, of the codes of its weight's and
    its bias's masks, and its scales. A collapsed one holds these layers alone: what a univariate
    layer is follows from its record.
    """

    ir_version: Annotated[int, Meta(ge=3, le=99)]
    opset: Annotated[int, Meta(ge=1, le=99)]
    digests: tuple[Annotated[str, Meta(pattern=r"\A[0-9a-f]{16}\Z")], ...]
    collapsed: tuple[CollapsedLayer, ...]  # none: it computes as the plain ticket does
    slope: Annotated[float, Meta(gt=-1e3, lt=1e3)]  # of a collapsed one's activation for x < 0

    def to_json(self) -> str:
        """The entry in its canonical form."""
        return json.dumps(msgspec.to_builtins(self), sort_keys=True, separators=(",", ":"))


Record = TypeVar("Record", Manifest, Deployed)


def digest(*arrays: NDArray[Any]) -> str:
    """The first 64 bits of the SHA-256 of some arrays' bytes, one behind the other."""
    content = hashlib.sha256()
    for array in arrays:
        content.update(np.ascontiguousarray(array).tobytes())
    return content.hexdigest()[:16]


def parse_manifest(path: Path, metadata: Mapping[str, str]) -> Manifest | None:
    """The manifest among the metadata entries of the model at `path`; None when there is none.

    Raises InputError when the entry is of another format, breaks the schema or is not in canonical
    form, as with a key that stands twice or a whole number where a float is written.
    """
    return _parsed(path, metadata, METADATA_KEY, Manifest)


def parse_deployed(path: Path, metadata: Mapping[str, str]) -> Deployed | None:
    """What a seeded ticket says beside its manifest; None of others. Raises as `parse_manifest`."""
    return _parsed(path, metadata, DEPLOYED_KEY, Deployed)


def _says_minus_zero(plain: Any) -> bool:
    """Whether a number in it is -0.0, which says what 0.0 does."""
    if isinstance(plain, dict | list | tuple):
        return any(map(_says_minus_zero, plain.values() if isinstance(plain, dict) else plain))
    return isinstance(plain, float) and plain == 0 and math.copysign(1, plain) < 0


def _parsed(path: Path, metadata: Mapping[str, str], key: str, kind: type[Record]) -> Record | None:
    """An entry in canonical form. Raises InputError."""
    entry = metadata.get(key)
    if entry is None:
        return None
    try:
        if kind is Manifest:
            stated = msgspec.json.decode(entry, type=_Format).format
            if stated != FORMAT:
                raise InputError(
                    f"{path}: is a ticket of format {stated}; this version reads format {FORMAT}: "
                    "convert its target again"
                )
        record = msgspec.json.decode(entry, type=kind)
        if record.to_json() != entry or _says_minus_zero(msgspec.to_builtins(record)):
            raise ValueError("it is not in canonical form")
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: its '{key}' metadata is damaged, or of another version: "
            f"{' '.join(str(error).split())[:MAX_ERROR_TEXT]}; convert again"
        ) from None
    return record
