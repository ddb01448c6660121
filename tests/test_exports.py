"""Networks as exporters write them: they convert and verify, and only what must be stays dense."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from exports.heads import HEADS
from exports.networks import NETWORKS
from exports.sizes import FLATTENED, SIZES
from onnx import TensorProto, numpy_helper
from paths import MODES

from lt_onnx import InputError, convert, validate, verify
from lt_onnx.options import Select
from lt_onnx.reading.lowering import read_target
from lt_onnx.validation.fidelity import Judged

# operators left dense, by network; others have none
DENSE: dict[str, str] = {
    "attention": "MatMul MatMul",
    "attention of computed shapes": "MatMul MatMul",
    "recognised": "ConstantOfShape GRU",
    "class map: one_hot": "OneHot",
    "class map: one_hot_whole": "OneHot",
    "class map: one_hot_cast": "OneHot",
    "class map: every_class": "Equal",
    "class map: palette": "Gather",
    "text": "Gather",
    "words": "Slice Expand Gather Expand MatMul MatMul",
    "decoder": "Gather MatMul MatMul",
    "tied_embedding": "Gather",
    "class map: masks_as_floats": "Equal",
    "mask added": "MatMul MatMul",
    "mask chosen": "MatMul Where MatMul",
    "mask given": "MatMul Where MatMul",
    "labelled": "ArrayFeatureExtractor",
    "labelled, binary": "ArrayFeatureExtractor",
    "constants_of_shape": "Where",
    "group normalised 21": "GroupNormalization",
    "layer normalised": "LayerNormalization",
}
EVERY: dict[str, Callable[[], onnx.ModelProto]] = {**SIZES, **HEADS, **NETWORKS}
REFUSED = {
    "zipped": r"not a tensor; export .*\{'zipmap': False\}",
    "sampled": r"node 'RandomNormalLike_\d+' \(RandomNormalLike\) draws random numbers",
}
CONVERTED = [name for name in EVERY if name not in REFUSED and name not in FLATTENED]
BOTH = pytest.mark.parametrize("mode", MODES)


def written(name: str, folder: Path) -> Path:
    path = folder / "target.onnx"
    onnx.save(EVERY[name](), str(path))
    return path


def in_single_precision(model: onnx.ModelProto) -> onnx.ModelProto:
    """The network with float32 in the place of float16, inside."""
    half, single = TensorProto.FLOAT16, TensorProto.FLOAT
    for tensor in model.graph.initializer:
        if tensor.data_type == half:
            whole = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(whole, tensor.name))
    for attribute in (a for node in model.graph.node for a in node.attribute):
        if (attribute.name, attribute.i) == ("to", half):
            attribute.i = single
    return model


@pytest.mark.parametrize("name", FLATTENED)
def test_a_classifier_behind_computed_shapes_is_read_as_one(name: str, tmp_path: Path) -> None:
    target = read_target(written(name, tmp_path))

    assert len(target.linears) == 4
    assert not {"Concat", "Gather", "MatMul", "Shape"} & {step.op for step in target.steps}


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        pytest.param(name, mode, marks=[] if (number + at) % 2 else pytest.mark.long)
        for number, name in enumerate(CONVERTED)
        for at, mode in enumerate(MODES)  # one of them; the other is for make test-long
    ],
)
def test_an_export_converts_and_its_ticket_is_genuine(name: str, mode: str, tmp_path: Path) -> None:
    path, out = written(name, tmp_path), tmp_path / "t.onnx"
    ticket = convert(path, out, mode=mode, base_size=8, validate=False)
    left = Counter(place.op for place in ticket.report.dense)

    assert verify(out, target=path).failures == []
    assert left == Counter(DENSE.get(name, "").split())


@pytest.mark.long
@BOTH
@pytest.mark.parametrize("name", [name for name in EVERY if name not in REFUSED])
def test_an_export_is_rewritten_exactly(name: str, mode: str, tmp_path: Path) -> None:
    path = written(name, tmp_path)
    ticket = convert(
        path, tmp_path / "t.onnx", mode=mode, select=Select.EXACT, base_size=4, validate=False
    )
    # half precision is computed in single, without its rounding of 2^-11
    model, single = in_single_precision(onnx.load(str(path))), tmp_path / "single.onnx"
    onnx.save(model, str(single))
    fidelity = validate(single, ticket.path)

    assert len(fidelity.outputs) == len(model.graph.output)
    for out in fidelity.outputs:
        if out.judged is Judged.EQUALITY:  # of integers, which have no relative error
            assert out.agreement == 1.0
        else:
            assert out.relative is not None
            assert out.relative < 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_not_be_proved_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=REFUSED[name]):
        read_target(written(name, tmp_path))


def test_a_ticket_is_no_target(tmp_path: Path) -> None:
    out = tmp_path / "t.onnx"
    convert(written("resnet 13", tmp_path), out, base_size=4, validate=False)

    with pytest.raises(InputError, match=r"t\.onnx: is a ticket already; give the network"):
        convert(out, tmp_path / "u.onnx")
