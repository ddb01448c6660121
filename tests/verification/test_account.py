"""The account: bits of every sort of number, and that nothing in a ticket counts nothing."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from forge.draft import Draft
from graphs import Builder, save
from handmade import SEED, SOURCES, Handmade, handmade
from onnx import helper, numpy_helper
from paths import MODELS

from lt_onnx import convert, verify
from lt_onnx.errors import InputError
from lt_onnx.options import Init, Sigma, Weights
from lt_onnx.source.layer import draw_rows
from lt_onnx.verification.account import Account, account_of
from lt_onnx.verification.code_lengths import float_bits, gamma_bits, integer_bits, subset_bits
from lt_onnx.verification.graph_index import index_graph
from lt_onnx.verification.seeded import Restored
from lt_onnx.verification.text_bits import data_name_bits


def account(ticket: Handmade, *, target: str | None = None, **words: Any) -> Account:
    index, _ = index_graph(ticket.model, ticket.manifest)
    return account_of(
        Restored(ticket.model, ticket.manifest, [], ticket.model, **words),
        index=index,
        tensors=ticket.tensors,
        path=Path("t.onnx"),
        target=None if target is None else Path(target),
    )


@pytest.mark.parametrize(("n", "k"), [(10, 3), (87, 0), (87, 87), (1000, 500)])
def test_a_mask_counts_as_many_bits_as_there_are_masks(n: int, k: int) -> None:
    assert subset_bits(n, k) == pytest.approx(math.log2(math.comb(n, k)), abs=1e-6)


def test_whole_numbers_take_their_width_and_runs_take_less() -> None:
    rng = np.random.default_rng(0)
    scattered = rng.integers(0, 256, 1000)

    assert 8000 <= integer_bits(scattered) < 8050
    assert integer_bits(np.arange(1000)) < 60
    assert integer_bits(np.repeat(7, 1000)) < 40
    assert integer_bits(np.zeros(0, np.int64)) == 0
    assert integer_bits(np.array([2**62])) > 62
    assert integer_bits(rng.random(1000) > 0.5) >= 1000


def test_a_number_on_its_own_takes_twice_its_length() -> None:
    assert [gamma_bits(n) for n in (0, 1, -1, 3, 1000)] == [1, 3, 3, 5, 21]


def test_floats_take_32_bits_for_each_that_is_another() -> None:
    rng = np.random.default_rng(0)

    assert float_bits(rng.random(100).astype(np.float32)) == 3200
    assert float_bits(np.ones(100, np.float32)) == 32
    assert float_bits(np.tile(np.float32([1, 2]), 50)) == 64 + 100
    assert float_bits(np.where(rng.random(100) > 0.5, -0.0, 0.0).astype(np.float32)) == 64 + 100


def test_the_account_of_a_ticket_made_by_hand() -> None:
    ticket = handmade()
    first, second = ticket.manifest.layers
    found = account(ticket)
    masks = (
        math.log2(73 * 13 * 4)
        + subset_bits(72, first.kept)
        + subset_bits(12, second.kept)
        + subset_bits(3, second.kept_bias)
    )

    assert found.masks == math.ceil(masks)
    assert 7 * 23 <= found.scales <= 7 * 32
    assert found.indices == found.dense == 0
    assert found.texts > 8 * 20
    assert 0 < found.outside_masks < 1


@pytest.mark.parametrize("stored", Weights)
def test_how_a_ticket_is_stored_changes_no_mask(stored: Weights) -> None:
    if stored is Weights.SEEDED:
        return
    assert account(handmade(stored)).masks == account(handmade()).masks


HIDDEN: dict[str, tuple[Callable[[Handmade], Any], str, int]] = {
    "a repeated operator": (lambda t: t.extend("a = Relu (y) z = Relu (a)"), "attributes", 4),
    "attributes that say what is so without them": (
        lambda t: t.extend("z = Softmax <axis = -1> (y)"),
        "attributes",
        12,
    ),
    "a selection": (
        lambda t: t.extend("z = Gather <axis = 1> (y, k)", k=np.array([2, 0, 2, 1, 1, 0])),
        "indices",
        12,
    ),
    "a scalar": (lambda t: t.extend("z = Mul (y, k)", k=np.float32(0.3)), "dense", 32),
    "parameters": (lambda t: t.extend("z = Mul (y, k)", k=np.float32([1, 2, 3])), "dense", 96),
    "a slope": (lambda t: t.extend("z = LeakyRelu <alpha = 0.3> (y)"), "attributes", 32),
    "a permutation": (lambda t: t.extend("z = Transpose <perm = [1, 0]> (y)"), "attributes", 8),
    "operators": (lambda t: t.extend("a = Relu (y) b = Neg (a) z = Abs (b)"), "attributes", 24),
    "wiring": (lambda t: t.extend("a = Add (y, y) b = Add (a, y) z = Add (b, y)"), "attributes", 9),
    "axes": (lambda t: t.extend("z = ReduceSum (y, k)", k=np.array([1])), "integers", 3),
    "a name": (
        lambda t: t.model.graph.node.append(helper.make_node("Relu", ["y"], ["z" * 9], "kqzjxv")),
        "texts",
        48,
    ),
    "inner tensors as outputs": (
        lambda t: t.model.graph.output.append(helper.make_tensor_value_info("relu", 1, None)),
        "integers",
        8,
    ),
    "an option": (
        lambda t: t.note(options=msgspec.structs.replace(t.manifest.options, tolerance=0.37)),
        "integers",
        64,
    ),
    "a price": (
        lambda t: t.note(options=msgspec.structs.replace(t.manifest.options, price=0.037)),
        "integers",
        64,
    ),
}


@pytest.mark.parametrize("what", HIDDEN)
def test_what_is_added_to_a_ticket_is_counted_under_its_name(what: str) -> None:
    change, name, least = HIDDEN[what]
    ticket = handmade()
    before = account(ticket)
    change(ticket)
    after = account(ticket)

    assert getattr(after, name) - getattr(before, name) >= least
    assert after.masks == before.masks
    assert after.scales == before.scales


@pytest.mark.parametrize("names", [("c", "d"), ("a/sum", "b/sum"), ("a", "relu")])
def test_names_that_nodes_have_by_turns_are_counted(names: tuple[str, str]) -> None:
    """As many bits as such a text has, though it has two names that are known."""
    texts = []
    for bits in (np.full(300, -1), np.random.default_rng(0).integers(2, size=300)):
        ticket = handmade()
        for number, bit in enumerate(bits):
            node = helper.make_node(
                "Relu", ["y" if not number else f"z{number}"], [f"z{number + 1}"]
            )
            if bit >= 0:
                node.name = names[bit]
            ticket.model.graph.node.append(node)
        texts.append(account(ticket).texts)

    assert texts[1] >= texts[0] + 300


def test_options_say_which_layers_they_are_of() -> None:
    ticket, added = handmade(), []
    before = account(ticket).integers
    for names in (["a"], ["a", "b"]):
        priced = tuple((name, 0) for name in names)
        ticket.note(options=msgspec.structs.replace(ticket.manifest.options, prices=priced))
        added.append(account(ticket).integers - before)

    assert added == [8 + 1, 2 * (8 + 1)]


def test_one_scale_for_a_layer_counts_once() -> None:
    ticket = handmade()
    for name in ("a_scale", "b_scale"):
        ticket.put(name, np.full_like(ticket.array(name), 0.3))
    channel = account(ticket).scales
    options = msgspec.structs.replace(ticket.manifest.options, sigma=Sigma.LAYER)
    ticket.note(options=options)

    assert 64 <= account(ticket).scales <= 72 < channel


def test_zeros_of_either_sign_are_two_numbers() -> None:
    ticket = handmade()
    for name in ("a_scale", "b_scale"):
        ticket.put(name, np.zeros_like(ticket.array(name)))
    plain = account(ticket).scales
    ticket.put("a_scale", np.float32([-0.0, 0, -0.0, 0]).reshape(4, 1, 1))

    assert plain <= 8
    assert account(ticket).scales >= plain + 4


def test_the_scale_of_a_row_counts_in_full_whatever_the_row_keeps() -> None:
    """Neither a row that keeps nothing nor one that keeps a single weight is a hiding place."""
    scales = np.random.default_rng(3).random(3, np.float32)
    for kept in (9, 1, 0):
        ticket, counted = handmade(), []
        weight = ticket.array("a")
        weight[:3] = 0
        weight[:3].reshape(3, -1)[:, :kept] = 0.5
        ticket.put("a", weight)
        for first in (np.zeros(3, np.float32), scales):
            ticket.put("a_scale", np.append(first, np.float32(0.7)).reshape(4, 1, 1))
            counted.append(account(ticket).scales)
        assert counted[1] >= counted[0] + 3 * 23


def test_a_constant_that_is_handed_on_has_one_of_few_sizes() -> None:
    sizes = {}
    for name, factor in (("level", 2.0**-2.75), ("other", 0.3)):
        ticket = handmade()
        weight = ticket.array("a")
        weight[weight != 0] = 0
        weight[0, 0, 1, 1] = 1
        ticket.put("a", weight)
        drawn = draw_rows(SEED, SOURCES[0], start=0, stop=1)[0, 0, 1, 1]
        scale = np.float32(factor / abs(SOURCES[0].sigma(Init.KAIMING) * drawn))
        ticket.put("a_scale", np.float32([scale, 0, 0, 0]).reshape(4, 1, 1))
        sizes[name] = account(ticket).scales

    assert sizes["level"] + 15 <= sizes["other"]


def test_a_slope_that_only_the_metadata_say_is_counted() -> None:
    more = account(handmade(), slope=0.1).attributes - account(handmade()).attributes

    assert more == 64


def test_sizes_of_layers_count_where_no_target_fixes_them() -> None:
    other = handmade()
    layers = [msgspec.structs.replace(layer, mirror_columns=1) for layer in other.manifest.layers]
    before = [account(handmade(), target=name).integers for name in (None, "target.onnx")]
    other.note(layers=tuple(layers))
    sizes = sum(gamma_bits(size) for layer in layers for size in layer.shape)

    assert before[0] - before[1] >= sizes
    assert account(other).integers > before[0]
    assert account(other, target="target.onnx").integers == before[1]


def test_another_name_of_external_data_is_counted() -> None:
    ticket = handmade()
    name, tensor = next(iter(ticket.tensors.items()))
    for file, bits in (("t.onnx.data", 0), ("trained.numbers", 8 * 15)):
        held = {**ticket.tensors, name: replace(tensor, file=Path("of") / file)}
        assert data_name_bits(held, Path("t.onnx")) == bits


def test_names_are_the_targets_where_it_was_compared() -> None:
    other = handmade()
    other.note(target_name="another.onnx")

    assert account(handmade(), target="target.onnx").texts == 0
    assert account(other, target="target.onnx").texts == 8 * len("another.onnx")
    assert account(handmade(), target="target.onnx").attributes == account(handmade()).attributes


def test_an_account_of_nothing_has_no_share() -> None:
    assert Account().outside_masks == 0
    assert Account(masks=75, dense=25).outside_masks == 0.25


def test_where_the_scale_of_a_layer_stands_is_counted_once(tmp_path: Path) -> None:
    """What reads the layer costs the same, wherever in the file that one's last node is."""
    b, path, told = Builder(), tmp_path / "t.onnx", list[int]()
    first, second = b.conv("x", 3, 4), b.conv("x", 3, 4)
    target = save(b.model(b("Add", b("Relu", first), b("Tanh", second))), tmp_path)
    convert(target, path, base_size=3, price=0.1, validate=False)
    draft = Draft.read(path)
    scales = {layer["scale"] for layer in draft.manifest["layers"]}
    for moved in (False, True):
        nodes = [*draft.model.graph.node]
        for node in [n for n in nodes if {*n.input} & scales] if moved else []:
            nodes.remove(node)
            reads = (i for i, other in enumerate(nodes) if node.output[0] in other.input)
            nodes.insert(next(reads, len(nodes)), node)
        assert moved == (nodes != [*draft.model.graph.node])
        del draft.model.graph.node[:]
        draft.model.graph.node.extend(nodes)
        draft.write(path)
        account = verify(path).account
        assert account is not None
        told.append(account.attributes)

    moved = 2  # nodes, of few: a number for each, and that there are so many
    assert told[0] + moved <= told[1] <= told[0] + moved * math.log2(len(nodes)) + 4


def test_a_share_is_a_limit_and_no_question_of_being_genuine(tmp_path: Path) -> None:
    target, path = MODELS / "plain-relu.onnx", tmp_path / "t.onnx"
    convert(target, path, base_size=3, price=0.1, validate=False)
    proof = verify(path, target=target)
    assert proof.account is not None
    share = proof.account.outside_masks
    told = verify(path, target=target, max_outside_masks=share / 2)

    assert verify(path, target=target, max_outside_masks=share).failures == []
    assert told.genuine
    assert told.failures == [
        f"{100 * share:.1f} % of its account is outside the masks; at most {50 * share:g} % may be"
    ]
    for bad in (0, 1.5, -0.1, math.nan):
        with pytest.raises(InputError, match="`max_outside_masks` is"):
            verify(path, target=target, max_outside_masks=bad)
    with pytest.raises(InputError, match="`max_outside_masks` needs `target`"):
        verify(path, max_outside_masks=share)


def test_what_is_not_genuine_has_no_account(tmp_path: Path) -> None:
    ticket = handmade()
    ticket.model.graph.initializer.append(numpy_helper.from_array(np.ones(3), "k"))

    assert verify(ticket.write(tmp_path / "t.onnx")).account is None


def test_denotations_of_alike_axes_are_told_apart() -> None:
    bits = []
    for words in (["a"] * 12, ["a", "b"] * 6):
        ticket = handmade()
        port = ticket.model.graph.output[0].type.tensor_type.shape
        del port.dim[:]
        for word in words:
            port.dim.add(denotation=word)
        bits.append(account(ticket).integers)

    assert bits[1] - bits[0] >= math.log2(math.comb(12, 6))
