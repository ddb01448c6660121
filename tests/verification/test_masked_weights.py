"""Stored numbers against their source: every form passes, one changed bit does not."""

from collections.abc import Callable

import numpy as np
import pytest
from handmade import Handmade, handmade

from lt_onnx.options import Weights
from lt_onnx.verification.masked_weights import check_masked_weights, source_tensor, stored_tensors

FORMS = [(stored, half) for stored in Weights for half in (False, True)]


def checked(ticket: Handmade) -> tuple[dict[str, int], list[str]]:
    return check_masked_weights(ticket.manifest, ticket.tensors, size=1 << 20)


@pytest.mark.parametrize(("stored", "half"), FORMS)
def test_a_genuine_layer_is_counted(stored: Weights, half: bool) -> None:
    ticket = handmade(stored, half=half)
    layers = ticket.manifest.layers
    kept = sum(layer.kept + layer.kept_bias for layer in layers)

    counts, failures = checked(ticket)
    assert failures == []
    assert counts == {"layers": 2, "kept": kept, "source": 72 + 12 + 3, "draws": 18 + 12 + 3}


@pytest.mark.parametrize(
    ("stored", "half", "name", "names"),
    [
        (Weights.FOLDED, False, "b", ["b", "b_bias"]),
        (Weights.FOLDED, True, "b/half", ["b/half", "b_bias"]),
        (Weights.MASKED, True, "b/source", ["b/source", "b/mask", "b_bias"]),
        (Weights.SPARSE, False, "b", ["b", "b_bias"]),
    ],
)
def test_a_layers_tensors_are_named_by_its_form(
    stored: Weights, half: bool, name: str, names: list[str]
) -> None:
    layer = handmade(stored, half=half).manifest.layers[1]

    assert source_tensor(layer) == name
    assert stored_tensors(layer) == names


def change(name: str, number: Callable[[np.ndarray], object]) -> Callable[[Handmade], None]:
    """Change one number of a tensor."""

    def forge(ticket: Handmade) -> None:
        array = ticket.array(name)
        number(array.reshape(-1))
        ticket.put(name, array)

    return forge


def first(array: np.ndarray, *, kept: bool) -> int:
    return int(np.flatnonzero((array != 0) == kept)[0])


def set_at(value: float, *, kept: bool = False) -> Callable[[np.ndarray], None]:
    def put(array: np.ndarray) -> None:
        array[first(array, kept=kept)] = value

    return put


def negate(array: np.ndarray) -> None:
    array[first(array, kept=True)] *= -1


def lowest_bit(array: np.ndarray) -> None:
    array.view(np.uint32)[first(array, kept=True)] ^= 1


def transpose(ticket: Handmade) -> None:
    ticket.put("a", np.ascontiguousarray(ticket.array("a").swapaxes(2, 3)))


FORGERIES: dict[str, tuple[Callable[[Handmade], None], str]] = {
    "one sign": (change("a", negate), "the source has"),
    "one bit": (change("a", lowest_bit), "the source has"),
    "a number of its own": (change("a", set_at(0.25)), "np.float32(0.25), the source has"),
    "minus zero": (change("a", set_at(-0.0)), "np.float32(-0.0), the source has"),
    "a denormal number": (change("a", set_at(1e-45)), "the source has"),
    "NaN": (change("a", set_at(np.nan)), "the source has"),
    "a kernel transposed": (transpose, "the source has"),
    "one kept less": (change("a", set_at(0, kept=True)), "its record says"),
    "a bias": (change("b_bias", negate), "tensor 'b_bias' at [0]"),
    "a bias less": (change("b_bias", set_at(0, kept=True)), "keeps 1 biases"),
    "a bias too long": (lambda t: t.put("b_bias", np.zeros(4, np.float32)), "does not fit"),
    "another type": (lambda t: t.put("b", t.array("b").astype(np.float64)), "float64"),
    "another shape": (lambda t: t.put("b", t.array("b").T.copy()), "[4, 3]"),
    "no scale": (lambda t: t.model.graph.initializer.pop(1), "'a_scale' is missing"),
    "another sigma": (lambda t: t.layer(0, sigma=0.5), "has σ = 0.5"),
    "a sigma of doubles": (lambda t: t.layer(0, sigma=np.sqrt(6 / 18)), "has σ"),
    "another seed": (lambda t: t.note(seed=1), "the source has"),
    "another form": (lambda t: t.layer(0, stored=Weights.SPARSE), "not sparse"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_layer_is_told(name: str) -> None:
    forge, told = FORGERIES[name]
    ticket = handmade()
    forge(ticket)

    counts, failures = checked(ticket)
    assert failures
    assert told in failures[0]
    assert counts["layers"] == 2 - len(failures)


def test_the_place_of_a_wrong_number_is_told() -> None:
    ticket = handmade()
    array = ticket.array("a")
    array[3, 1, 0, 2] = 0.5
    ticket.put("a", array)

    (failure,) = checked(ticket)[1]
    assert "tensor 'a' at [3, 1, 0, 2] is np.float32(0.5)" in failure


def test_a_mask_holds_zeros_and_ones() -> None:
    ticket = handmade(Weights.MASKED)
    ticket.put("a/mask", ticket.array("a/mask") * 2)

    assert "'a/mask' is not a mask" in checked(ticket)[1][0]


def test_the_source_beside_a_mask_is_whole() -> None:
    ticket = handmade(Weights.MASKED)
    ticket.put("a/source", ticket.array("a/source") * ticket.array("a/mask"))

    assert "the source has" in checked(ticket)[1][0]


def test_a_sparse_weight_that_is_zero_is_none() -> None:
    ticket = handmade(Weights.SPARSE)
    values = ticket.model.graph.sparse_initializer[0].values
    values.raw_data = bytes(4) + values.raw_data[4:]

    assert "the source has" in checked(ticket)[1][0]
