"""The neurons of a block, and the subset-sum problems of a layer.

A larger base set makes subsets smaller. In a block each of its neurons costs one weight, so that it
pays where many weights choose among them. The copies of a one-for-one layer cost a layer each, and
skips share them: there one size for all proved the smallest.
"""

import math
from collections.abc import Collection

from lt_onnx.blueprint import Blueprint, Build
from lt_onnx.errors import InputError, UnsupportedError
from lt_onnx.options import Mode, Options, Select
from lt_onnx.target import Target

MIN_NEURONS, MAX_NEURONS = 20, 32  # chosen for a block: with fewer, misses drown the rest
SUBSET_SIZE = 2.0  # elements that a subset usually has


def neurons(target: Target, options: Options, *, views: Collection[str], features: int) -> int:
    """m: neurons for each of the `features` (channels, or their signs) of a block.

    `views` are the tensor that the block opens and what only arranges it otherwise.

    Where there are copies a base size is theirs, which a block has at least. Chosen where it is not
    given: the n weights of a feature need subsets of s elements, and s falls as 1 / ln(e·m / s)
    when m grows, so that n·s + m is least where m·ln(e·m / s) = n·s.
    """
    size = options.base_size if options.mode is Mode.TWO_L else None
    readers = [linear for linear in target.linears if linear.input in views]
    own = dict(options.base_sizes)
    if any(linear.name in own for linear in readers):
        return max(own.get(linear.name, 0) for linear in readers)
    if options.select is not Select.NOISE:
        return options.base_size or MIN_NEURONS
    if size:
        return size
    elements = SUBSET_SIZE * sum(linear.count for linear in readers) / max(features, 1)
    m = max(MIN_NEURONS, options.base_size or 0)
    while m < MAX_NEURONS and m * math.log(math.e * m / SUBSET_SIZE) < elements:
        m += 1
    return m


def problems(blueprint: Blueprint) -> dict[str, float]:
    """Subset-sum problems of every constructed layer, by name: target weights times copies."""
    sizes = {}
    for step in (step for step in blueprint.steps if isinstance(step, Build)):
        rows = int((step.out_layout.channel >= 0).sum())
        sizes[step.name] = max(step.linear.count * rows / len(step.linear.bias), 1.0)
    return sizes


def check_layers(blueprint: Blueprint) -> None:
    """Raises InputError when a price or base size is given to a layer that cannot have it.

    And UnsupportedError where there is nothing that a ticket could keep.
    """
    target = blueprint.target
    if not target.linears:
        raise UnsupportedError(
            f"{target.path}: there is no layer to construct: no Conv, Gemm or MatMul with constant "
            "weights"
        )
    if not any(layer.weight.any() or layer.bias.any() for layer in target.linears):
        raise UnsupportedError(
            f"{target.path}: its layers have only zeros, of which a ticket keeps nothing"
        )
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
