"""A range coder whose two directions are one function: what it is shown, or what it finds.

In: symbols with their probabilities, as shares of a total. Out: bytes, or from bytes the symbols.
Compiled code shows it a symbol while packing, and gets the symbol while unpacking.
"""

from typing import NamedTuple

import numba
import numpy as np
from numpy.typing import NDArray

from lt_onnx.target import Doubles

WORD = 8  # bytes of the coder's state
MAX_BIT_BYTES = 3  # that one bit takes at most, with what another symbol left to be written
BLOCK = 32  # bits of which it is told first whether there is any
LEARNING = 200.0  # bits after which older ones are forgotten


class Coder(NamedTuple):
    """A coder's state; its arrays are written to."""

    words: NDArray[np.uint64]  # low end, range, and what is read
    place: NDArray[np.int64]  # bytes written, or read; bytes that were missing
    data: NDArray[np.uint8]
    decoding: bool


def encoder(room: int) -> Coder:
    """A coder that writes; it has room for so many bytes."""
    words = np.array([0, 2**64 - 1, 0], np.uint64)
    return Coder(words, np.zeros(2, np.int64), np.empty(room, np.uint8), False)


def decoder(data: bytes) -> Coder:
    """A coder that reads."""
    first = int.from_bytes(data[:WORD].ljust(WORD, b"\0"), "big")
    words = np.array([0, 2**64 - 1, first], np.uint64)
    place = np.array([min(WORD, len(data)), max(WORD - len(data), 0)], np.int64)
    return Coder(words, place, np.frombuffer(bytearray(data), np.uint8), True)


def last_bytes(coder: Coder) -> bytes:
    """What ends the bytes of a coder that has written all."""
    return int(coder.words[0]).to_bytes(WORD, "big")


def fresh_bits(count: int) -> Doubles:
    """What is known of so many kinds of bits at first: [count, 2], chance of a one and weight."""
    return np.tile(np.array([0.5, 0.4]), (count, 1))


@numba.njit(cache=True, nogil=True)
def sought(coder, total):  # type: ignore[no-untyped-def]
    """Where in 0 … total-1 the symbol lies that is read next."""
    low, span, code = coder.words
    value = (code - low) // (span // np.uint64(total))
    return np.int64(min(value, np.uint64(total - 1)))


@numba.njit(cache=True, nogil=True)
def narrow(coder, start, size, total):  # type: ignore[no-untyped-def]
    """Go on to the symbol that has start … start+size-1 of `total`, 2^40 at most."""
    byte, top, bottom = np.uint64(8), np.uint64(56), np.uint64(1) << np.uint64(48)
    words, place, data = coder.words, coder.place, coder.data
    unit = words[1] // np.uint64(total)
    low, span = words[0] + unit * np.uint64(start), unit * np.uint64(size)
    while True:
        if (low ^ (low + span)) >> top:
            if span >= bottom:
                break
            span = (np.uint64(0) - low) & (bottom - np.uint64(1))
        if coder.decoding:
            read = np.uint64(0)
            if place[0] < data.size:
                read = np.uint64(data[place[0]])
                place[0] += 1
            else:
                place[1] += 1
            words[2] = (words[2] << byte) | read
        else:
            data[place[0]] = np.uint8(low >> top)
            place[0] += 1
        low <<= byte
        span <<= byte
    words[0], words[1] = low, span


@numba.njit(cache=True, nogil=True)
def code_number(coder, number, total):  # type: ignore[no-untyped-def]
    """A number below `total`, all of which are as likely."""
    if coder.decoding:
        number = sought(coder, total)
    narrow(coder, number, 1, total)
    return number


@numba.njit(cache=True, nogil=True)
def code_bit(coder, bits, kind, bit):  # type: ignore[no-untyped-def]
    """A bit of a kind, of which `bits` [kinds, 2] know how often it was one."""
    total = 1 << 16
    ones = min(max(int(bits[kind, 0] * total), 24), total - 24)
    if coder.decoding:
        bit = np.int64(sought(coder, total) < ones)
    if bit:
        narrow(coder, 0, ones, total)
    else:
        narrow(coder, ones, total - ones, total)
    weight = min(float(bits[kind, 1] + 1), LEARNING)
    bits[kind, 0] += (bit - bits[kind, 0]) / (weight + 0.8)
    bits[kind, 1] = weight
    return np.int64(bit)


@numba.njit(cache=True, nogil=True)
def code_bits(coder, bits, kinds, values):  # type: ignore[no-untyped-def]
    """Many bits, each of its kind, [N] each; `values` is written to while decoding.

    Whether any of BLOCK bits is one is told first, as a bit of the last kind.
    """
    for start in range(0, values.size, BLOCK):
        stop, is_any = min(start + BLOCK, values.size), 0
        for i in range(start, stop):
            is_any |= values[i]
        is_any = code_bit(coder, bits, bits.shape[0] - 1, np.int64(is_any))
        for i in range(start, stop):
            values[i] = code_bit(coder, bits, kinds[i], np.int64(values[i])) if is_any else 0


@numba.njit(cache=True, nogil=True)
def code_symbol(coder, bits, first, symbol, depth):  # type: ignore[no-untyped-def]
    """A number of `depth` bits, highest first; the kinds from `first` on are its own."""
    node = 1
    for level in range(depth - 1, -1, -1):
        node = 2 * node + code_bit(coder, bits, first + node, (symbol >> level) & 1)
    return np.int64(node - (1 << depth))
