"""A ticket without its random numbers: graph, seed, packed masks, scales. `unpack` draws the rest.

In: a ticket that verifies. Out: a pack (`.ltz`), a zip file, from which the ticket comes back byte
for byte:

    pack.json     format, the ticket's name, name, size and SHA-256 of each of its files
    graph.onnx    the ticket, its random tensors emptied
    masks.bin     for every random tensor in order one bit per number, in rows of the source, set
                  where it is kept; padded to whole bytes; LZMA

`format` holds what both directions share, `pack` writes packs, `unpack` writes tickets.
"""
