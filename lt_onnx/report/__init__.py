"""From what was found about a ticket to files that tell it.

Comes in: proof, comparison, per-layer errors, bound, counts. Goes out: a document of plain data, as
JSON, Markdown, JUnit XML or HTML. In order: `schema` declares the document and generates its JSON
Schema (`schema.json`), `command` is the command line that it quotes, `document` fills it in,
`ticket` is a file with its report, `figures` puts it in words and tables, `templates` (with
`plots`) lays these out, `formats` picks by suffix and writes.
"""
