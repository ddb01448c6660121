"""The op table: one rule an operator, and a reason where there is none."""

import pytest

from lt_onnx.ops import copywise, merging
from lt_onnx.ops.rule import RefusalError
from lt_onnx.ops.table import (
    ACTIVATIONS,
    ELEMENTWISE,
    MERGING,
    RULES,
    has_rule,
    registered,
    rule_for,
)
from lt_onnx.target import Node


def node(op: str, domain: str = "") -> Node:
    return Node(op, "n", ("x",), ("y",), domain=domain)


def test_an_operator_with_two_rules_is_a_loud_error() -> None:
    with pytest.raises(ValueError, match="operator Relu has two rules"):
        registered((copywise.elementwise, ["Relu"]), (merging.merge, ["Add", "Relu"]))


def test_rows_name_the_rule_of_every_operator() -> None:
    rules = registered((copywise.elementwise, ["Relu", "Tanh"]), (merging.merge, ["Add"]))

    assert rules == {
        "Relu": copywise.elementwise,
        "Tanh": copywise.elementwise,
        "Add": merging.merge,
    }


@pytest.mark.parametrize("op", sorted(ELEMENTWISE))
def test_elementwise_operators_share_a_rule(op: str) -> None:
    assert rule_for(node(op)) is copywise.elementwise


def test_sets_of_operators_are_in_the_table() -> None:
    assert ACTIVATIONS <= ELEMENTWISE <= RULES.keys()
    assert RULES.keys() >= MERGING


@pytest.mark.parametrize("unknown", [node("LRN"), node("Relu", "com.they")])
def test_an_unknown_operator_gives_a_reason(unknown: Node) -> None:
    assert not has_rule(unknown)
    with pytest.raises(RefusalError, match="the op table has no rule for it"):
        rule_for(unknown)
