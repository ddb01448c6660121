"""A ticket taken apart, changed, and sealed again with a seal that holds."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnx_graphsurgeon as gs
from onnx import TensorProto, helper, numpy_helper

from lt_onnx.files import data_of
from lt_onnx.manifest import (
    DEPLOYED_KEY,
    METADATA_KEY,
    SEAL_KEY,
    LayerRecord,
    Manifest,
    doc_strings,
)
from lt_onnx.verification.generator import pieces, weights

Record = dict[str, Any]  # a layer in the manifest


@dataclass(frozen=True)
class Step:
    """A node to be slipped in; it reads `was` and makes `now` (see `Draft.insert`)."""

    op: str
    inputs: list[str]
    output: str = "now"
    domain: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)


def step(op: str, inputs: list[str], output: str = "now", **attributes: Any) -> Step:
    return Step(op, inputs, output, attributes.pop("domain", ""), attributes)


@dataclass
class Draft:
    """A ticket under the forger's hands; the model is without its metadata."""

    model: onnx.ModelProto
    manifest: dict[str, Any]
    seal: str
    data: bytes | None = None
    deployed: dict[str, Any] | None = None  # of a seeded one
    texts: list[str] | None = None  # manifest entries, if not the one of `manifest`
    seals: Callable[[str], list[str]] | None = None  # seal entries, if not the right seal alone
    ending: Callable[[bytes], bytes] | None = None  # what becomes of the file's bytes
    beside: Callable[[Path], None] | None = None  # what is done in the folder afterwards

    @staticmethod
    def read(path: Path) -> "Draft":
        model = onnx.load(str(path), load_external_data=False)
        props = {entry.key: entry.value for entry in model.metadata_props}
        del model.metadata_props[:]
        data = data_of(path).read_bytes() if data_of(path).exists() else None
        deployed = json.loads(props.get(DEPLOYED_KEY, "null"))
        return Draft(model, json.loads(props[METADATA_KEY]), props[SEAL_KEY], data, deployed)

    def copy(self) -> "Draft":
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        manifest, deployed = json.loads(json.dumps([self.manifest, self.deployed]))
        return Draft(model, manifest, self.seal, self.data, deployed)

    def write(self, path: Path, *, sealed: bool = True) -> None:
        """Write the files: with the right seal, or with the one that was there."""
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        plain, deployed = (
            json.dumps(record, sort_keys=True, separators=(",", ":"))
            for record in (self.manifest, self.deployed)
        )
        for text in [plain] if self.texts is None else self.texts:
            model.metadata_props.add(key=METADATA_KEY, value=text)
        if self.deployed is not None:
            model.metadata_props.add(key=DEPLOYED_KEY, value=deployed)
        digest = hashlib.sha256(model.SerializeToString(deterministic=True))
        digest.update(self.data or b"")
        right = digest.hexdigest() if sealed else self.seal
        for seal in [right] if self.seals is None else self.seals(right):
            model.metadata_props.add(key=SEAL_KEY, value=seal)
        content = model.SerializeToString(deterministic=True)
        path.write_bytes(content if self.ending is None else self.ending(content))
        if self.data is not None:
            data_of(path).write_bytes(self.data)
        if self.beside is not None:
            self.beside(path)

    @property
    def seal_holds(self) -> bool:
        """Whether the file that is written sealed has the seal that it needs, and that alone."""
        return self.seals is None and self.ending is None

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
        at = {entry.key: entry.value for entry in proto.external_data}
        return int(at["offset"]), int(at["offset"]) + int(at["length"])

    def shape(self, name: str) -> tuple[int, ...]:
        """Of an initializer."""
        return tuple(self.proto(name).dims)

    def add(self, name: str, value: Any) -> str:
        self.model.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def drop(self, name: str) -> None:
        self.model.graph.initializer.remove(self.proto(name))

    def replace(self, name: str, value: Any) -> None:
        """Another tensor under the same name."""
        self.drop(name)
        self.add(name, value)

    def declare(self, *names: str) -> None:
        """Name tensors as the target's own parameters in the manifest."""
        self.manifest["parameters"] = sorted({*self.manifest["parameters"], *names})

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
        record = LayerRecord(**{**layer, "block": None, **others})
        drawn = np.concatenate([weights(seed, record, rows) for rows in pieces(record)])
        if layer["transposed"]:
            drawn = drawn.reshape(layer["shape"]).T.reshape(-1)
        return drawn.astype(self.get(self.numbers(layer)).dtype)

    def draw(self, layer: Record, drawn: np.ndarray) -> None:
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

    @contextmanager
    def surgery(self) -> Iterator[gs.Graph]:
        """The graph, to be edited; what was done to it is the draft's graph afterwards."""
        graph = gs.import_onnx(self.model)
        said = {node.output[0]: node.doc_string for node in self.model.graph.node if node.output}
        about = self.model.graph.doc_string
        yield graph
        self.model.graph.CopyFrom(gs.export_onnx(graph, do_type_check=False).graph)
        self.model.graph.doc_string = about  # surgery drops what people are told
        for node in self.model.graph.node:
            put_text(node, said.get(node.output[0] if node.output else "", ""))

    def comment(self) -> None:
        """Let the layers' operators say what the manifest now says of them."""
        record = msgspec.convert(self.manifest, Manifest)
        texts = doc_strings(record)
        for node in self.model.graph.node:
            put_text(node, texts.get((*node.input, "", "")[1], ""))

    def insert(self, edge: str, *steps: Step, **tensors: Any) -> None:
        """Slip nodes in that read `was` and make `now`, which is read in the edge's place.

        They read `tensors`, too, by their names, and each other.
        """
        with self.surgery() as graph:
            known = graph.tensors()
            known["now"] = known[edge]
            known["was"] = gs.Variable(f"{edge}/was")
            (maker,) = known[edge].inputs
            maker.outputs[maker.outputs.index(known[edge])] = known["was"]

            def tensor(name: str) -> gs.Tensor:
                return known.setdefault(name, gs.Variable(name))

            at = graph.nodes.index(maker) + 1
            for number, made in enumerate(steps):
                node = gs.Node(
                    op=made.op,
                    name=f"forged/{made.output}",
                    attrs=dict(made.attributes),
                    inputs=[tensor(name) for name in made.inputs],
                    outputs=[tensor(made.output)],
                    domain=made.domain or None,
                )
                graph.nodes.insert(at + number, node)
        for name, value in tensors.items():
            self.add(name, value)

    def bypass(self, name: str) -> None:
        """Take the node out that makes a tensor: what it read first is read, or made, instead.

        Not by surgery, which also drops what nothing reads any more.
        """
        graph, node = self.model.graph, self.maker(name)
        read = node.input[0]
        graph.node.remove(node)
        output = name in {port.name for port in graph.output}
        gone, kept = (read, name) if output else (name, read)
        for other in graph.node:
            other.input[:] = [kept if tensor == gone else tensor for tensor in other.input]
            other.output[:] = [kept if tensor == gone else tensor for tensor in other.output]


def put_text(node: onnx.NodeProto, text: str) -> None:
    """Let a node say something, or leave the field out."""
    node.ClearField("doc_string")
    if text:
        node.doc_string = text


Change = Callable[[Draft], Any]


@dataclass(frozen=True)
class Forgery:
    """A change that no genuine ticket has, and what the proof says of it."""

    where: str
    what: str
    change: Change
    told: str  # found in one of the failures, as a regular expression
    target: bool = False  # only a comparison with the target shows it

    @property
    def name(self) -> str:
        return f"{self.where}: {self.what}"


Catalogue = Callable[[Draft], Iterator[Forgery]]
