"""What a ticket says of itself: the metadata entry `lt_onnx`, its schema and its strict reading.

In: the entry's text, from a file that anybody may have made. Out: a `Manifest` whose every field
has the type, range and length of a ticket's; text that the writer would not have written is
refused. The writer and `verification` share this schema and the written specification of the
generator, and nothing else.
"""

import json
import math
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeAlias

import msgspec
from msgspec import Meta

from lt_onnx.errors import InputError
from lt_onnx.options import MAX_BASE_SIZE, MAX_SQNR, Init, Mode, Options, Select, Sigma, Weights

METADATA_KEY = "lt_onnx"
SEAL_KEY = "lt_onnx.sha256"
FORMAT = 4
GENERATOR = "philox4x32-10/1"
MAX_LAYER_WEIGHTS = 1 << 36
MAX_ROW_WEIGHTS = 1 << 28  # of one output channel
MAX_AXES = 8
MAX_ERROR_TEXT = 200  # characters of a message, which may quote the entry

Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_LAYER_WEIGHTS)]
Extent: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_LAYER_WEIGHTS)]
BaseSize: TypeAlias = Annotated[int, Meta(ge=2, le=MAX_BASE_SIZE)]
# a whole number that Python was given stays one
Price: TypeAlias = Annotated[int, Meta(ge=0, lt=1)] | Annotated[float, Meta(ge=0, lt=1)]
Decibels: TypeAlias = (
    Annotated[int, Meta(gt=0, le=MAX_SQNR)] | Annotated[float, Meta(gt=0, le=MAX_SQNR)]
)
Share: TypeAlias = Annotated[int, Meta(gt=0, le=1)] | Annotated[float, Meta(gt=0, le=1)]
Names: TypeAlias = tuple[str, ...]


class OptionsRecord(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
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

    @staticmethod
    def of(options: Options) -> "OptionsRecord":
        """The record of `options`."""
        return OptionsRecord(*(getattr(options, name) for name in OptionsRecord.__struct_fields__))


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


class DenseReason(StrEnum):
    """Why a place is dense, where code decides by it; other reasons are a rule's refusal."""

    REPEATED = "its parameters are the target's own, repeated for the copies"


class DensePlace(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A place where the target's own operator works on collapsed channels."""

    name: str
    op: str
    reason: str
    parameters: Annotated[int, Meta(ge=0, le=2**40)]


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a ticket says of itself; `verify` checks all of it.

    Raises ValueError for another format or generator, a seed of more than 64 bits, or a name that
    stands twice in a list.
    """

    format: int
    version: Annotated[str, Meta(max_length=99)]
    generator: str
    seed: Annotated[int, Meta(ge=0)]
    target_sha256: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    target_name: str
    options: OptionsRecord
    layers: Annotated[tuple[LayerRecord, ...], Meta(min_length=1)]
    order: Names  # integer tensors that reorder channels
    dense: tuple[DensePlace, ...]
    parameters: Names  # float constants taken over from the target
    fresh: Names  # target tensors that constants were lost on: a block opens there

    def __post_init__(self) -> None:
        if (self.format, self.generator) != (FORMAT, GENERATOR):
            raise ValueError("not the format and generator of this version")
        if self.seed >= 2**64:  # more than msgspec's own bounds can say
            raise ValueError(f"'seed' is {self.seed}, not below 2^64")
        for field in ("order", "parameters", "fresh"):
            names = getattr(self, field)
            if len(set(names)) != len(names):
                raise ValueError(f"'{field}' has a name twice")

    def construction(self) -> Options:
        """The options that the ticket was constructed with."""
        return Options(seed=self.seed, **msgspec.structs.asdict(self.options))

    def to_json(self) -> str:
        """The entry in its canonical form: one line of ASCII, keys sorted."""
        # NumPy's scalars may have come in as options
        plain = msgspec.to_builtins(self, enc_hook=lambda number: number.item())
        return json.dumps(plain, sort_keys=True, separators=(",", ":"))


def parse_manifest(path: Path, metadata: Mapping[str, str]) -> Manifest | None:
    """The manifest among the metadata entries of the model at `path`; None when there is none.

    Raises InputError when the entry breaks the schema or is not in canonical form, as with a key
    that stands twice or a whole number where a float is written.
    """
    entry = metadata.get(METADATA_KEY)
    if entry is None:
        return None
    try:
        manifest = msgspec.json.decode(entry, type=Manifest)
        if manifest.to_json() != entry:
            raise ValueError("it is not in canonical form")
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path}: its '{METADATA_KEY}' metadata is damaged, or of another version: "
            f"{' '.join(str(error).split())[:MAX_ERROR_TEXT]}; convert again"
        ) from None
    return manifest
