"""How many bits the names and texts of a file take.

In: its graph and its manifest. Out: bits, at most: the different texts compressed, and which nodes
have the same; what is called after a layer, as its tensors are, counts with that one's name.
"""

import lzma
import math
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from pathlib import Path
from typing import Any

import onnx
from msgspec import json

from lt_onnx.files import data_of
from lt_onnx.manifest import TICKET_TEXT, Manifest, doc_strings
from lt_onnx.reading.protobuf import canonical_domain
from lt_onnx.verification.allowed_fields import texts_of
from lt_onnx.verification.allowed_operators import OWN_DOMAINS
from lt_onnx.verification.code_lengths import kinds_bits
from lt_onnx.verification.tensors import Sparse, Tensors

KIND = 4  # bits that say after what nodes are called
# what is called after a layer, and after the tensor that a block opens on
LAYER_FORMS = (
    "sum sigma scaled biased neurons order weight weight/bias weight/half weight/source "
    "weight/mask weight/mask_cast weight/product weight/places weight/half/places".split()
)
BLOCK_FORMS = "univariate neurons positive both".split()
TEXT = [{"id": lzma.FILTER_LZMA2, "preset": 9, "dict_size": 1 << 20, "lc": 4, "pb": 0}]  # no header
MAX_COMPRESSED = 1 << 20  # bytes of text; more is counted as it is


def text_bits(manifest: Manifest, model: onnx.ModelProto) -> float:
    """Bits of all different names and texts, compressed together; what forms them counts once."""
    names = dict.fromkeys(name for node in model.graph.node for name in (node.name, *node.output))
    names |= dict.fromkeys(sorted({text for _, text in texts_of(model)}))
    layers = {layer.weight.removesuffix("/weight"): layer.block for layer in manifest.layers}
    opened = [name.removesuffix("/univariate") for name, block in layers.items() if block]
    forms = {o.op_type for o in model.graph.node if canonical_domain(o.domain) in OWN_DOMAINS}
    forms |= {f"{name}/{form}" for name in layers for form in (*LAYER_FORMS, *forms)}
    forms |= {f"{name}/{form}" for name in opened for form in BLOCK_FORMS}
    forms |= {TICKET_TEXT, *doc_strings(manifest).values()}
    names |= dict.fromkeys([*layers, *opened, *_tensor_names(manifest)])
    said: list[Any] = [manifest.version, manifest.target_name, manifest.target_sha256]
    said += [*manifest.fresh, *manifest.parameters]
    said += [(place.name, place.reason) for place in manifest.dense]
    said += [name for name, _ in (*manifest.options.prices, *manifest.options.base_sizes)]
    held = "\n".join(name for name in names if name not in forms).encode() + json.encode(said)
    if len(held) <= MAX_COMPRESSED:
        held = lzma.compress(held, lzma.FORMAT_RAW, filters=TEXT)
    return 8 * len(held) + _given_names(model.graph.node, forms)


def _given_names(nodes: Sequence[onnx.NodeProto], forms: Set[str]) -> float:
    """Bits that say which nodes have names of their own, and what the others are called after.

    Those are a tensor that the node reads or makes, or what begins its name; else any name that was
    told before, or is one of the `forms`.
    """
    told, kinds, others = set[str](), Counter[str | int](), list[float]()
    for node in nodes:
        after = [*node.output, *node.input]
        after += [name.removesuffix("/weight") for name in after]
        after += [f"{name.rpartition('/')[0]}/{node.op_type}" for name in node.output]
        if node.name in after:
            kinds[after.index(node.name)] += 1
        elif node.name and (node.name in told or node.name in forms):
            kinds["other"] += 1
            others.append(math.log2(len(told) + len(forms)))
        else:
            kinds["new" if node.name else "none"] += 1
        told |= {node.name, *node.output}
    return KIND * len(kinds) + kinds_bits(kinds.values()) + sum(others)


def _tensor_names(manifest: Manifest) -> Iterator[str]:
    """What the manifest calls the tensors of its layers: a collapsed file has not all of them."""
    for layer in manifest.layers:
        yield layer.scale
        if layer.bias is not None:
            yield layer.bias
        if layer.block is not None:
            yield layer.block.order


def data_name_bits(tensors: Tensors, path: Path) -> int:
    """Bits of the name of the external data, if it is not the ticket's own."""
    names = {t.file.name for t in tensors.values() if not isinstance(t, Sparse) and t.file}
    return sum(8 * len(name.encode()) for name in names - {data_of(path).name})


def file_name_bits(manifest: Manifest, target: Path) -> int:
    """Bits of the name that a target's file is said to have had, if that is another."""
    return 0 if target.name == manifest.target_name else 8 * len(manifest.target_name.encode())
