"""A ticket that exists in another form, and any form opened to be run.

In: a ticket. Out: a file that computes the same with other contents, or a network to call.

- `forms`: folded, masked, sparse or seeded, each made of each;
- `compare`: target, ticket and form side by side;
- `network`: a ticket or a pack behind a `run`.
"""
