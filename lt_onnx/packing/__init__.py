"""A ticket without its random numbers: graph, seed, packed masks, scales. `unpack` draws the rest.

In: a ticket that verifies. Out: a pack (`.ltz`), a zip file, from which the ticket comes back byte
for byte:

    pack.json     format, the ticket's name, name, size and SHA-256 of each of its files
    graph.onnx    the ticket, its random tensors emptied, and what follows from a block's record
    masks.bin     for every other random tensor in order, some rows of the source at a time: behind
                  a block, the sizes of the subsets, their ranks, and a bit for every constant;
                  elsewhere a bit for every number; padded to whole bytes; LZMA

`format` holds what both directions share, `subsets` codes a block's masks, `pack` writes packs,
`unpack` writes tickets.
"""
