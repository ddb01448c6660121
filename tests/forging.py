"""The forger's tools: a ticket taken apart, changed, and sealed again with a seal that holds."""

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from lt_onnx import verify
from lt_onnx.cli.app import run
from lt_onnx.errors import InputError
from lt_onnx.manifest import METADATA_KEY, SEAL_KEY, LayerRecord
from lt_onnx.verification.generator import pieces, weights
from lt_onnx.writing.ticket import data_of

Record = dict[str, Any]  # a layer in the manifest
Change = Callable[["Draft"], None]


def _one(seal: str) -> list[str]:
    return [seal]


def _as_it_is(content: bytes) -> bytes:
    return content


def _nothing(path: Path) -> None:
    pass


@dataclass
class Draft:
    """A ticket under the forger's hands; the model is without manifest and seal."""

    model: onnx.ModelProto
    manifest: dict[str, Any]
    seal: str
    data: bytes | None = None
    texts: list[str] | None = None  # manifest entries, if not the one of `manifest`
    seals: Callable[[str], list[str]] = _one  # seal entries, of the right seal
    ending: Callable[[bytes], bytes] = _as_it_is  # what becomes of the file's bytes
    beside: Callable[[Path], None] = _nothing  # what is done in the folder afterwards

    @staticmethod
    def read(path: Path) -> "Draft":
        model = onnx.load(str(path), load_external_data=False)
        props = {entry.key: entry.value for entry in model.metadata_props}
        del model.metadata_props[:]
        data = data_of(path).read_bytes() if data_of(path).exists() else None
        return Draft(model, json.loads(props[METADATA_KEY]), props[SEAL_KEY], data)

    def copy(self) -> "Draft":
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        return Draft(model, json.loads(json.dumps(self.manifest)), self.seal, self.data)

    def write(self, path: Path, *, sealed: bool = True) -> None:
        """Write the files: with the right seal, or with the one that was there."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        plain = json.dumps(self.manifest, sort_keys=True, separators=(",", ":"))
        for text in [plain] if self.texts is None else self.texts:
            model.metadata_props.add(key=METADATA_KEY, value=text)
        digest = hashlib.sha256(model.SerializeToString(deterministic=True))
        digest.update(self.data or b"")
        for seal in self.seals(digest.hexdigest()) if sealed else [self.seal]:
            model.metadata_props.add(key=SEAL_KEY, value=seal)
        path.write_bytes(self.ending(model.SerializeToString(deterministic=True)))
        if self.data is not None:
            data_of(path).write_bytes(self.data)
        self.beside(path)

    # tensors -----------------------------------------------------------------------------------

    @property
    def layers(self) -> list[Record]:
        return self.manifest["layers"]

    def proto(self, name: str) -> TensorProto:
        """The initializer of this name; of a sparse one its values."""
        held = [*self.model.graph.initializer, *self.values()]
        return next(tensor for tensor in held if tensor.name == name)

    def values(self) -> list[TensorProto]:
        return [sparse.values for sparse in self.model.graph.sparse_initializer]

    def sparse(self, name: str) -> onnx.SparseTensorProto:
        return next(s for s in self.model.graph.sparse_initializer if s.values.name == name)

    def get(self, name: str) -> np.ndarray:
        proto = self.proto(name)
        if proto.data_location != TensorProto.EXTERNAL:
            return numpy_helper.to_array(proto).copy()
        start, stop = self.span(proto)
        dtype = helper.tensor_dtype_to_np_dtype(proto.data_type)
        return np.frombuffer(self.data[start:stop], dtype).reshape(proto.dims).copy()

    def put(self, name: str, value: np.ndarray) -> None:
        proto = self.proto(name)
        if proto.data_location != TensorProto.EXTERNAL:
            proto.CopyFrom(numpy_helper.from_array(value, name))
            return
        start, stop = self.span(proto)
        proto.dims[:] = value.shape
        self.data = self.data[:start] + value.tobytes() + self.data[stop:]

    def span(self, proto: TensorProto) -> tuple[int, int]:
        """Where an external tensor's bytes are."""
        at = {entry.key: int(entry.value) for entry in proto.external_data if entry.key != LOCATION}
        return at["offset"], at["offset"] + at["length"]

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an initializer."""
        return tuple(self.proto(name).dims)

    def add(self, name: str, value: Any) -> str:
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def drop(self, name: str) -> None:
        self.model.graph.initializer.remove(self.proto(name))

    # layers ------------------------------------------------------------------------------------

    def numbers(self, layer: Record) -> str:
        """The initializer that holds a layer's random numbers."""
        if layer["stored"] == "masked":
            return f"{layer['weight']}/source"
        return f"{layer['weight']}/half" if layer["half"] else layer["weight"]

    def mask(self, layer: Record) -> np.ndarray:
        """Which of the layer's stored numbers are kept, flat."""
        if layer["stored"] == "masked":
            return self.get(f"{layer['weight']}/mask").reshape(-1) > 0
        return self.get(self.numbers(layer)).reshape(-1) != 0

    def places(self, layer: Record) -> np.ndarray:
        """Flat indices of a sparse layer."""
        return numpy_helper.to_array(self.sparse(self.numbers(layer)).indices).copy()

    def set_sparse(self, layer: Record, places: np.ndarray, values: np.ndarray) -> None:
        name = self.numbers(layer)
        sparse = self.sparse(name)
        sparse.values.CopyFrom(numpy_helper.from_array(values, name))
        sparse.indices.CopyFrom(numpy_helper.from_array(places, f"{name}/places"))

    def source(self, layer: Record, **others: Any) -> np.ndarray:
        """The layer's random numbers as stored, flat; `others` are what to draw otherwise."""
        seed = others.pop("seed", self.manifest["seed"])
        record = LayerRecord(**{**layer, **others})
        drawn = np.concatenate([weights(seed, record, rows) for rows in pieces(record)])
        if layer["transposed"]:
            drawn = drawn.reshape(layer["shape"]).T.reshape(-1)
        return drawn.astype(self.get(self.numbers(layer)).dtype)

    def replace(self, layer: Record, drawn: np.ndarray) -> None:
        """Other random numbers under the same mask."""
        name = self.numbers(layer)
        held = self.get(name)
        if layer["stored"] == "sparse":
            self.put(name, drawn[self.places(layer)])
        elif layer["stored"] == "masked":
            self.put(name, drawn.reshape(held.shape))
        else:
            self.put(name, np.where(held != 0, drawn.reshape(held.shape), held))

    # nodes -------------------------------------------------------------------------------------

    def reader(self, name: str) -> onnx.NodeProto:
        return next(node for node in self.model.graph.node if name in node.input)

    def maker(self, name: str) -> onnx.NodeProto:
        return next(node for node in self.model.graph.node if name in node.output)

    def edges(self) -> list[str]:
        """Tensors at which something can be slipped in: the first and a middle scale, the end."""
        scaled = [self.reader(layer["scale"]).output[0] for layer in self.layers]
        return [scaled[0], scaled[len(scaled) // 2], self.model.graph.output[0].name]

    def insert(self, edge: str, *nodes: onnx.NodeProto, **tensors: Any) -> None:
        """Slip nodes in that read `was` and make `now`, which is read in the edge's place."""
        graph = self.model.graph
        maker = self.maker(edge)
        at = list(graph.node).index(maker) + 1
        maker.output[:] = [f"{edge}/was" if name == edge else name for name in maker.output]
        names = {"was": f"{edge}/was", "now": edge}
        for number, node in enumerate(nodes):
            node.input[:] = [names.get(name, name) for name in node.input]
            node.output[:] = [names.get(name, name) for name in node.output]
            graph.node.insert(at + number, node)
        for name, value in tensors.items():
            self.add(name, value)

    def bypass(self, node: onnx.NodeProto) -> None:
        """Take a node out: what it made is what it read first, or is renamed so."""
        graph, made, read = self.model.graph, node.output[0], node.input[0]
        graph.node.remove(node)
        if made in {value.name for value in graph.output}:
            for other in graph.node:
                other.output[:] = [made if name == read else name for name in other.output]
                other.input[:] = [made if name == read else name for name in other.input]
            return
        for other in graph.node:
            other.input[:] = [read if name == made else name for name in other.input]


LOCATION = "location"


@dataclass(frozen=True)
class Forgery:
    """A change that no genuine ticket has; `target`: only a comparison with it shows that."""

    name: str
    change: Change
    target: bool = False


Catalogue = Callable[[Draft], Iterator[Forgery]]


def node(op: str, inputs: list[str], output: str = "now", **keys: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, [output], name=f"forged/{output}", **keys)


def is_caught(path: Path, target: Path | None = None) -> bool:
    """Whether `verify` refuses a file; anything but a proof or an InputError is raised."""
    if target is not None:
        return run(["verify", str(path), "--target", str(target), "-q"]) in (1, 2)
    try:
        return not verify(path).genuine
    except InputError:
        return True


def uncaught(
    draft: Draft, forgeries: Iterator[Forgery], folder: Path, target: Path, every: int
) -> tuple[list[str], int]:
    """Names of the forgeries that pass, or that make `verify` crash, and how many there were.

    One of `every` so many is tried; every fifth also with the seal that was there before, and with
    the target.
    """
    passed, count = [], 0
    for number, forgery in enumerate(islice(forgeries, 0, None, every)):
        changed = draft.copy()
        forgery.change(changed)
        trials = [(True, target if forgery.target else None)]
        if number % 5 == 0 and changed.seals is _one:
            trials += [(False, None), (True, target)]
        for trial, (sealed, against) in enumerate(trials):
            place = folder / f"{number}.{trial}"
            place.mkdir()
            changed.write(place / "t.onnx", sealed=sealed)
            count += 1
            how = f"{forgery.name}{'' if sealed else ', old seal'}{', target' * bool(against)}"
            try:
                if not is_caught(place / "t.onnx", against):
                    passed.append(how)
            except Exception as error:  # a crash is told with the others
                passed.append(f"{how}: {type(error).__name__}: {error}")
            shutil.rmtree(place)
    return passed, count
