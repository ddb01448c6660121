"""Where a ticket spends its weights: the neurons of a block and the price of a weight, by layer.

A weight more in every row of a layer makes its outputs a little truer; how much truer for how many
weights is what layers compete in. The error that one weight takes away, as a share of a row's
signal, falls with the number of weights in the row, and counts for less the more rows (copies)
there are: so a weight is dear where rows are long and many. How dear is `Options.dearness`, the
power of a layer's size that its price follows; below 0 it is the small layers that save.

A larger base set makes subsets smaller. In a block each of its neurons costs one weight, so that it
pays where many weights choose among them. The copies of a one-for-one layer cost a layer each, and
skips share them: there one size for all proved the smallest.
"""

import math
from collections.abc import Collection

from lt_onnx.blueprint import Blueprint, Build
from lt_onnx.errors import InputError
from lt_onnx.options import Mode, Options, Select
from lt_onnx.target import Target

MIN_NEURONS, MAX_NEURONS = 20, 32  # chosen for a block: with fewer, misses drown the rest
SUBSET_SIZE = 2.0  # elements that a subset usually has


def neurons(target: Target, options: Options, *, views: Collection[str], features: int) -> int:
    """m: neurons for each of the `features` (channels, or their signs) of a block.

    `views` are the tensor that the block opens and what only arranges it otherwise.

    Chosen where it is not given: the n weights of a feature need subsets of s elements each, and s
    falls as 1 / ln(e·m / s) when m grows, so that n·s + m is least where m·ln(e·m / s) = n·s.
    """
    size = options.base_size or MIN_NEURONS
    readers = [linear for linear in target.linears if linear.input in views]
    own = dict(options.base_sizes)
    if any(linear.name in own for linear in readers):
        return max(own.get(linear.name, 0) for linear in readers)
    if options.select is not Select.NOISE:
        return size
    if options.base_size is not None:
        return max(size, MIN_NEURONS) if options.mode is Mode.L_PLUS_1 else size
    elements = SUBSET_SIZE * sum(linear.count for linear in readers) / max(features, 1)
    m = MIN_NEURONS
    while m < MAX_NEURONS and m * math.log(math.e * m / SUBSET_SIZE) < elements:
        m += 1
    return m


def prices(blueprint: Blueprint) -> dict[str, float]:
    """μ of every constructed layer, by name: as given, or by its size."""
    options = blueprint.options
    sizes = {step.name: _problems(step) for step in blueprint.steps if isinstance(step, Build)}
    # of the layer that an average weight stands in
    typical = sum(size * size for size in sizes.values()) / max(sum(sizes.values()), 1)
    mu, power = options.mu, options.dearness
    by_size = {name: mu * (size / typical) ** power for name, size in sizes.items()}
    return by_size | dict(options.prices)


def _problems(step: Build) -> float:
    """Subset-sum problems of a layer that ask for anything: target weights times copies."""
    rows = int((step.out_layout.channel >= 0).sum())
    return max(step.linear.count * rows / len(step.linear.bias), 1.0)


def check_names(blueprint: Blueprint) -> None:
    """Raises InputError when a price or base size is given to a layer that cannot have it."""
    options, builds = blueprint.options, [s for s in blueprint.steps if isinstance(s, Build)]
    opening = [step for step in builds if not step.one_for_one]
    for option, given, layers in (
        ("price", options.prices, builds),
        ("base_size", options.base_sizes, opening),
    ):
        names = [step.name for step in layers]
        for name, _ in given:
            if name not in names:
                first = ", ".join(f"'{layer}'" for layer in names[:3])
                raise InputError(
                    f"{blueprint.target.path}: `{option}` names '{name}', which has none of its "
                    f"own; layers that have are {first}{', …' if len(names) > 3 else ''}"
                )
