"""What the generator of a seeded ticket is, node by node and number by number.

In: the masks of a ticket, as their codes say them. Out: the nodes that make its weights, and the
tensors that those read, codes apart. This is a specification, and shares no code with the writer's.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import helper

from lt_onnx.manifest import Deployed, LayerRecord, Manifest
from lt_onnx.target import Array, Indices
from lt_onnx.verification.generator_sums import summed
from lt_onnx.verification.node_text import written

MAX_DRAWS = 8
MIN_DRAWN = 1 << 18  # numbers of one draw, if they are of more than one tensor
# Each line: output = Operator(inputs) attribute=value. T stands for a tensor, D for a draw, G for
# the one before it, B for the bits of a code.
WAIT = """
D/wait/size = Abs(G/gate)
D/wait/one = ConstantOfShape(D/wait/size) value=int32
D/wait = Scan(D/wait/one) body=hand_on num_scan_inputs=1 ! \
Nothing is folded through this: the draw waits until those before it are folded.
D/gate = Shape(D/wait)
D/factor = Cast(D/gate) to=UINT64
"""
SHIFTS = "D/shifts_B = Mul(draw/shifts_B D/factor)"
NOTHING = "D/nothing = ConstantOfShape(D/gate) value=float32"
MASK = """
T/mask/words = BitShift(T/codes D/shifts_B) direction=RIGHT ! \
Codes become gaps, and gaps the positions that the mask keeps.
T/mask/fields = BitwiseAnd(T/mask/words draw/field_B)
T/mask/integers = Cast(T/mask/fields) to=INT32
T/mask/all = Reshape(T/mask/integers draw/flat)
T/mask/steps = Slice(T/mask/all draw/start T/count)
T/mask/kept = Less(T/mask/steps draw/jump_B)
T/mask/one = Cast(T/mask/kept) to=INT32
T/mask/gaps = Add(T/mask/steps T/mask/one)
T/mask/ends = CumSum(T/mask/gaps draw/axis)
T/mask = Sub(T/mask/ends draw/one)
"""
IN_ROW = "T/mirror/in_row = Mod(P T/mirror/row)"
MIRROR = """
T/mirror/K/above = GreaterOrEqual(P T/mirror/K/low)
T/mirror/K/below = Less(P T/mirror/K/high)
T/mirror/K/image = And(T/mirror/K/above T/mirror/K/below)
T/mirror/K/one = Cast(T/mirror/K/image) to=INT32
T/mirror/K/shift = Mul(T/mirror/K/one T/mirror/K/low)
T/mirror/K/origin = Sub(O T/mirror/K/shift)
"""
PLACES = """
D/place = Cast(D/places) to=UINT64
D/zeros = Sub(D/places D/places)
D/marks = ScatterElements(D/zeros D/starts D/ones) axis=0
D/numbers = CumSum(D/marks draw/axis)
D/piece = Sub(D/numbers draw/one)
D/layer = Gather(D/layers D/piece)
D/stream = Gather(D/streams D/piece)
D/block = BitShift(D/place draw/two) direction=RIGHT ! \
Philox4x32-10 of seed, layer and position: uniform on [-1, 1), 24 bits.
D/c0 = BitwiseAnd(D/block draw/low)
D/c1 = BitShift(D/block draw/word) direction=RIGHT
"""
ROUND = """
D/R/p0 = Mul(C0 draw/m0)
D/R/p1 = Mul(C2 draw/m1)
D/R/h0 = BitShift(D/R/p0 draw/word) direction=RIGHT
D/R/h1 = BitShift(D/R/p1 draw/word) direction=RIGHT
D/R/x0 = BitwiseXor(D/R/h1 C1)
D/R/x1 = BitwiseXor(D/R/h0 C3)
D/R/c0 = BitwiseXor(D/R/x0 draw/k0_R)
D/R/c2 = BitwiseXor(D/R/x1 draw/k1_R)
D/R/c1 = BitwiseAnd(D/R/p1 draw/low)
D/R/c3 = BitwiseAnd(D/R/p0 draw/low)
"""
UNITS = """
D/lane_bits = BitwiseAnd(D/place draw/three)
D/lane = Cast(D/lane_bits) to=INT32
D/upper_0 = BitShift(D/9/c0 draw/dropped) direction=RIGHT
D/number_0 = Cast(D/upper_0) to=INT32
D/upper_1 = BitShift(D/9/c1 draw/dropped) direction=RIGHT
D/number_1 = Cast(D/upper_1) to=INT32
D/upper_2 = BitShift(D/9/c2 draw/dropped) direction=RIGHT
D/number_2 = Cast(D/upper_2) to=INT32
D/upper_3 = BitShift(D/9/c3 draw/dropped) direction=RIGHT
D/number_3 = Cast(D/upper_3) to=INT32
D/is_1 = Equal(D/lane draw/lane_1)
D/choice_1 = Where(D/is_1 D/number_1 D/number_0)
D/is_2 = Equal(D/lane draw/lane_2)
D/choice_2 = Where(D/is_2 D/number_2 D/choice_1)
D/is_3 = Equal(D/lane draw/lane_3)
D/choice_3 = Where(D/is_3 D/number_3 D/choice_2)
D/turned = BitwiseXor(D/choice_3 draw/half)
D/signed = Sub(D/turned draw/half)
D/number = Cast(D/signed) to=FLOAT
D/units = Mul(D/number draw/unit)
"""
SCALED = "T/scaled = Mul(T/draw W/deviation)"
SIGNED = """
T/negative = Neg(T/scaled)
T/signed = Where(T/mirror/turned T/negative T/scaled)
"""
HALF = """
T/half = Cast(V) to=FLOAT16
T/rounded = Cast(T/half) to=FLOAT
"""
SCATTERED = """
T/values = Where(T/mask/kept V D/nothing)
T/zeros = Expand(D/nothing T/size)
F = ScatterElements(T/zeros T/mask T/values) axis=0
"""
ROWS = """
W/rows = Reshape(W/flat W/shape)
W = Transpose(W/rows) perm=1,0
"""
SHAPED = "W = Reshape(W/flat W/shape)"


@dataclass(frozen=True)
class Mask:
    """What the codes of a tensor say: how they are read, and the positions that are kept."""

    name: str
    layer: LayerRecord
    stream: int  # 0: weights, 1: biases
    bits: int
    count: int  # of codes
    places: Indices

    @property
    def size(self) -> int:
        """Numbers of the tensor, zeros included."""
        return math.prod(self.layer.shape) if self.stream == 0 else self.layer.shape[0]

    @property
    def mirrors(self) -> dict[str, tuple[int, int]]:
        """By what is mirrored: how many channels, and the positions from one to the next."""
        shape = self.layer.shape
        halves = {
            "rows": (self.layer.mirror_rows, math.prod(shape[1:])),
            "columns": (self.layer.mirror_columns, math.prod(shape[2:])),
        }
        return {key: half for key, half in halves.items() if half[0] and self.stream == 0}


def generator_nodes(
    masks: Sequence[Mask], manifest: Manifest, deployed: Deployed
) -> tuple[list[onnx.NodeProto], dict[str, Array]]:
    """The nodes that a generator of these masks consists of, and what they read.

    `deployed` says which layers' weights are sums; where none are, each is made as it is.
    """
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, Array] = {}
    before = ""
    for number, drawn in enumerate(_draws(masks), 1):
        draw = "draw" if number == 1 else f"draw_{number}"
        widths = sorted({mask.bits for mask in drawn})
        if before:
            nodes += written(WAIT, D=draw, G=before)
            for bits in widths:
                nodes += written(SHIFTS, D=draw, B=str(bits))
            nodes += written(NOTHING, D=draw)
            constants["draw/gate"] = np.array([1])
        before, places = draw, []
        for mask in drawn:
            nodes += written(MASK, T=mask.name, D=draw, B=str(mask.bits))
            places.append(_mirrored(mask, nodes))
            constants |= _mask_constants(mask)
        nodes.append(helper.make_node("Concat", places, [f"{draw}/places"], axis=0))
        nodes += _philox(draw)
        outputs = [f"{mask.name}/draw" for mask in drawn]
        units = [f"{draw}/units", f"{draw}/counts"]
        nodes.append(helper.make_node("Split", units, outputs, axis=0))
        for mask in drawn:
            nodes += _scattered(mask, draw)
        counts = [mask.count for mask in drawn]
        constants |= {
            f"{draw}/starts": np.cumsum([0, *counts[:-1]]),
            f"{draw}/ones": np.ones(len(drawn), np.int32),
            f"{draw}/counts": np.array(counts),
            f"{draw}/layers": np.array([mask.layer.index for mask in drawn], np.uint64),
            f"{draw}/streams": np.array([mask.stream for mask in drawn], np.uint64),
        }
    if not deployed.collapsed:
        for layer in manifest.layers:
            nodes += written(ROWS if layer.transposed else SHAPED, W=layer.weight)
            constants[f"{layer.weight}/shape"] = np.array(layer.shape)
    for entry in deployed.collapsed:
        added, read = summed(entry, manifest, deployed.slope)
        nodes += added
        constants |= read
    return nodes, constants | _shared_constants(manifest.seed)


def _draws(masks: Sequence[Mask]) -> list[list[Mask]]:
    """The masks whose numbers are drawn together.

    There are at most MAX_DRAWS, and so many numbers in one as it then takes; but MIN_DRAWN in any.
    """
    low, high = MIN_DRAWN - 1, max(MIN_DRAWN, sum(mask.count for mask in masks))
    while high - low > 1:  # `high` is enough, `low` is not
        middle = (low + high) // 2
        if len(_filled(masks, middle)) > MAX_DRAWS:
            low = middle
        else:
            high = middle
    return _filled(masks, high)


def _filled(masks: Sequence[Mask], limit: int) -> list[list[Mask]]:
    """The masks one after the other, a new list where one would have more numbers than `limit`."""
    lists: list[list[Mask]] = []
    total = limit
    for mask in masks:
        if total + mask.count > limit:
            lists.append([])
            total = 0
        lists[-1].append(mask)
        total += mask.count
    return lists


def _mirrored(mask: Mask, nodes: list[onnx.NodeProto]) -> str:
    """Add what finds the originals of mirror images; returns where the numbers are drawn from."""
    places = f"{mask.name}/mask"
    for key in mask.mirrors:
        inside = places
        if key == "columns":
            nodes += written(IN_ROW, T=mask.name, P=places)
            inside = f"{mask.name}/mirror/in_row"
        nodes += written(MIRROR, T=mask.name, K=key, P=inside, O=places)
        places = f"{mask.name}/mirror/{key}/origin"
    if mask.mirrors:
        images = [f"{mask.name}/mirror/{key}/image" for key in mask.mirrors]
        op = "Xor" if len(images) == 2 else "Identity"
        nodes.append(helper.make_node(op, images, [f"{mask.name}/mirror/turned"]))
    return places


def _philox(draw: str) -> Iterator[onnx.NodeProto]:
    """The nodes between positions and unit values."""
    yield from written(PLACES, D=draw)
    words = [f"{draw}/c0", f"{draw}/c1", f"{draw}/layer", f"{draw}/stream"]
    for number in range(10):
        counter = {f"C{place}": word for place, word in enumerate(words)}
        yield from written(ROUND, D=draw, R=str(number), **counter)
        words = [f"{draw}/{number}/c{place}" for place in range(4)]
    yield from written(UNITS, D=draw)


def _scattered(mask: Mask, draw: str) -> Iterator[onnx.NodeProto]:
    """The nodes between unit values and the masked tensor, in one row."""
    name, layer = mask.name, mask.layer
    value = f"{name}/scaled"
    yield from written(SCALED, T=name, W=layer.weight)
    if mask.stream == 0 and (layer.mirror_rows or layer.mirror_columns):
        yield from written(SIGNED, T=name)
        value = f"{name}/signed"
    if mask.stream == 0 and layer.half:
        yield from written(HALF, T=name, V=value)
        value = f"{name}/rounded"
    flat = name if mask.stream else f"{name}/flat"
    yield from written(SCATTERED, T=name, D=draw, V=value, F=flat)


def _mask_constants(mask: Mask) -> dict[str, Array]:
    """What the nodes of one tensor read beside its codes."""
    name, bits = mask.name, mask.bits
    constants: dict[str, Array] = {
        f"{name}/count": np.array([mask.count]),
        f"{name}/size": np.array([mask.size]),
        f"{mask.layer.weight}/deviation": np.array(mask.layer.sigma, np.float32),
        f"draw/shifts_{bits}": np.arange(64 // bits, dtype=np.uint64) * np.uint64(bits),
        f"draw/field_{bits}": np.array(2**bits - 1, np.uint64),
        f"draw/jump_{bits}": np.array(2**bits - 1, np.int32),
    }
    for key, (half, stride) in mask.mirrors.items():
        constants[f"{name}/mirror/{key}/low"] = np.array(half * stride, np.int32)
        constants[f"{name}/mirror/{key}/high"] = np.array(2 * half * stride, np.int32)
        if key == "columns":
            constants[f"{name}/mirror/row"] = np.array(math.prod(mask.layer.shape[1:]), np.int32)
    return constants


def _shared_constants(seed: int) -> dict[str, Array]:
    """What all generators of a file read: Philox's own numbers, and the keys of its rounds."""
    words = {"low": 2**32 - 1, "word": 32, "two": 2, "three": 3, "dropped": 8}
    words |= {"m0": 0xD2511F53, "m1": 0xCD9E8D57}
    for number in range(10):
        words[f"k0_{number}"] = ((seed & 0xFFFFFFFF) + number * 0x9E3779B9) & 0xFFFFFFFF
        words[f"k1_{number}"] = ((seed >> 32) + number * 0xBB67AE85) & 0xFFFFFFFF
    whole = {f"lane_{lane}": lane for lane in (1, 2, 3)}
    whole |= {"one": 1, "half": 1 << 23}
    constants: dict[str, Array] = {key: np.array(word, np.uint64) for key, word in words.items()}
    constants |= {key: np.array(number, np.int32) for key, number in whole.items()}
    constants |= {"flat": np.array([-1]), "start": np.array([0]), "axis": np.array(0)}
    constants |= {"unit": np.array(2.0**-23, np.float32), "nothing": np.array(0, np.float32)}
    return {f"draw/{key}": value for key, value in constants.items()}
