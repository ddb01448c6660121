"""Forged tickets: what a forger may change in one, and what the proof must say of it.

A genuine ticket is read as a `Draft` (`draft`), changed, and written with a seal that holds. The
catalogues list named changes with the reason that `verify` must give: `weights` and `scales` of the
layers' numbers, `wiring` of their nodes, `hidden` of numbers in foreign places, `records` of the
manifest, `files` and `external` of the bytes, `networks` of what only the target shows, `smuggled`
of trained numbers where a proof might not look; `counted` lists what passes, and as what. `trial`
writes a forgery and tells what came of it.
"""
