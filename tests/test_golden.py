"""Tickets of every generator version so far: what was made once is made, and proved, for ever.

`golden/<generator>.ltz` is a pack of a ticket of `models/plain-relu.onnx` (l+1, m = 3, μ = 0.0015,
seed 2022).
A new generator gets a pack and a row of its own; the rows before stay.
"""

import hashlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import Builder, save
from onnx import numpy_helper
from paths import MODELS

from lt_onnx import convert, verify
from lt_onnx.cli.app import run
from lt_onnx.manifest import GENERATOR
from lt_onnx.packing.unpack import unpack

GOLDEN = Path(__file__).parent / "golden"
TICKETS = {"philox4x32-10/1": "2ccb99cc608476ed8b09153d4617ab508493a440933e3241c924af9d19b8f903"}
WEIGHTS = {  # of the ticket below, constructed by arithmetic that every machine does alike
    "philox4x32-10/1": "4a4e1c818ba4530b78291799c53bc6ab427c7042c8a97fad8c7d5765fddfc3a9"
}


def pack_of(generator: str) -> Path:
    return GOLDEN / f"{generator.replace('/', '-')}.ltz"


@pytest.mark.parametrize("generator", TICKETS)
def test_the_golden_pack_gives_its_ticket_byte_for_byte(tmp_path: Path, generator: str) -> None:
    (made,) = unpack(pack_of(generator), tmp_path / "t.onnx")

    assert hashlib.sha256(made.read_bytes()).hexdigest() == TICKETS[generator]
    assert verify(made, target=MODELS / "plain-relu.onnx").genuine
    assert run(["verify", str(pack_of(generator)), "-q"]) == 0


def test_a_golden_ticket_is_constructed_again(tmp_path: Path) -> None:
    """The paper's rule on a network without biases: no float sum decides anything."""
    b = Builder(seed=1)
    x = b("Relu", b.conv("x", 3, 5, bias=0))
    x = b("Relu", b.conv(x, 5, 4, bias=0))
    target = save(b.model(b.conv(x, 4, 2, bias=0)), tmp_path)
    made = convert(
        target,
        tmp_path / "t.onnx",
        select="smallest",
        base_size=6,
        sigma="layer",
        seed=2022,
        validate=False,
    )
    digest = hashlib.sha256()
    for tensor in onnx.load(made.path).graph.initializer:
        digest.update(f"{tensor.name} {list(tensor.dims)}".encode())
        digest.update(np.ascontiguousarray(numpy_helper.to_array(tensor)).tobytes())

    assert made.report.proof.genuine
    assert digest.hexdigest() == WEIGHTS[GENERATOR]
