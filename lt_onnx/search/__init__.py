"""Settings for a ticket that is good enough.

Comes in: a job without base size and price, and a goal. Goes out: options with both.

- `ladder`: settings from small to faithful tickets, the goal, and the search for the lowest.
- `trials`: the search on a job, each setting judged by a ticket that is really made.
"""
