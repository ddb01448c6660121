"""The counter-based generator behind every random weight, for any position, in any order.

Philox4x32-10 (Salmon et al., SC 2011); `manifest.GENERATOR` names it in a ticket. For the flat
position `p` of a weight in its layer:

    key      = (seed mod 2^32, seed div 2^32)
    counter  = ((p div 4) mod 2^32, (p div 4) div 2^32, layer, stream)
    u        = int32(word p mod 4) >> 8, times 2^-23        uniform on [-1, 1), 24 bits
"""

import numba
import numpy as np

from lt_onnx.cores import share
from lt_onnx.target import Floats

MIN_PIECE = 1 << 14  # positions that one thread draws
WEIGHTS = np.int64(0)  # the stream of weights


@numba.njit(inline="always")
def philox(c0, c1, c2, c3, k0, k1):  # type: ignore[no-untyped-def]
    """Ten rounds on 32-bit words held in uint64."""
    low = np.uint64(0xFFFFFFFF)
    shift = np.uint64(32)
    for _ in range(10):
        p0 = np.uint64(0xD2511F53) * c0
        p1 = np.uint64(0xCD9E8D57) * c2
        c0 = (p1 >> shift) ^ c1 ^ k0
        c2 = (p0 >> shift) ^ c3 ^ k1
        c1 = p1 & low
        c3 = p0 & low
        k0 = (k0 + np.uint64(0x9E3779B9)) & low
        k1 = (k1 + np.uint64(0xBB67AE85)) & low
    return c0, c1, c2, c3


@numba.njit(inline="always")
def words_of(number, seed, layer, stream):  # type: ignore[no-untyped-def]
    """The four words of the positions 4·number … 4·number + 3."""
    counter, key, c2, c3 = np.uint64(number), np.uint64(seed), np.uint64(layer), np.uint64(stream)
    low, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    return philox(counter & low, counter >> shift, c2, c3, key & low, key >> shift)


@numba.njit(inline="always")
def unit_value(word):  # type: ignore[no-untyped-def]
    """The unit value of a word."""
    return np.float32(np.int32(np.uint32(word)) >> np.int32(8)) * np.float32(2.0**-23)


@numba.njit(cache=True, nogil=True)
def fill(out, start, seed, layer, stream):  # type: ignore[no-untyped-def]
    """Write the unit values of the positions start, start+1, … into the flat array `out`."""
    for number in range(start // 4, (start + out.size - 1) // 4 + 1):
        words = words_of(number, seed, layer, stream)
        for i in range(4):
            place = np.int64(number) * 4 + i - start
            if 0 <= place < out.size:
                out[place] = unit_value(words[i])


def fill_all(out: Floats, start: int, seed: np.uint64, layer: int, stream: int) -> None:
    """The same on all cores."""

    def work(first: int, stop: int) -> None:
        fill(out[first:stop], start + first, seed, layer, stream)

    share(out.size, work, least=MIN_PIECE)


@numba.njit(cache=True)
def gather(out, places, seed, layer, stream):  # type: ignore[no-untyped-def]
    """Write the unit values of scattered positions into the flat array `out`."""
    for i in range(places.size):
        words = words_of(places[i] // 4, seed, layer, stream)
        out[i] = unit_value(words[places[i] % 4])
