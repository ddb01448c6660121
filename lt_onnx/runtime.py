"""onnxruntime behind two functions: `Session` runs a model file, `evaluate` a handful of nodes.

Nodes are evaluated by the runtime that will run the ticket, so that a constant's value, a slope or
an activation's range is what the ticket really sees, not what a second implementation thinks.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import onnx
import onnxruntime
from onnx import helper, numpy_helper
from onnxruntime.capi import onnxruntime_pybind11_state as status

from lt_onnx.cores import spread, thread_count
from lt_onnx.errors import InputError, ResourceError
from lt_onnx.files import check_file, check_network, data_of
from lt_onnx.target import Array, Node, Shape

T = TypeVar("T")
U = TypeVar("U")

RUN_ERRORS = tuple(
    getattr(status, kind)
    for kind in "Fail InvalidArgument InvalidGraph InvalidProtobuf NotImplemented RuntimeException "
    "EPFail".split()
)
onnxruntime.set_default_logger_severity(4)  # what it warns of is not the user's business
CASTS = {"tensor(float16)": np.float16, "tensor(double)": np.float64}
EXTERNAL_FOLDER = "session.model_external_initializers_file_folder_path"
MAX_IR_VERSION = 10  # of a program: any onnxruntime that this package installs with reads it


def to_proto(node: Node) -> onnx.NodeProto:
    """The ONNX form of `node`; raises InputError for an attribute of which no type is known."""
    domain = node.domain or None
    proto = helper.make_node(node.op, node.inputs, node.outputs, name=node.name, domain=domain)
    for key, value in node.attributes.items():
        content = numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        try:
            proto.attribute.append(helper.make_attribute(key, content))
        except ValueError:  # an empty list
            problem = f"attribute '{key}' is empty; leave it out or give its values"
            raise InputError(f"{node.title}: {problem}") from None
    return proto


def value_info(name: str, dtype: np.dtype[Any], shape: Shape | None) -> onnx.ValueInfoProto:
    """A typed graph input or output; `shape` None leaves the rank open."""
    return helper.make_tensor_value_info(
        name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape
    )


def _open(
    model: str | bytes,
    device: str,
    *,
    optimise: bool,
    mapped: bool = False,
    folder: Path | None = None,
    threads: int = 0,
) -> onnxruntime.InferenceSession:
    """A session on `cpu` or `cuda`; a model in memory has its external data in `folder`.

    `mapped` leaves external data in the file, where it is paged in and out.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads or thread_count()
    if folder is not None:
        options.add_session_config_entry(EXTERNAL_FOLDER, str(folder.resolve()))
    if mapped or not optimise:
        options.enable_cpu_mem_arena = False  # it grows to twice what is needed
    if mapped:
        options.add_session_config_entry("session.disable_prepacking", "1")
    if mapped or not optimise:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    # the CPU stays behind a GPU as the fallback
    providers = ["CUDAExecutionProvider"] * (device == "cuda") + ["CPUExecutionProvider"]
    return onnxruntime.InferenceSession(model, options, providers=providers)


class NoKernelError(InputError):
    """A model with an operator for whose types onnxruntime has no kernel."""


@contextlib.contextmanager
def _own_errors(title: str, problem: str) -> Iterator[None]:
    """Raises what onnxruntime raises in the block as errors of this package, about `title`."""
    try:
        yield
    except (*RUN_ERRORS, ValueError) as error:
        line = first_line(error)
        if "allocate" in line or "bad_alloc" in line:
            raise ResourceError(f"{title}: out of memory: {line}") from None
        kind = NoKernelError if isinstance(error, status.NotImplemented) else InputError
        raise kind(f"{title}: onnxruntime {problem}: {line}") from None


class Session:
    """A model file opened by onnxruntime; `content`, if given, is run in the file's place.

    `tensors` are names of inner tensors to have in view; those that the graph has can be asked for
    in `run`. `threads` share a sum, 0: all there may be; how it is rounded depends on how many.
    To `spare` memory nothing is made ahead: nodes that read constants alone are run in every batch.
    Raises NoKernelError or another InputError if the runtime refuses the model.
    """

    def __init__(
        self,
        path: Path,
        device: str = "cpu",
        *,
        tensors: Sequence[str] = (),
        content: bytes | None = None,
        threads: int = 0,
        spare: bool = False,
    ) -> None:
        check_network(path)
        check_file(path)
        model = str(path) if content is None else content
        folder = path.parent if tensors or content is not None else None
        # a large ticket: optimised, its weights would be copied
        mapped = spare or data_of(path).is_file()
        with _own_errors(str(path), "cannot load it"):
            model = _with_outputs(model, tensors) if tensors else model
            self._session = _open(
                model, device, optimise=True, mapped=mapped, folder=folder, threads=threads
            )
        self.path = path
        kinds = {i.name: i.type for i in self._session.get_inputs()}
        outputs = [o.name for o in self._session.get_outputs()]
        self.tensors = frozenset(tensors) & {*outputs, *kinds}
        self.output_names = [name for name in outputs if name not in tensors]
        self._casts = {name: CASTS[kind] for name, kind in kinds.items() if kind in CASTS}

    def run(
        self, feeds: Mapping[str, Array], names: Sequence[str] | None = None
    ) -> dict[str, Array]:
        """All outputs, or the tensors `names`, for one batch; every float comes as float32.

        Raises InputError when the runtime cannot run it.
        """
        asked = self.output_names if names is None else [*dict.fromkeys(names)]
        inputs = {name: feeds[name] for name in asked if name in feeds}  # they are in view too
        wanted = [name for name in asked if name not in inputs]
        typed = {k: v.astype(self._casts.get(k, v.dtype), copy=False) for k, v in feeds.items()}
        with _own_errors(str(self.path), "cannot run it"):
            values = self._session.run(wanted, typed, _PARTLY) if wanted else []
        floats = [v.astype(np.float32, copy=False) if v.dtype.kind == "f" else v for v in values]
        return {**dict(zip(wanted, floats, strict=True)), **inputs}


_PARTLY = onnxruntime.RunOptions()
_PARTLY.only_execute_path_to_fetches = True  # a few tensors do not need the whole graph


def _with_outputs(model: str | bytes, tensors: Sequence[str]) -> bytes:
    """The model, its weights left where they are, with inner tensors among its outputs."""
    proto = onnx.ModelProto()
    proto.ParseFromString(model if isinstance(model, bytes) else Path(model).read_bytes())
    outputs = {value.name for value in proto.graph.output}
    inner = {name for node in proto.graph.node for name in node.output} - outputs
    wanted = [name for name in dict.fromkeys(tensors) if name in inner]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
    return bytes(proto.SerializeToString())


class Program:
    """A few nodes compiled to be run on several batches, on the CPU and without optimisations.

    `like` gives the inputs' types and ranks; `constants` may hold more than the nodes need. A batch
    is run by one thread: how sums are rounded depends on how many share them, and no ticket may.
    Raises InputError naming the first node when onnxruntime refuses them.
    """

    def __init__(
        self,
        nodes: Sequence[Node],
        like: Mapping[str, Array],
        *,
        constants: Mapping[str, Array],
        outputs: Sequence[str],
        opsets: Mapping[str, int],
    ) -> None:
        self._nodes, self._opsets, self._title = nodes, opsets, nodes[0].title
        self._outputs = list(outputs)
        read = {name for node in nodes for name in node.inputs if name}
        self._inputs = [name for name in like if name in read]
        held = sorted((read & constants.keys()) - set(self._inputs))
        self._constants = {name: constants[name] for name in held}
        self._sessions: dict[tuple[Shape, ...], onnxruntime.InferenceSession] = {}
        self._session(like)

    def _session(self, values: Mapping[str, Array]) -> onnxruntime.InferenceSession:
        """The nodes, compiled for inputs such as these."""
        shapes = tuple(_open_shape(values[name]) for name in self._inputs)
        if shapes not in self._sessions:
            with _own_errors(self._title, "refuses it"):
                graph = helper.make_graph(
                    [to_proto(node) for node in self._nodes],
                    "program",
                    [
                        value_info(name, values[name].dtype, shape)
                        for name, shape in zip(self._inputs, shapes, strict=True)
                    ],
                    [onnx.ValueInfoProto(name=name) for name in self._outputs],
                    [numpy_helper.from_array(np.asarray(v), n) for n, v in self._constants.items()],
                )
                imports = [helper.make_opsetid(*version) for version in self._opsets.items()]
                model = helper.make_model(graph, opset_imports=imports)
                model.ir_version = MAX_IR_VERSION
                content = model.SerializeToString()
                self._sessions[shapes] = _open(content, "cpu", optimise=False, threads=1)
        return self._sessions[shapes]

    def __call__(self, feeds: Mapping[str, Array]) -> list[Array]:
        """The outputs for one batch; `feeds` may hold more than the nodes need."""
        values = {name: feeds[name] for name in self._inputs}
        session = self._session(values)
        with _own_errors(self._title, "cannot run it"):
            return list(session.run(self._outputs, values))

    def map(self, feeds: Sequence[Mapping[str, Array]]) -> list[list[Array]]:
        """The outputs for every batch; see `by_batch`."""
        return by_batch(feeds, self)


def by_batch(batches: Sequence[T], look: Callable[[T], U]) -> list[U]:
    """What `look` makes of every batch, several at a time: OMP_NUM_THREADS, or one a core.

    A batch is asked for when its turn comes. Those of `batches` that are `alone` take turns.
    """
    threads = 1 if getattr(batches, "alone", False) else thread_count()
    return spread([partial(_looked, batches, look, b) for b in range(len(batches))], threads)


def _looked(batches: Sequence[T], look: Callable[[T], U], b: int) -> U:
    return look(batches[b])


def _open_shape(value: Array) -> Shape:
    """Open axes, but for shapes and sizes: operators want to know how many numbers those have."""
    whole = value.ndim == 1 and np.issubdtype(value.dtype, np.integer)
    return value.shape if whole else (None,) * value.ndim


def evaluate(
    nodes: Sequence[Node],
    feeds: Mapping[str, Array],
    *,
    constants: Mapping[str, Array],
    outputs: Sequence[str],
    opsets: Mapping[str, int],
) -> list[Array]:
    """Run `nodes` once on `feeds`; see `Program`."""
    return Program(nodes, feeds, constants=constants, outputs=outputs, opsets=opsets)(feeds)


def first_line(error: BaseException) -> str:
    """An exception's message cut to one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
