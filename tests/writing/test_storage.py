"""Initializers that are filled row by row hold what was given, in every form, order and place."""

import tempfile
from collections.abc import Iterator
from typing import IO

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from lt_onnx.manifest import LayerRecord
from lt_onnx.options import Weights
from lt_onnx.source.layer import SourceLayer
from lt_onnx.writing.storage import ALIGNMENT, Form, LayerTensors, name_of

KERNEL = SourceLayer("w", 0, (6, 3, 2, 2))
MATRIX = SourceLayer("w", 0, (6, 5))
TRANSPOSED = SourceLayer("w", 0, (6, 5), transposed=True)


@pytest.fixture
def data() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as stream:
        yield stream


def drawn(spec: SourceLayer) -> tuple[np.ndarray, np.ndarray]:
    """A layer's source [O, I·K], and which of it is kept."""
    rng = np.random.default_rng(7)
    shape = (spec.shape[0], spec.row_size)
    return rng.standard_normal(shape).astype(np.float32), rng.random(shape) < 0.4


def filled(
    spec: SourceLayer, form: Form, stream: IO[bytes] | None, *, backwards: bool = False
) -> LayerTensors:
    """A layer's tensors, written in pieces of two rows."""
    source, kept = drawn(spec)
    tensors = LayerTensors(spec, form, lambda name, size: stream)
    for start in sorted(range(0, spec.shape[0], 2), reverse=backwards):
        tensors.write(start, source[start : start + 2], kept[start : start + 2])
    return tensors


def content(stream: IO[bytes]) -> bytes:
    stream.seek(0)
    return stream.read()


def read(proto: onnx.TensorProto, stream: IO[bytes] | None) -> np.ndarray:
    if proto.data_location != onnx.TensorProto.EXTERNAL:
        return numpy_helper.to_array(proto)
    place = {entry.key: entry.value for entry in proto.external_data}
    assert place["location"] == "t.data"
    assert int(place["offset"]) % ALIGNMENT == 0
    start, stop = int(place["offset"]), int(place["offset"]) + int(place["length"])
    dtype = helper.tensor_dtype_to_np_dtype(proto.data_type)
    return np.frombuffer(content(stream)[start:stop], dtype).reshape(tuple(proto.dims))


def stored(spec: SourceLayer, rows: np.ndarray) -> np.ndarray:
    """Rows [O, I·K] as the initializer has them."""
    return rows.T if spec.transposed else rows.reshape(spec.shape)


@pytest.mark.parametrize("spec", [KERNEL, MATRIX, TRANSPOSED])
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
def test_folded_tensors_hold_the_masked_weights(
    data: IO[bytes], spec: SourceLayer, half: bool, external: bool, backwards: bool
) -> None:
    stream = data if external else None
    form = Form("w", Weights.FOLDED, half)
    tensors = filled(spec, form, stream, backwards=backwards)
    (proto,) = tensors.protos("t.data")
    source, kept = drawn(spec)

    wanted = stored(spec, np.where(kept, source, 0).astype(form.dtype))
    assert name_of(proto) == ("w/half" if half else "w")
    assert read(proto, stream).dtype == form.dtype
    assert read(proto, stream).tobytes() == np.ascontiguousarray(wanted).tobytes()
    assert tensors.kept == kept.sum()


@pytest.mark.parametrize("spec", [KERNEL, TRANSPOSED])
@pytest.mark.parametrize("external", [False, True])
def test_masked_tensors_hold_the_source_and_its_mask(
    data: IO[bytes], spec: SourceLayer, external: bool
) -> None:
    stream = data if external else None
    tensors = filled(spec, Form("w", Weights.MASKED, False), stream)
    numbers, mask = tensors.protos("t.data")
    source, kept = drawn(spec)

    assert [name_of(numbers), name_of(mask)] == ["w/source", "w/mask"]
    np.testing.assert_array_equal(read(numbers, stream), stored(spec, source))
    np.testing.assert_array_equal(read(mask, stream), stored(spec, kept.astype(np.uint8)))
    assert read(mask, stream).dtype == np.uint8
    assert tensors.kept == kept.sum()


@pytest.mark.parametrize("spec", [KERNEL, TRANSPOSED])
def test_sparse_tensors_hold_kept_values_by_rising_place(spec: SourceLayer) -> None:
    (proto,) = filled(spec, Form("w", Weights.SPARSE, False), None, backwards=True).protos("")
    source, kept = drawn(spec)
    places = numpy_helper.to_array(proto.indices)
    dense = np.zeros(spec.size, np.float32)
    dense[places] = numpy_helper.to_array(proto.values)

    assert (np.diff(places) > 0).all()
    assert len(places) == kept.sum()
    assert tuple(proto.dims) == spec.stored_shape
    np.testing.assert_array_equal(
        dense.reshape(spec.stored_shape), stored(spec, np.where(kept, source, 0))
    )


@pytest.mark.parametrize("form", [Weights.FOLDED, Weights.SPARSE])
def test_what_half_precision_rounds_to_zero_is_not_kept(form: Weights) -> None:
    spec = SourceLayer("w", 0, (1, 3))
    tensors = LayerTensors(spec, Form("w", form, True), lambda name, size: None)
    tensors.write(0, np.array([[1e-9, 0.5, -0.25]], np.float32), np.array([[True, True, False]]))
    (proto,) = tensors.protos("")

    assert tensors.kept == 1
    held = proto.values if form is Weights.SPARSE else proto
    assert numpy_helper.to_array(held)[numpy_helper.to_array(held) != 0].tolist() == [0.5]


def test_a_masked_out_weight_is_plus_zero() -> None:
    spec = SourceLayer("w", 0, (1, 2))
    tensors = LayerTensors(spec, Form("w", Weights.FOLDED, False), lambda name, size: None)
    tensors.write(0, np.array([[-0.0, -1.0]], np.float32), np.array([[False, False]]))

    assert tensors.protos("")[0].raw_data == bytes(8)


def test_tensors_of_a_data_file_lie_one_behind_the_other(data: IO[bytes]) -> None:
    protos = [
        filled(spec, Form(spec.name, Weights.MASKED, False), data).protos("t.data")
        for spec in (KERNEL, TRANSPOSED)
    ]
    offsets = [
        int(entry.value)
        for proto in (*protos[0], *protos[1])
        for entry in proto.external_data
        if entry.key == "offset"
    ]

    assert offsets == [0, ALIGNMENT, 2 * ALIGNMENT, 3 * ALIGNMENT]
    assert len(content(data)) == 3 * ALIGNMENT + MATRIX.size


@pytest.mark.parametrize(
    ("stored_as", "half", "ops"),
    [
        (Weights.FOLDED, False, []),
        (Weights.FOLDED, True, ["Cast"]),
        (Weights.SPARSE, True, ["Cast"]),
        (Weights.MASKED, False, ["Cast", "Mul"]),
        (Weights.MASKED, True, ["Cast", "Mul", "Cast"]),
    ],
)
def test_a_forms_nodes_end_in_the_layers_weight(
    stored_as: Weights, half: bool, ops: list[str]
) -> None:
    form = Form("w", stored_as, half)
    nodes = form.nodes()
    known = {form.numbers, form.mask}
    for node in nodes:
        assert known >= set(node.inputs)
        known |= set(node.outputs)

    assert [node.op for node in nodes] == ops
    assert "w" in known


def test_a_form_is_what_the_manifest_says() -> None:
    drawn = ("w", 0, (2, 2), 1.0, 0, False, 0, 0)
    record = LayerRecord(*drawn, None, 0, "s", Weights.SPARSE, half=True, block=None)

    assert Form.of(record) == Form("w", Weights.SPARSE, True)
