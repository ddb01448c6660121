"""What a network's inputs are like, as far as the operators tell that read them first.

Random inputs follow it: whole numbers pick from all of the table that they pick from, and a network
that takes means off its input, or divides it by 255, is given what then has mean 0 and variance 1.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from lt_onnx.reading.channel_axis import ARRANGING_OPS
from lt_onnx.target import Array, Doubles, Node, Normal, Port, Target, step_nodes

AS_IT_IS = frozenset(["Cast", "Identity"])
ARRANGING = ARRANGING_OPS | AS_IT_IS


def with_known_inputs(target: Target) -> Target:
    """The target, whose ports say what is known of their numbers."""
    nodes = [node for step in target.steps for node in step_nodes(step)[0]]
    tables, readers = _tables(target, nodes), dict[str, list[Node]]()
    for node in nodes:
        for name in set(node.inputs):
            readers.setdefault(name, []).append(node)
    ports = [
        replace(
            port, entries=tables.get(port.name), normal=_normal(port, readers, target.constants)
        )
        for port in target.inputs
    ]
    alone = _takes_one_input(target)
    return replace(target, inputs=tuple(replace(port, alone=alone) for port in ports))


def _takes_one_input(target: Target) -> bool:
    """Whether any batch is taken, but one output is made: an exporter has kept the batch of 1 that
    it was shown in shapes within the network.
    """
    batches = {size for port in target.inputs for size in port.shape[:1]}
    made = [(port.shape, target.shapes.get(port.name, ())) for port in target.outputs]
    return (
        bool(batches and made)
        and not any(isinstance(size, int) for size in batches)
        and all(any(shape[:1] == (1,) for shape in known) for known in made)
        and batches.isdisjoint(size for known in made for shape in known for size in shape)
    )


def _tables(target: Target, nodes: list[Node]) -> dict[str, int]:
    """By input of whole numbers: the entries of the smallest constant table that it picks from."""
    same = {port.name: port.name for port in target.inputs if port.dtype.kind in "iu"}
    found: dict[str, int] = {}
    for node in nodes:
        if node.op in ARRANGING and node.inputs[0] in same:
            same[node.outputs[0]] = same[node.inputs[0]]
        elif node.op == "Gather" and node.inputs[1] in same and node.inputs[0] in target.constants:
            entries = target.constants[node.inputs[0]].shape[node.attributes.get("axis", 0)]
            name = same[node.inputs[1]]
            found[name] = min(found.get(name, entries), entries)
    return found


def _normal(
    port: Port, readers: Mapping[str, list[Node]], constants: Mapping[str, Array]
) -> Normal | None:
    """What the network makes 0 and 1 of, of an input that it normalises before all else.

    Its single readers follow one another: sums, products with constants, a BatchNormalization.
    """
    if port.dtype.kind != "f" or not port.ranked:
        return None
    name, found = port.name, False
    scale: Doubles = np.ones(())  # of scale · x + shift
    shift: Doubles = np.zeros(())
    while len(reading := readers.get(name, [])) == 1 and np.all(scale != 0):
        (node,) = reading
        name = node.outputs[0]
        if node.op == "BatchNormalization" and set(node.inputs[1:]) <= constants.keys():
            mean, variance = (_along_channels(constants[n], port) for n in node.inputs[3:5])
            deviation = np.sqrt(np.maximum(variance, 0) + node.attributes.get("epsilon", 1e-5))
            scale, shift = scale / deviation, (shift - mean) / deviation
            return _inverse(scale, shift, port, measured=True)
        if node.op not in AS_IT_IS:
            changed = _affine(node, scale, shift, constants)
            if changed is None:
                break
            (scale, shift), found = changed, True
    return _inverse(scale, shift, port, measured=False) if found else None


def _affine(
    node: Node, scale: Doubles, shift: Doubles, constants: Mapping[str, Array]
) -> tuple[Doubles, Doubles] | None:
    """Scale and shift behind a sum or product with a constant; None for any other operator."""
    if node.op not in ("Add", "Sub", "Mul", "Div"):
        return None
    constant = [name in constants for name in node.inputs]
    if sum(constant) != 1 or (node.op == "Div" and constant[0]):
        return None
    by = constants[node.inputs[constant.index(True)]].astype(np.float64)
    if node.op == "Mul":
        return scale * by, shift * by
    if node.op == "Div":
        by = np.where(by == 0, np.nan, by)
        return scale / by, shift / by
    if node.op == "Sub" and constant[0]:
        return -scale, by - shift
    return scale, shift + (by if node.op == "Add" else -by)


def _along_channels(values: Array, port: Port) -> Doubles:
    """Values [C] of an input's second axis, so that they go with it."""
    return values.astype(np.float64).reshape(-1, *[1] * (len(port.shape) - 2))


def _inverse(scale: Doubles, shift: Doubles, port: Port, *, measured: bool) -> Normal | None:
    """What comes to 0, and how much more to 1; None where that is no number for each entry."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean, deviation = -shift / scale, 1 / np.abs(scale)
    mean, deviation = np.broadcast_arrays(mean, deviation)
    known = np.isfinite(mean).all() and np.isfinite(deviation).all() and (deviation > 0).all()
    if not known or mean.ndim > len(port.shape):
        return None
    return Normal(mean.astype(np.float32), deviation.astype(np.float32), measured)
