"""A ticket without its random numbers: graph, seed, packed masks, scales. `unpack` draws the rest.

In: a ticket that verifies. Out: a pack (`.ltz`), a zip file, from which the ticket comes back byte
for byte:

    pack.json     format, the ticket's name, name, size and SHA-256 of each of its files
    graph.onnx    the ticket, its random tensors emptied, and what follows from a block's record
    masks.bin     for every other random tensor in order, some rows of the source at a time, by a
                  range coder: the subsets of its base sets, and a bit for every constant; where
                  it has none a bit for every number

`format` holds what both directions share, `archive` is the file, `pack` writes packs, `unpack`
writes tickets. Both go through `subsets`, a ticket's masks as bytes: `grouping` and `copies` tell
where base sets lie, `cells` which goals a subset is chosen for, `prices` at what price, `goals` how
goals are spread, `subset_code` makes symbols of that, `range_coder` bytes. `verify` proves a
ticket, or the one in a pack.
"""
