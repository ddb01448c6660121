"""From a plan to files: the ticket, and the source network beside it.

In: a Blueprint, and masked rows as they are constructed. Out: ONNX files that appear whole or not
at all.

`build` constructs and writes layer by layer; `checkpoint` keeps what is finished; `ticket` holds
the file under way; `storage` fills a layer's initializers; `assembly` makes the graph of them.
`seeded` puts a `generator` in the place of a ticket's numbers; `collapse` plans the graph in which
blocks are single layers.
"""
