"""The proof, from a ticket file alone, that the ticket is a masked copy of its random source.

In: a file from anybody, and the target if it is at hand. Out: a `Proof` with counts and failures.

- `verify`: the sequence, and what is proved; `statistics`: whether the source is random;
- `ticket_file`, `tensors`: the file opened, its seal, its manifest, its tensors read in pieces;
- `seeded`: a ticket that makes its own weights becomes a plain one, by `generator_nodes` and
  `generator_sums`, which are written as `node_text`; `collapsed` puts blocks back that were summed,
  where `signs` says that they may be;
- `allowed_fields`: no field holds numbers that no ticket has;
- `masked_weights` by `generator`: every stored number is zero or the source's, or it is told by a
  `flaw`; `univariate`: what opens a block follows from the seed;
- `graph_index`, `structure`, `constant_flow`: nothing else in the graph is a weight;
- `against_target`: the graph is what the target is planned to;
- `account`: how many bits the seed does not fix, and where they are; of the graph by `graph_bits`,
  of names by `text_bits`, in `code_lengths`.

Nothing of the construction is imported, but by `against_target`, which plans the target again.
"""
