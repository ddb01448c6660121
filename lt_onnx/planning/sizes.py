"""Numbers that pass through the layers of target and ticket, and multiply-adds, per sample.

Comes in: a Blueprint's steps, and a Target with sizes. Goes out: what follows from shapes alone.
"Numbers" are entries of tensors.
"""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from lt_onnx.blueprint import Blueprint, Build, Expand, Run
from lt_onnx.reading.sized import with_sizes
from lt_onnx.samples.random_inputs import OPEN_AXIS
from lt_onnx.target import Linear, Target

PARTS = 8  # of the target, that are run anew from the first with another layer
MAX_POSITIONS = 8192  # output positions that H is made from …
MAX_PROBLEMS = 1152  # … and problems with one H: Cholesky takes O(n · MAX_PROBLEMS²)
# samples whose layers are compared at a time, and numbers of both networks that are held for it
TRACE_BATCH, MAX_EXPOSED = 16, 1 << 26


def sized(target: Target, sizes: Mapping[str, Sequence[int]]) -> Target:
    """The target with inputs of these sizes, where it leaves them open."""
    if all(isinstance(d, int) and d > 0 for port in target.inputs for d in port.shape[1:]):
        return target
    return with_sizes(target, sizes)


def read_whole(blueprint: Blueprint) -> frozenset[str]:
    """The layers for which all neurons of their block are made: other nodes stand between.

    Everywhere else one neuron stands for all that make the same of their input.
    """
    opened = {step.output for step in blueprint.steps if isinstance(step, Expand)}
    builds = (step for step in blueprint.steps if isinstance(step, Build) and step.expand)
    return frozenset(step.name for step in builds if step.input not in opened)


def numbers(target: Target, step: Build) -> tuple[int, int]:
    """Numbers in the input and in the output of a layer of the ticket, per sample."""
    linear = step.linear
    read = step.in_layout.width * positions(target, linear.input, linear.op)
    return read, step.source.shape[0] * positions(target, linear.output, linear.op)


def held_numbers(target: Target, step: Build) -> tuple[int, int]:
    """Numbers in input and output of a layer that are held; of a block its features."""
    read, made = numbers(target, step)
    if step.expand is not None:
        linear = step.linear
        channels = linear.weight.shape[1] * linear.group * len(step.coefficients)
        read = channels * positions(target, linear.input, linear.op)
    return read, made


def made_numbers(target: Target, step: Build, *, whole: bool) -> tuple[int, int]:
    """Numbers in input and output of a layer under construction; see `read_whole`.

    Of a block one neuron of each feature is run, its mirror image, and all constants.
    """
    read, made = held_numbers(target, step)
    if whole or step.expand is None:
        return numbers(target, step)[0], made
    constants = step.in_layout.constants * positions(target, step.linear.input, step.linear.op)
    return read * (2 if step.in_layout.mirror else 1) + constants, made


def waiting_numbers(target: Target, blueprint: Blueprint) -> dict[str, int]:
    """Numbers of the ticket's tensors that wait while a layer is built, by layer, its input apart.

    They are read behind it: skip connections.
    """
    last = {name: i for i, step in enumerate(blueprint.steps) for name in _read(step)}
    copies, held, waiting = Counter[str](), dict[str, int](), dict[str, int]()
    for i, step in enumerate(blueprint.steps):
        if isinstance(step, Build):
            others = (held[name] for name in held if name != step.input and last[name] > i)
            waiting[step.name] = sum(others)
            held[step.output] = numbers(target, step)[1]
            copies[step.output] = step.source.shape[0] // len(step.linear.bias)
        elif isinstance(step, Run):
            most = max((copies[name] for name in step.node.inputs), default=0)
            for name in step.node.outputs:
                copies[name], held[name] = most, most * _count(target, name)
        held = {name: count for name, count in held.items() if last.get(name, -1) > i}
    return waiting


def held_by_target(target: Target) -> tuple[dict[str, int], int]:
    """Numbers of the target's tensors that are held while errors of each layer are felt, by layer.

    And those that its PARTS start from. Per sample.
    """
    last = {name: i for i, step in enumerate(target.steps) for name in step.inputs}
    last |= {port.name: len(target.steps) for port in target.outputs}
    held = {port.name: _count(target, port.name) for port in target.inputs}
    each, layers, starts = -(-len(target.linears) // PARTS), dict[str, int](), dict[str, int]()
    for i, step in enumerate(target.steps):
        if isinstance(step, Linear) and layers and len(layers) % each == 0:
            starts |= held
        held |= {name: _count(target, name) for name in step.outputs}
        if isinstance(step, Linear):
            layers[step.name] = sum(held.values())
        held = {name: count for name, count in held.items() if last.get(name, -1) > i}
    return layers, sum(starts.values())


def output_numbers(target: Target) -> int:
    """Numbers that the target puts out, per sample."""
    return sum(_count(target, port.name) for port in target.outputs)


def _count(target: Target, tensor: str) -> int:
    """Numbers of a tensor of the target, per sample."""
    return math.prod(d if isinstance(d, int) else 1 for d in target.shapes.get(tensor, ())[1:])


def _read(step: Run | Expand | Build) -> Iterator[str]:
    return (name for node in step.nodes for name in node.inputs)


def patches(target: Target, step: Build, count: int) -> tuple[int, int]:
    """Positions that moments are made from, and entries of a patch of one group."""
    places = count * positions(target, step.linear.output, step.linear.op)
    entries = math.prod(step.linear.weight.shape[1:]) * len(step.coefficients)
    return min(places, MAX_POSITIONS), entries


def activation_count(target: Target, blueprint: Blueprint | None, linear: Linear) -> int:
    """Numbers in input and output of a layer, of the target and of its ticket, per sample.

    Of a block the input counts that its neurons read.
    """
    read = linear.weight.shape[1] * linear.group * positions(target, linear.input, linear.op)
    own: int = read + len(linear.bias) * positions(target, linear.output, linear.op)
    for step in blueprint.steps if blueprint is not None else ():
        if isinstance(step, Build) and step.name == linear.name:
            of_ticket, made = numbers(target, step)
            return own + made + (of_ticket if step.expand is None else read)
    return 2 * own


def traced_together(counts: Sequence[int]) -> int:
    """How many samples are run at a time, for layers of so many numbers each to be compared.

    As few as let all layers be compared in one run of the network.
    """
    return max(1, min(TRACE_BATCH, MAX_EXPOSED // max(sum(counts), 1)))


def exposed_together(counts: Sequence[int], batch: int) -> Iterator[slice]:
    """Neighbouring layers of so many numbers each whose tensors are compared at a time.

    `MAX_EXPOSED` of a batch, or one layer.
    """
    start = 0
    for stop in range(1, len(counts) + 1):
        if stop == len(counts) or sum(counts[start : stop + 1]) * batch > MAX_EXPOSED:
            yield slice(start, stop)
            start = stop


def feature_multiply_adds(target: Target, step: Build) -> int:
    """Of one layer that is run on the features it reads, per sample."""
    if step.expand is None:
        return multiply_adds(target, step)
    weights = math.prod(step.linear.weight.shape[1:]) * len(step.coefficients)
    places = positions(target, step.linear.output, step.linear.op)
    return step.source.shape[0] * weights * places


def multiply_adds(target: Target, step: Build) -> int:
    """Of one layer of the ticket, per sample."""
    return step.source.size * positions(target, step.linear.output, step.linear.op)


def target_work(target: Target) -> int:
    """Multiply-adds of the target's layers, per sample."""
    layers = target.linears
    return sum(layer.weight.size * positions(target, layer.output, layer.op) for layer in layers)


def positions(target: Target, tensor: str, op: str) -> int:
    """Places of a tensor that a layer of kind `op` treats alike, per sample."""
    shape = target.shapes.get(tensor, ())
    spatial = shape[2:] if op == "Conv" else shape[1:-1]
    return math.prod(d if isinstance(d, int) else OPEN_AXIS for d in spatial)
