"""Tensors: read in pieces wherever they are; what is not all there is refused."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from lt_onnx.errors import InputError
from lt_onnx.verification.tensors import Sparse, locate_tensors

MATRIX = np.arange(24, dtype=np.float32).reshape(4, 6)
KERNEL = np.arange(24, 60, dtype=np.float32).reshape(3, 2, 3, 2)


def external(name: str, value: np.ndarray, start: int, **others: str) -> TensorProto:
    """An initializer whose numbers are in the file `data`; `others` are what to say otherwise."""
    proto = TensorProto(name=name, dims=value.shape, data_location=TensorProto.EXTERNAL)
    proto.data_type = helper.np_dtype_to_tensor_dtype(value.dtype)
    at = {"location": "data", "offset": str(start), "length": str(value.nbytes), **others}
    for key, text in at.items():
        proto.external_data.add(key=key, value=text)
    return proto


def beside(folder: Path, *values: tuple[np.ndarray, int]) -> Path:
    """The path of a ticket with a data file beside it."""
    content = bytearray(max(offset + value.nbytes for value, offset in values))
    for value, offset in values:
        content[offset : offset + value.nbytes] = value.tobytes()
    (folder / "data").write_bytes(content)
    (folder / "t.onnx").write_bytes(b"t")
    return folder / "t.onnx"


def model_of(*tensors: TensorProto, sparse: list[onnx.SparseTensorProto] | None = None):
    graph = onnx.GraphProto(initializer=tensors, sparse_initializer=sparse or [])
    return onnx.ModelProto(graph=graph)


@pytest.mark.parametrize("inside", [True, False])
def test_a_tensor_is_read_whole_and_by_rows(tmp_path: Path, inside: bool) -> None:
    path = beside(tmp_path, (MATRIX, 0), (KERNEL, 4096))
    protos = [external("m", MATRIX, 0), external("k", KERNEL, 4096)]
    if inside:
        protos = [numpy_helper.from_array(MATRIX, "m"), numpy_helper.from_array(KERNEL, "k")]
    tensors = locate_tensors(path, model_of(*protos))

    for name, value in (("m", MATRIX), ("k", KERNEL)):
        tensor = tensors[name]
        assert (tensor.shape, tensor.size, tensor.dtype) == (value.shape, value.size, np.float32)
        np.testing.assert_array_equal(tensor.array(), value)
        np.testing.assert_array_equal(tensor.rows(transposed=False)(1, 3), value[1:3].reshape(-1))
    np.testing.assert_array_equal(
        tensors["m"].rows(transposed=True)(2, 5), MATRIX[:, 2:5].T.reshape(-1)
    )


def test_a_sparse_tensor_has_places_and_values(tmp_path: Path) -> None:
    values = numpy_helper.from_array(np.float16([1, 2]), "s")
    places = numpy_helper.from_array(np.array([3, 7]), "s/places")
    sparse = helper.make_sparse_tensor(values, places, [2, 4])
    tensor = locate_tensors(tmp_path / "t.onnx", model_of(sparse=[sparse]))["s"]

    assert isinstance(tensor, Sparse)
    assert (tensor.shape, tensor.dtype) == ((2, 4), np.float16)
    assert tensor.places.tolist() == [3, 7]
    assert tensor.array().tolist() == [[0, 0, 0, 1], [0, 0, 0, 2]]
    assert tensor.array().dtype == np.float16


INLINE = {
    "of unknown type": {"data_type": 99},
    "none of a tensor": {"dims": [-4, 6]},
    "its shape and its bytes disagree": {"dims": [4, 7]},
}


@pytest.mark.parametrize("told", INLINE)
def test_a_tensor_that_contradicts_itself_is_refused(tmp_path: Path, told: str) -> None:
    proto = numpy_helper.from_array(MATRIX, "m")
    if "dims" in INLINE[told]:
        proto.dims[:] = INLINE[told]["dims"]
    else:
        proto.data_type = INLINE[told]["data_type"]

    with pytest.raises(InputError, match=f"tensor 'm': .*{told}"):
        locate_tensors(tmp_path / "t.onnx", model_of(proto))


def test_a_tensor_has_a_few_axes(tmp_path: Path) -> None:
    proto = numpy_helper.from_array(np.zeros([1] * 9, np.float32), "m")

    with pytest.raises(InputError, match="none of a tensor"):
        locate_tensors(tmp_path / "t.onnx", model_of(proto))


PLACES = {
    "parent": ({"location": "../data"}, "bare name"),
    "absolute": ({"location": "/data"}, "bare name"),
    "drive": ({"location": "c:data"}, "bare name"),
    "backslash": ({"location": "a\\data"}, "bare name"),
    "dot": ({"location": "."}, "bare name"),
    "none": ({"location": ""}, "bare name"),
    "control sign": ({"location": "data\n"}, "bare name"),
    "absent": ({"location": "other"}, "missing, a link or the ticket"),
    "the ticket": ({"location": "t.onnx"}, "missing, a link or the ticket"),
    "a link": ({"location": "link"}, "missing, a link or the ticket"),
    "a name that is too long": ({"location": "d" * 5000}, "missing, a link or the ticket"),
    "words": ({"offset": "first"}, "is no number"),
    "below zero": ({"offset": "-4"}, "is no number"),
    "other digits": ({"offset": "²"}, "is no number"),
    "far": ({"offset": "4096"}, "truncated or misplaced"),
    "short": ({"length": "92"}, "truncated or misplaced"),
}


@pytest.mark.parametrize("name", PLACES)
def test_external_data_elsewhere_is_refused(tmp_path: Path, name: str) -> None:
    others, told = PLACES[name]
    path = beside(tmp_path, (MATRIX, 0))
    (tmp_path / "link").symlink_to("data")

    with pytest.raises(InputError, match=told):
        locate_tensors(path, model_of(external("m", MATRIX, 0, **others)))


def test_external_data_is_described_by_three_entries(tmp_path: Path) -> None:
    path, proto = beside(tmp_path, (MATRIX, 0)), external("m", MATRIX, 0)
    proto.external_data.add(key="checksum", value="0")
    with pytest.raises(InputError, match="location, offset, length, in this order"):
        locate_tensors(path, model_of(proto))

    proto.external_data[-1].key = "offset"
    with pytest.raises(InputError, match="in this order"):
        locate_tensors(path, model_of(proto))

    del proto.external_data[-1]
    locate_tensors(path, model_of(proto))


@pytest.mark.parametrize(
    ("offset", "end", "told"),
    [
        (92, b"", "tensors 'm' and 'k' overlap"),
        (2 * 4096, b"", "holds bytes of no tensor before 'k'"),
        (96, b"", "holds bytes of no tensor before 'k'"),
        (4096, b"more", "goes on behind the last tensor"),
    ],
)
def test_tensors_fill_their_file_one_behind_the_other(
    tmp_path: Path, offset: int, end: bytes, told: str
) -> None:
    path = beside(tmp_path, (MATRIX, 0), (KERNEL, offset))
    with (tmp_path / "data").open("ab") as file:
        file.write(end)

    with pytest.raises(InputError, match=told):
        locate_tensors(path, model_of(external("m", MATRIX, 0), external("k", KERNEL, offset)))


def test_external_data_is_one_file(tmp_path: Path) -> None:
    path = beside(tmp_path, (MATRIX, 0))
    (tmp_path / "other").write_bytes(KERNEL.tobytes())
    second = external("k", KERNEL, 0, location="other")

    with pytest.raises(InputError, match="several files"):
        locate_tensors(path, model_of(external("m", MATRIX, 0), second))


@pytest.mark.parametrize(
    ("places", "shape", "told"),
    [
        ([3, 8], [2, 4], "do not fit its shape"),
        ([-1, 3], [2, 4], "do not fit its shape"),
        ([3], [2, 4], "do not fit its shape"),
        ([0, 0], [], "do not fit its shape"),
        ([3, 7], [2**20, 2**20], "do not fit its shape"),
        ([7, 3], [2, 4], "do not rise"),
        ([3, 3], [2, 4], "do not rise"),
    ],
)
def test_indices_of_a_sparse_tensor_fit_and_rise(
    tmp_path: Path, places: list[int], shape: list[int], told: str
) -> None:
    values = numpy_helper.from_array(np.float32([1, 2]), "s")
    indices = numpy_helper.from_array(np.array(places), "s/places")
    sparse = helper.make_sparse_tensor(values, indices, shape)

    with pytest.raises(InputError, match=told):
        locate_tensors(tmp_path / "t.onnx", model_of(sparse=[sparse]))


def test_a_sparse_tensor_is_in_the_ticket_itself(tmp_path: Path) -> None:
    path = beside(tmp_path, (MATRIX, 0))
    sparse = onnx.SparseTensorProto(values=external("s", MATRIX, 0), dims=[24])
    sparse.indices.name = "s/places"

    with pytest.raises(InputError, match="lies in external data"):
        locate_tensors(path, model_of(sparse=[sparse]))
