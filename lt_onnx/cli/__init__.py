"""The command line.

Comes in: its arguments. Goes out: lines and tables on stdout, progress and errors on stderr, an
exit code. Heavy modules are imported inside commands, so that `--help` is quick.

- `app`: the commands in order, and the one border where errors become a line and an exit code.
- `options`: how a command's parameters become options.
- `console`: what the commands print.
- One file per command: `inspect`, `plan`, `convert`, `verify`, `validate`, `zoo`, `pack` (and
  unpack), `source`, `frontier`, `stats`.
"""
