"""`inspect`, `plan`, `convert` and `verify` count alike: one definition of every count."""

from pathlib import Path

import numpy as np
import pytest
from graphs import Builder, save
from paths import MODELS, SHIPPED

from lt_onnx import Proof, convert, verify
from lt_onnx.options import PAPER_MODES, Mode, Options
from lt_onnx.planning.overview import inspection, plan_overview
from lt_onnx.planning.plan import plan
from lt_onnx.reading.lowering import read_target
from lt_onnx.writing.build import write_source

SMALL = ["plain-relu", "depthwise", "residual"]


def counted_alike(target: Path, mode: Mode, folder: Path, *, whole: bool) -> Proof:
    """Compare every count of every command; `whole`: of a ticket, else of the source network."""
    blueprint = plan(read_target(target), Options(mode, base_size=4))
    looked, planned = inspection(blueprint), plan_overview(blueprint)
    ticket = folder / f"{target.stem}.{mode}.onnx"
    if whole:
        report = convert(
            target, ticket, mode=mode, base_size=4, price=1e-3, calibration_count=2, validate=False
        ).report
        document = report.to_dict()
        assert report.source_weights == document["ticket"]["source"] == planned["source_weights"]
        assert [layer.source_weights for layer in report.layers] == [
            layer["weights"] for layer in planned["layers"]
        ]
        assert report.target_weights == looked["constructed_weights"]
        assert sum(layer.target_weights for layer in report.layers) == report.target_weights
        assert document["verify"]["kept"] == document["ticket"]["kept"]
        assert document["verify"]["scales"] == sum(layer.scales for layer in report.layers)
        assert sum(place.parameters for place in report.dense) == planned["dense_parameters"]
    else:
        write_source(blueprint, ticket)
    proof = verify(ticket)
    assert proof.genuine, proof.failures
    assert proof.layers == len(planned["layers"])
    assert proof.source == planned["source_weights"] == blueprint.source_weights
    assert proof.parameters == planned["dense_parameters"] == looked["dense_parameters"]
    assert proof.parameters == sum(step["parameters"] for step in looked["steps"])
    assert proof.dense == planned["dense_places"] == looked["dense_places"]
    assert proof.dense == looked["counts"]["dense"] == len(blueprint.dense)
    return proof


@pytest.mark.parametrize("mode", PAPER_MODES)
@pytest.mark.parametrize("name", SHIPPED)
def test_every_shipped_network_has_the_same_counts_everywhere(
    tmp_path: Path, name: str, mode: Mode
) -> None:
    counted_alike(MODELS / f"{name}.onnx", mode, tmp_path, whole=name in SMALL)


@pytest.mark.parametrize("mode", PAPER_MODES)
def test_dense_places_of_every_kind_have_the_same_counts(tmp_path: Path, mode: Mode) -> None:
    """Slopes, operators without a rule, one of them with parameters, and a single limit."""
    b = Builder(0)
    slopes = b.constant(np.linspace(0.1, 0.4, 8).reshape(8, 1, 1))
    x = b("PRelu", b.conv("x", 3, 8, pads=[1] * 4), slopes)
    x = b("Clip", b.conv(x, 8, 8, pads=[1] * 4), b.constant(-1.0), b.constant(2.0))
    limits = b.constant(np.arange(1, 9).reshape(8, 1, 1))
    x = b("Mod", b("LRN", x, size=3), limits, fmod=1)
    target = save(b.model(b.conv(x, 8, 2), ("N", 3, 6, 6)), tmp_path)
    proof = counted_alike(target, mode, tmp_path, whole=True)

    assert proof.parameters >= 8
    assert proof.scalars == 2
