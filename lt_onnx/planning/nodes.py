"""Take a node of the target over: copy-wise by the table in `ops`, else on single copies."""

from lt_onnx.layout import Layout
from lt_onnx.ops.rearranging import composed
from lt_onnx.ops.rule import RefusalError, UndecidedError
from lt_onnx.ops.table import UNKNOWN, has_rule, rule_for
from lt_onnx.planning.draft import MULTIPLYING, Draft
from lt_onnx.target import Node


def take_over(draft: Draft, node: Node) -> None:
    """Run `node` in the ticket, on all copies where a rule knows how."""
    if _pass_on(draft, node):
        return
    layouts = [draft.layouts.get(name) for name in node.inputs]
    if any(layout is not None for layout in layouts):
        mark = len(draft.steps), len(draft.dense)
        try:
            made = rule_for(node)(node, layouts, draft)
        except UndecidedError:
            draft.views[node.outputs[0]] = (node.inputs[0], (node,))
        except RefusalError as refusal:
            del draft.steps[mark[0] :], draft.dense[mark[1] :]
            draft.run_dense(node, str(refusal))
        else:
            draft.kept.add(node.name)
            several: list[Layout | None] = [*made] if isinstance(made, list) else [made]
            several += [None] * (len(node.outputs) - len(several))
            for name, given in zip(node.outputs, several, strict=True):
                if name:
                    draft.put(name, draft.place(name), given)
            _remember(draft, node)
        return
    between = node.outputs[0] in draft.feeding and node.inputs and node.inputs[0] in draft.fed
    declared = between or node.op in MULTIPLYING or node.domain
    draft.run_dense(node, None if has_rule(node) or not declared else UNKNOWN)
    _remember(draft, node)


def _pass_on(draft: Draft, node: Node) -> bool:
    """Take `node` into the chain of reshapes and transposes that it stands behind, if any."""
    if node.op not in ("Reshape", "Transpose") or node.inputs[0] not in draft.views:
        return False
    if node.inputs[0] in draft.plain:
        return False
    base, chain = draft.views[node.inputs[0]]
    chain = (*chain, node)
    try:
        made = composed(chain, draft.layouts[base], draft)
    except UndecidedError:
        draft.views[node.outputs[0]] = (base, chain)
    except RefusalError:
        return False
    else:
        draft.kept |= {link.name for link in chain}
        draft.passed |= {link.outputs[0] for link in chain[:-1]}
        draft.put(node.outputs[0], draft.place(node.outputs[0]), made)
    return True


def _remember(draft: Draft, node: Node) -> None:
    if node.op in ("Flatten", "Reshape"):
        draft.origins[node.outputs[0]] = node
