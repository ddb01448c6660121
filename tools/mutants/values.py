"""Numbers, texts and bytes, and others in their place."""

import random
import struct
from typing import Any, TypeAlias

Files: TypeAlias = dict[str, bytes]
Random: TypeAlias = random.Random

NUMBERS = (
    0,
    1,
    -1,
    2,
    3,
    7,
    16,
    255,
    1 << 16,
    (1 << 31) - 1,
    1 << 31,
    -(1 << 31),
    (1 << 62),
    (1 << 63) - 1,
    -(1 << 63),
)
REALS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e-38, 3e38, -3e38, float("inf"), float("nan"), 1e300)
TEXTS = (
    "",
    "x",
    "y",
    "w",
    "../up",
    "/etc/hostname",
    "a/b",
    "a\\b",
    ".",
    "..",
    "\x1b[2J\x07",
    "N",
    "new\nline",
    "data.bin",
    "0",
    "-1",
    "4096",
    "99999999999999999999",
    "nan",
    "é" * 40,
    "long" * 5000,
    "\0",
    "Conv",
    "Relu",
    "Gemm",
    "If",
    "Loop",
    "Reshape",
    "ConstantOfShape",
    "Tile",
    "Expand",
    "Range",
    "Resize",
    "Pad",
    "Slice",
    "Concat",
    "Split",
    "Gather",
    "Softmax",
    "Einsum",
    "ConvTranspose",
    "BatchNormalization",
    "MatMul",
    "AveragePool",
    "GlobalAveragePool",
    "PRelu",
    "LRN",
    "com.microsoft",
)


def of_bytes(rng: Random, content: bytes, others: list[bytes]) -> bytes:
    """Bits flipped, pieces cut out, doubled, moved or taken from another file."""
    data = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        at = rng.randrange(len(data) + 1)
        size = rng.choice((1, 2, 8, 100, 4096))
        match rng.randrange(7):
            case 0 | 1 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 2:
                del data[at:]
            case 3:
                del data[at : at + size]
            case 4:
                data[at:at] = data[at : at + size]
            case 5:
                other = rng.choice(others) or content
                start = rng.randrange(len(other) + 1)
                data[at : at + size] = other[start : start + size]
            case _:
                data[at : at + 8] = struct.pack("<q", rng.choice(NUMBERS))
    return bytes(data)


def other_value(rng: Random, value: Any) -> Any:
    """Another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return rng.choice((*NUMBERS, value + 1, value - 1, value * 2)) & (2**63 - 1)
    if isinstance(value, float):
        return rng.choice((*REALS, value * 2, -value))
    if isinstance(value, bytes):
        return raw(rng, value)
    return rng.choice((*TEXTS, value + "'"))


def raw(rng: Random, value: bytes) -> bytes:
    """Numbers of a tensor: one made another, some more or fewer, or a bit flipped."""
    data = bytearray(value)
    at = rng.randrange(len(data) // 4 + 1) * 4
    match rng.randrange(6):
        case 0:
            data[at : at + 4] = struct.pack("<f", min(rng.choice(REALS), 3e38))
        case 1:
            data[at : at + 8] = struct.pack("<q", rng.choice(NUMBERS))
        case 2:
            del data[at:]
        case 3:
            data += data[at : at + 64] or b"\0\0\0\0"
        case 4:
            data[:] = bytes(len(data))
        case _ if data:
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)
