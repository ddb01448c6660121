"""External data: read from the model's folder alone, whole and in measure."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from lt_onnx.errors import InputError
from lt_onnx.reading.external_data import read_external

VALUES = np.random.default_rng(2).normal(size=(3, 5)).astype(np.float32)


def external(folder: Path, **entries: str) -> onnx.ModelProto:
    """A model whose weight lies in data.bin behind eight other bytes; `entries` say otherwise."""
    (folder / "data.bin").write_bytes(bytes(8) + VALUES.tobytes())
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=VALUES.shape)
    tensor.data_location = TensorProto.EXTERNAL
    places = {"location": "data.bin", "offset": "8", "length": str(VALUES.nbytes), **entries}
    for key, value in places.items():
        tensor.external_data.add(key=key, value=value)
    return onnx.ModelProto(graph=onnx.GraphProto(initializer=[tensor]))


def test_a_tensor_is_read_from_its_place(tmp_path: Path) -> None:
    model = external(tmp_path)
    files = read_external(tmp_path / "m.onnx", model)
    tensor = model.graph.initializer[0]

    assert files == [tmp_path / "data.bin"]
    assert np.array_equal(numpy_helper.to_array(tensor), VALUES)
    assert (tensor.data_location, len(tensor.external_data)) == (TensorProto.DEFAULT, 0)


def test_a_tensor_in_a_nodes_attribute_is_read(tmp_path: Path) -> None:
    model = external(tmp_path)
    node = onnx.NodeProto(op_type="Constant", output=["c"])
    node.attribute.add(name="value").t.CopyFrom(model.graph.initializer.pop())
    model.graph.node.append(node)
    read_external(tmp_path / "m.onnx", model)

    assert np.array_equal(numpy_helper.to_array(model.graph.node[0].attribute[0].t), VALUES)


REFUSED = {
    "upwards": ({"location": "../data.bin"}, "outside"),
    "absolute": ({"location": "/etc/hostname"}, "outside"),
    "a drive": ({"location": "C:data.bin"}, "outside"),
    "nothing": ({"location": ""}, "outside"),
    "a name that steers terminals": ({"location": "\x1b[2J"}, "not the name of a file"),
    "another file": ({"location": "other.bin"}, "missing"),
    "a link": ({"location": "link.bin"}, "is a link"),
    "short": ({"offset": "12"}, "truncated"),
    "before the start": ({"offset": "-4"}, "disagree"),
    "no number": ({"offset": "eight"}, "cannot be read"),
    "another length": ({"length": "56"}, "disagree"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_other_places_are_refused_by_tensor(tmp_path: Path, case: str) -> None:
    entries, said = REFUSED[case]
    (tmp_path / "link.bin").symlink_to(tmp_path / "data.bin")
    model = external(tmp_path, **entries)

    with pytest.raises(InputError, match=rf"tensor 'w': external data '.*{said}"):
        read_external(tmp_path / "m.onnx", model)


@pytest.mark.parametrize("kind", [0, TensorProto.STRING, 99])
def test_types_without_a_size_are_refused(tmp_path: Path, kind: int) -> None:
    model = external(tmp_path)
    model.graph.initializer[0].data_type = kind

    with pytest.raises(InputError, match="cannot be read"):
        read_external(tmp_path / "m.onnx", model)


@pytest.mark.parametrize("count", [8, 10])
def test_tensors_that_share_a_place_are_bounded(tmp_path: Path, count: int) -> None:
    model = external(tmp_path)
    for _ in range(count - 1):
        model.graph.initializer.append(model.graph.initializer[0])
    if count == 8:
        read_external(tmp_path / "m.onnx", model)
        assert len(model.graph.initializer) == 8
    else:
        with pytest.raises(InputError, match="8 times larger than its files"):
            read_external(tmp_path / "m.onnx", model)
