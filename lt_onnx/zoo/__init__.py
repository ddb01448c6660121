"""Many networks, converted one by one or on a cluster.

Comes in: a folder of networks, options and limits, and who converts them (`cluster`). Goes out:
their tickets and reports, and an entry of each for one report of all.

- `network`: whether one is finished, what it takes, and its conversion, in a process apart.
- `remote`: the same of one at a URL, fetched and published.
- `folder`: which there are, and in what order they are converted.
"""
