"""The whole proof: tickets made by hand are genuine, and none of the construction is needed."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from handmade import SEED, handmade
from paths import MODELS

from lt_onnx import verify
from lt_onnx.errors import InputError
from lt_onnx.options import Weights
from lt_onnx.packing.unpack import unpack
from lt_onnx.verification.verify import MAX_FAILURES

GOLDEN = Path(__file__).parents[1] / "golden" / "philox4x32-10-1.ltz"
# a process in which nothing of the construction can be imported
ALONE = """
import sys
from importlib.abc import MetaPathFinder

HIDDEN = {f"lt_onnx.{name}" for name in "planning construct writing subset_sum source".split()}

class Hide(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name in HIDDEN:
            raise ImportError(f"{name} is hidden")

sys.meta_path.insert(0, Hide())
for name in HIDDEN:
    try:
        __import__(name)
    except ImportError:
        continue
    sys.exit(f"{name} is not hidden")
import lt_onnx
proof = lt_onnx.verify(sys.argv[1])
print(proof.genuine, proof.layers, proof.failures)
compilers = {"numba", "torch", "triton", "onnxruntime"} & {*sys.modules}
sys.exit(f"{compilers} were imported" if compilers else 0)
"""


@pytest.mark.parametrize("stored", sorted(set(Weights) - {Weights.SEEDED}))
@pytest.mark.parametrize("half", [False, True])
def test_a_ticket_made_by_hand_is_genuine(tmp_path: Path, stored: Weights, half: bool) -> None:
    ticket = handmade(stored, half=half)
    proof = verify(ticket.write(tmp_path / "t.onnx"), target_sha256="0" * 64)
    kept = sum(layer.kept + layer.kept_bias for layer in ticket.manifest.layers)

    assert proof.failures == []
    assert proof.genuine
    assert (proof.layers, proof.kept, proof.source, proof.scales) == (2, kept, 87, 7)
    assert (proof.parameters, proof.dense, proof.seed) == (0, 0, SEED)


def test_another_target_is_told_and_the_rest_is_checked(tmp_path: Path) -> None:
    proof = verify(handmade().write(tmp_path / "t.onnx"), target_sha256="1" * 64)

    assert proof.failures == ["the ticket was made from another target (SHA-256 differs)"]
    assert proof.layers == 2


def test_a_file_of_strange_fields_is_not_looked_into(tmp_path: Path) -> None:
    ticket = handmade()
    ticket.model.graph.initializer[0].float_data.append(1.0)
    proof = verify(ticket.write(tmp_path / "t.onnx"))

    assert len(proof.failures) == 1
    assert (proof.layers, proof.scales) == (0, 0)


def test_a_model_that_is_no_ticket_is_refused() -> None:
    with pytest.raises(InputError, match="not a ticket"):
        verify(MODELS / "plain-relu.onnx")


def test_failures_are_told_up_to_a_limit(tmp_path: Path) -> None:
    ticket = handmade()
    for number in range(MAX_FAILURES + 20):
        ticket.put(f"k{number}", np.arange(3))
    failures = verify(ticket.write(tmp_path / "t.onnx")).failures

    assert len(failures) == MAX_FAILURES + 1
    assert failures[-1] == "and 20 more"


def test_a_shipped_ticket_is_proved_where_nothing_of_the_construction_can_be_imported(
    tmp_path: Path,
) -> None:
    (ticket,) = unpack(GOLDEN, tmp_path / "t.onnx")
    run = subprocess.run([sys.executable, "-c", ALONE, str(ticket)], capture_output=True, text=True)

    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("True ")
