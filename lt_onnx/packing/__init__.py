"""A ticket without its random numbers: graph, seed, packed masks, scales. `unpack` draws the rest.

A pack (`.ltz`) is a zip file:

    pack.json     format, the ticket's name, SHA-256 and size of each of its files
    graph.onnx    the ticket, its random tensors emptied
    masks.bin     for every random tensor in order one bit per number, in rows of the source, set
                  where it is kept; padded to whole bytes; LZMA
"""

from lt_onnx.packing.read import named, opened, unpack
from lt_onnx.packing.write import pack

__all__ = ["named", "opened", "pack", "unpack"]
