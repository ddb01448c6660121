"""A ticket as a torch module, every operator by its own rule.

In: a plain ticket. Out: a `TicketModule` that computes what onnxruntime does, to rounding.

- `module`: masked layers, and the nodes in their order;
- `operators`: the table of operators, from `windows` (layers, pooling, normalisation), `shapes` and
  `resize`; `attributes` reads nodes.
"""
