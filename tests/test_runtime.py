"""onnxruntime behind `runtime`: what it holds of a model."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from graphs import Builder

from lt_onnx.files import data_of
from lt_onnx.runtime import Program
from lt_onnx.target import Node

WIDTH = 4096  # of a layer of 64 MiB
RUN = """
import re, sys
from pathlib import Path
import numpy as np
from lt_onnx.runtime import Session

def own():  # MiB that no file stands behind
    return int(re.findall(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[0]) >> 10

before, x = own(), np.arange(4096, dtype=np.float32).reshape(1, -1, 1, 1)
session = Session(Path(sys.argv[1]))
(out,) = session.run({"x": x}).values()
assert (out == 2 * x[:, ::-1]).all()
print(own() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory as Linux tells it")
def test_weights_beside_a_ticket_are_not_copied(tmp_path: Path) -> None:
    b, path = Builder(), tmp_path / "t.onnx"
    y = b("Conv", "x", b.constant(np.eye(WIDTH)[::-1, :, None, None]))
    y = b("Mul", y, b.constant(np.full((1, WIDTH, 1, 1), 2)))  # a layer's scale, as in a ticket
    model = b.model(y, ("N", WIDTH, 1, 1))
    onnx.save(model, str(path), save_as_external_data=True, location=data_of(path).name)
    told = subprocess.run([sys.executable, "-c", RUN, path], capture_output=True, text=True)

    assert told.returncode == 0, told.stderr
    assert int(told.stdout) < 32


def test_a_number_for_each_sample_may_come_in_batches_of_any_size() -> None:
    """A program is compiled for so many whole numbers of rank 1, as shapes are, anew for others."""
    node = Node("Cast", "cast", ("lengths",), ("y",), {"to": onnx.TensorProto.FLOAT})
    feeds = [{"lengths": np.arange(count)} for count in (3, 1, 3)]
    program = Program([node], feeds[0], constants={}, outputs=["y"], opsets={"": 17})

    assert [y.tolist() for (y,) in program.map(feeds)] == [[0, 1, 2], [0], [0, 1, 2]]
