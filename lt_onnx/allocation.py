"""Where a ticket spends its weights: what a weight costs in each layer.

A weight more in every row of a layer makes its outputs a little truer; how much truer for how many
weights is what layers compete in. The error that one weight takes away, as a share of a row's
signal, falls with the number of weights in the row, and counts for less the more rows (copies)
there are: so a weight is dear where rows are long and many. How dear is `Options.dearness`, the
power of a layer's size that its price follows; below 0 it is the small layers that save.
"""

from collections.abc import Iterable

from lt_onnx.blueprint import Blueprint, Build


def shares(blueprint: Blueprint) -> dict[str, float]:
    """Factor of μ per constructed layer, by name; 1 in the layer where an average weight stands."""
    sizes = {step.name: _problems(step) for step in blueprint.steps if isinstance(step, Build)}
    middle = _typical(sizes.values())
    return {name: (size / middle) ** blueprint.options.dearness for name, size in sizes.items()}


def _problems(step: Build) -> int:
    """Subset-sum problems of a layer: target weights times copies."""
    rows = int((step.out_layout.channel >= 0).sum())
    return max(rows * int(step.linear.weight[0].size), 1)


def _typical(sizes: Iterable[int]) -> float:
    """Size of the layer that an average weight stands in."""
    known = list(sizes)
    return sum(size * size for size in known) / max(sum(known), 1)
