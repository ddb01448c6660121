"""A ticket that exists in another form, and any form opened to be run.

In: a ticket. Out: a file that computes the same with other contents, or a network to call, to read
as arrays, to compare with another, to have as a torch module.

- `forms`: folded, masked, sparse or seeded, each made of each;
- `compare`: target, ticket and form side by side;
- `network`: a ticket or a pack, open; `layers`: its masks and random numbers as arrays, `in_torch`:
  the same network in torch;
- `overlap`: what two tickets' masks have in common.
"""
