"""A ticket's file: read whatever its maker, its manifest found, its seal checked."""

from pathlib import Path

import onnx
import pytest
from handmade import handmade

from lt_onnx.errors import InputError
from lt_onnx.manifest import METADATA_KEY, SEAL_KEY
from lt_onnx.verification.ticket_file import CHANGED, check_seal, manifest_of, read_model


@pytest.fixture
def ticket(tmp_path: Path) -> Path:
    return handmade().write(tmp_path / "t.onnx")


def test_a_ticket_is_in_protobufs_canonical_form(ticket: Path) -> None:
    model, canonical = read_model(ticket)

    assert model.graph.name == "ticket"
    assert canonical


def test_a_file_that_says_things_twice_is_not(ticket: Path) -> None:
    ticket.write_bytes(onnx.ModelProto(ir_version=8).SerializeToString() + ticket.read_bytes())
    model, canonical = read_model(ticket)

    assert model.graph.name == "ticket"
    assert not canonical


@pytest.mark.parametrize("content", [b"text", b"\x08"])
def test_what_is_no_model_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.onnx").write_bytes(content)

    with pytest.raises(InputError, match="not an ONNX model"):
        read_model(tmp_path / "t.onnx")


def test_the_manifest_is_the_one_that_was_written(ticket: Path) -> None:
    assert manifest_of(ticket, read_model(ticket)[0]) == handmade().manifest


def test_a_model_without_manifest_is_no_ticket(ticket: Path) -> None:
    with pytest.raises(InputError, match=f"not a ticket: it has no '{METADATA_KEY}' metadata"):
        manifest_of(ticket, handmade().model)


def test_the_seal_holds_and_is_taken_off(ticket: Path) -> None:
    model, _ = read_model(ticket)

    assert check_seal(ticket, model) == []
    assert [entry.key for entry in model.metadata_props] == [METADATA_KEY]
    assert check_seal(ticket, model) == [f"the seal '{SEAL_KEY}' is missing: {CHANGED}"]


def test_a_changed_file_breaks_the_seal(ticket: Path) -> None:
    model, _ = read_model(ticket)
    model.producer_version = "2"

    assert check_seal(ticket, model) == [f"the seal '{SEAL_KEY}' is broken: {CHANGED}"]
