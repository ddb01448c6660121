"""Which tensors are never negative, as the proof sees it."""

import onnx
import pytest

from lt_onnx.verification.signs import nonnegative_tensors

NEVER = {
    "a relu": "y = Relu (x)",
    "a clip from 0 on": "y = Clip (x, low)",
    "a clip from 0 to 6": "y = Clip (x, low, six)",
    "a relu clipped at 6": "a = Relu (x) y = Clip (a, , six)",
    "arranged": "a = Exp (x) b = Transpose (a) c = Gather (b, at) y = Slice (c, at, at)",
    "sums of such": "a = Abs (x) b = Sqrt (x) c = Add (a, b) y = Concat <axis = 0> (c, low)",
    "padded": "a = Relu (x) y = Pad (a, at)",
    "split": "a = Relu (x) b, y = Split (a)",
}
MAYBE = {
    "the input": "y = Identity (x)",
    "a clip from -1 on": "y = Clip (x, below)",
    "a clip from 0 on up to -1": "y = Clip (x, low, below)",
    "a relu clipped at -1": "a = Relu (x) y = Clip (a, , below)",
    "a relu clipped at what is computed": "a = Relu (x) b = Neg (a) y = Clip (a, , b)",
    "a clip of a computed bound": "a = Neg (x) y = Clip (x, a)",
    "sums with others": "a = Relu (x) y = Add (a, x)",
    "padded by what is negative": "a = Relu (x) y = Pad (a, at, below)",
    "shifted": "a = Relu (x) y = Add (a, below)",
    "turned over": "a = Relu (x) y = Neg (a)",
    "a relu of somebody": "y = own.Relu (x)",
}


@pytest.mark.parametrize("what", [*NEVER, *MAYBE])
def test_what_is_never_negative(what: str) -> None:
    graph = onnx.parser.parse_graph(
        "g (float[N] x) => (float[N] y) "
        "<float low = {0.0}, float below = {-1.0}, float six = {6.0}, int64[1] at = {0}> {"
        + (NEVER | MAYBE)[what]
        + "}"
    )

    assert ("y" in nonnegative_tensors(graph)) == (what in NEVER)
