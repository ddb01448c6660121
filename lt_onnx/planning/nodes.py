"""Take a node of the target over: copy-wise by the table in `ops`, else on single copies."""

from collections.abc import Sequence

from lt_onnx.layout import Layout
from lt_onnx.ops.reshaping import chain
from lt_onnx.ops.rule import RefusalError, UndecidedError
from lt_onnx.ops.table import UNKNOWN, has_rule, rule_for
from lt_onnx.planning.draft import MULTIPLYING, Draft
from lt_onnx.target import Node


def take_over(draft: Draft, node: Node) -> None:
    """Run `node` in the ticket, on all copies where a rule knows how."""
    if _continue_chain(draft, node):
        return
    layouts = [draft.layout(name) for name in node.inputs]
    if any(layout is not None for layout in layouts):
        if not _run_on_copies(draft, node, layouts):
            return
    else:
        declared = draft.request.is_between_layers(node) or node.op in MULTIPLYING or node.domain
        draft.run_dense(node, _unknown(draft, node) if declared and not has_rule(node) else None)
    if node.op in ("Flatten", "Reshape"):
        draft.emitted.reshaped[node.outputs[0]] = node


def _unknown(draft: Draft, node: Node) -> str:
    """Why an operator without a rule is dense; of those with weights, why it is no layer."""
    return draft.target.refusals.get(node.name, UNKNOWN) if node.op in MULTIPLYING else UNKNOWN


def _run_on_copies(draft: Draft, node: Node, layouts: Sequence[Layout | None]) -> bool:
    """Run `node` on the copies of its inputs if its rule does not refuse, else on single copies."""
    snapshot = draft.emitted.snapshot()
    try:
        result = rule_for(node)(node, layouts, draft)
    except RefusalError as refusal:
        draft.emitted.restore(snapshot)
        if isinstance(refusal, UndecidedError):
            draft.emitted.undecided[node.outputs[0]] = node.inputs[0], (node,)
        else:
            draft.run_dense(node, str(refusal) if has_rule(node) else _unknown(draft, node))
        return False
    draft.emitted.copy_wise[node.name] = None
    outputs: list[Layout | None] = [*result] if isinstance(result, list) else [result]
    outputs += [None] * (len(node.outputs) - len(outputs))
    for name, layout in zip(node.outputs, outputs, strict=True):
        if name:
            draft.put(name, draft.place(name), layout)
    return True


def _continue_chain(draft: Draft, node: Node) -> bool:
    """Take `node` into the chain of reshapes and transposes that it stands behind, if any."""
    emitted = draft.emitted
    if node.op not in ("Reshape", "Transpose") or node.inputs[0] not in emitted.undecided:
        return False
    if node.inputs[0] in emitted.singles:
        return False
    base, before = emitted.undecided[node.inputs[0]]
    nodes = (*before, node)
    snapshot = emitted.snapshot()
    try:
        layout = chain(nodes, emitted.copies[base].layout, draft)
    except RefusalError as refusal:
        emitted.restore(snapshot)
        if isinstance(refusal, UndecidedError):
            emitted.undecided[node.outputs[0]] = base, nodes
        return isinstance(refusal, UndecidedError)
    for link in nodes:
        emitted.copy_wise.setdefault(link.name, None)
    for link in before:
        emitted.inside_chains.setdefault(link.outputs[0], None)
    draft.put(node.outputs[0], draft.place(node.outputs[0]), layout)
    return True
