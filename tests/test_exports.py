"""Networks as exporters write them: they convert and verify, and only what must be stays dense."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from exports.heads import HEADS
from exports.networks import NETWORKS
from exports.sizes import FLATTENED, SIZES
from paths import MODES

from lt_onnx import InputError, convert, verify
from lt_onnx.options import Select
from lt_onnx.reading.lowering import read_target

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
    "tied_embedding": "Gather",
    "class map: masks_as_floats": "Equal",
    "mask added": "MatMul MatMul",
    "mask chosen": "MatMul Where MatMul",
    "mask given": "MatMul Where MatMul",
    "labelled": "ArrayFeatureExtractor",
    "labelled, binary": "ArrayFeatureExtractor",
    "constants_of_shape": "ConstantOfShape Greater Where",
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
    ticket = convert(path, tmp_path / "t.onnx", mode=mode, select=Select.EXACT, base_size=4)
    fidelity = ticket.report.fidelity

    assert fidelity is not None
    assert max(out.relative for out in fidelity.outputs) < 1e-5


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_not_be_proved_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=REFUSED[name]):
        read_target(written(name, tmp_path))


def test_a_ticket_is_no_target(tmp_path: Path) -> None:
    out = tmp_path / "t.onnx"
    convert(written("resnet 13", tmp_path), out, base_size=4, validate=False)

    with pytest.raises(InputError, match=r"t\.onnx: is a ticket already; give the network"):
        convert(out, tmp_path / "u.onnx")
