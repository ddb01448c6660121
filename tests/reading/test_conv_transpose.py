"""A ConvTranspose, with what is affine behind it, becomes one convolution and a shuffle."""

from pathlib import Path

import numpy as np
import pytest
from rewritten import error_of, inputs, model_of, normalization, ops_of, target_of

from lt_onnx.errors import InputError

RNG = np.random.default_rng(11)
CHAIN = """
    n = BatchNormalization(h, scale, shift, mean, variance)
    m = Mul(n, c)
    y = Add(k, m)
"""


KEPT = ["ConvTranspose", "CONV"]  # of that chain behind a layer that is not rewritten


def words(**attributes: object) -> str:
    """Attributes as ONNX text has them."""
    texts = [
        f'{key}="{value}"' if isinstance(value, str) else f"{key}={value}"
        for key, value in attributes.items()
    ]
    return f"<{', '.join(texts)}>" if texts else ""


GEOMETRIES = {
    "as it is": {},
    "a stride": {"strides": [2, 2]},
    "two strides": {"strides": [3, 2]},
    "pads": {"strides": [2, 2], "pads": [1, 0, 2, 1]},
    "pads larger than a stride": {"strides": [2, 3], "pads": [3, 2, 2, 1]},
    "padding of the output": {"strides": [2, 3], "output_padding": [1, 2]},
    "both": {"strides": [3, 2], "pads": [0, 1, 2, 2], "output_padding": [2, 1]},
    "holes": {"strides": [2, 2], "dilations": [2, 1], "pads": [1, 2, 0, 1]},
    "holes without stride": {"dilations": [1, 2], "pads": [1, 0, 1, 2]},
    "a stride past the kernel": {"strides": [5, 4]},
    "SAME_UPPER": {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
    "SAME_LOWER": {"strides": [2, 3], "auto_pad": "SAME_LOWER"},
    "an output's shape": {"strides": [2, 2], "output_shape": [11, 14]},
}


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("opset", [9, 17])
@pytest.mark.parametrize("case", GEOMETRIES)
def test_a_chain_behind_it_is_in_its_weights(
    tmp_path: Path, case: str, opset: int, group: int
) -> None:
    attributes = {**GEOMETRIES[case], "group": group}
    layer = f"ConvTranspose{words(**attributes)}(x, w, b)"
    model = model_of(
        f"(float[2,4,6,7] x) => (float y) {{ h = {layer} {CHAIN} }}",
        opset=opset,
        w=RNG.normal(size=(4, 3, 4, 3)),
        b=RNG.normal(size=3 * group),
        c=RNG.normal(size=(3 * group, 1, 1)),
        k=-0.7,
        **normalization(RNG, 3 * group),
    )
    target = target_of(model, tmp_path)

    assert ops_of(target)[0] == "CONV"
    assert set(ops_of(target)[1:]) <= {"DepthToSpace", "Reshape", "Transpose", "Slice"}
    assert len(target.linears) == 1
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


@pytest.mark.parametrize("rank", [1, 3])
def test_signals_and_volumes(tmp_path: Path, rank: int) -> None:
    sizes, strides = [5, 4, 3][:rank], [2, 3, 2][:rank]
    shape = ",".join(str(size) for size in [2, 4, *sizes])
    model = model_of(
        f"(float[{shape}] x) => (float y) {{ h = ConvTranspose{words(strides=strides)}(x, w)\n"
        " y = BatchNormalization(h, scale, shift, mean, variance) }",
        w=RNG.normal(size=(4, 3, *[4, 3, 2][:rank])),
        **normalization(RNG, 3),
    )
    target = target_of(model, tmp_path)

    assert ops_of(target) == ["CONV", "Reshape", "Transpose", "Reshape"]
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


def test_random_geometries(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    for number in range(60):
        kernel, strides, dilations = (rng.integers(1, high, 2) for high in (5, 4, 3))
        reach = (kernel - 1) * dilations + 1
        extra = rng.integers(0, strides)  # onnxruntime refuses more
        pads = np.minimum(rng.integers(0, 4, 4), np.tile(reach - 1, 2))
        group = int(rng.integers(1, 4))
        text = words(
            strides=strides.tolist(),
            dilations=dilations.tolist(),
            output_padding=extra.tolist(),
            pads=pads.tolist(),
            group=group,
        )
        model = model_of(
            f"(float[N,{2 * group},9,8] x) => (float y) "
            f"{{ h = ConvTranspose{text}(x, w, b) {CHAIN} }}",
            w=rng.normal(size=(2 * group, 3, *kernel)),
            b=rng.normal(size=3 * group),
            c=rng.normal(size=(3 * group, 1, 1)),
            k=0.4,
            **normalization(rng, 3 * group),
        )
        folder = tmp_path / str(number)
        folder.mkdir()
        target = target_of(model, folder)
        assert error_of(target, model, inputs(model, rng)) < 1e-5, text
        if "CONV" in ops_of(target):  # not where output_padding is beyond the kernel
            assert ops_of(target).count("CONV") == 1, text


def test_sizes_that_are_not_known(tmp_path: Path) -> None:
    text = "(float[N,4,H,W] x) => (float y) {{ h = ConvTranspose<strides={}>(x, w) {} }}"
    weights = {
        "w": RNG.normal(size=(4, 3, 3, 3)),
        "c": RNG.normal(size=(3, 1, 1)),
        "k": 0.1,
        **normalization(RNG, 3),
    }
    for strides, ops in (([2, 2], ["CONV", "DepthToSpace", "Slice"]), ([2, 3], KEPT)):
        model = model_of(text.format(strides, CHAIN), **weights)
        target = target_of(model, tmp_path)
        assert ops_of(target) == ops, strides
        assert error_of(target, model, inputs(model, RNG)) < 1e-5, strides


def test_a_layer_before_it_goes_into_it_only_where_no_padding_sees_its_shift(
    tmp_path: Path,
) -> None:
    for pads, ops in (([2, 2, 2, 2], ["CONV"]), ([0, 0, 0, 0], ["CONV", "CONV"])):
        model = model_of(
            "(float[N,4,6,7] x) => (float y) "
            "{ n = BatchNormalization(x, scale, shift, mean, variance)\n"
            f" y = ConvTranspose<pads={pads}>(n, w) }}",
            w=RNG.normal(size=(4, 3, 3, 3)),
            **normalization(RNG, 4),
        )
        target = target_of(model, tmp_path)
        assert ops_of(target) == ops, pads
        assert error_of(target, model, inputs(model, RNG)) < 1e-5


def test_two_readers_keep_what_is_behind_apart(tmp_path: Path) -> None:
    model = model_of(
        "(float[N,4,6,7] x) => (float y) { h = ConvTranspose<strides=[2,2]>(x, w)\n a = Mul(h, c)\n"
        " y = Add(a, h) }",
        w=RNG.normal(size=(4, 3, 3, 3)),
        c=RNG.normal(size=(3, 1, 1)),
    )
    target = target_of(model, tmp_path)

    assert ops_of(target) == ["CONV", "DepthToSpace", "Slice", "CONV", "Add"]
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


def test_computed_weights_stay(tmp_path: Path) -> None:
    text = "(float[1,4,6,7] x, float[4,3,2,2] w) => (float y) { y = ConvTranspose(x, w) }"
    model = model_of(text)

    assert ops_of(target_of(model, tmp_path)) == ["ConvTranspose"]


def test_pads_past_the_kernel_leave_it_as_it_is(tmp_path: Path) -> None:
    model = model_of(
        f"(float[N,4,6,7] x) => (float y) {{ h = ConvTranspose<pads=[0,3,0,0]>(x, w) {CHAIN} }}",
        w=RNG.normal(size=(4, 3, 3, 3)),
        c=RNG.normal(size=(3, 1, 1)),
        k=0.1,
        **normalization(RNG, 3),
    )
    target = target_of(model, tmp_path)

    assert ops_of(target) == KEPT
    assert error_of(target, model, inputs(model, RNG)) < 1e-5


def test_a_stride_past_all_measure_is_refused(tmp_path: Path) -> None:
    text = "(float[N,4,H,W] x) => (float y) { y = ConvTranspose<strides=[2000000,1]>(x, w) }"

    with pytest.raises(InputError, match=r"strides \[2000000, 1\] are not possible; give 1 to"):
        target_of(model_of(text, w=np.ones((4, 3, 2, 2))), tmp_path)
