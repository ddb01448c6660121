"""An Einsum of data and a constant becomes a linear layer over the last axis.

Σ over the letters that both have and the result has not. With k the letters that the data alone
has, c those that are summed over and o those that the constant alone has,

    k…, c… → transposed and reshaped to [k…, Π c] → W [Π o, Π c] → [k…, o…] → the result's order.
"""

import math
import re
from dataclasses import dataclass, replace

import numpy as np

from lt_onnx.reading.rewriting import Network, Refusal, Rewrite, RuleResult
from lt_onnx.target import Array, Floats, Linear, Node, Shape, Step

EQUATION = re.compile(r"([A-Za-z]+),([A-Za-z]+)->([A-Za-z]+)")


@dataclass(frozen=True)
class _Letters:
    """Which axes are which: of the data, of the constant, of the result."""

    data: str
    constant: str
    result: str

    @property
    def kept(self) -> str:
        """Of the data alone, in their order there."""
        return "".join(letter for letter in self.data if letter in self.result)

    @property
    def summed(self) -> str:
        """That data and constant are multiplied along."""
        return "".join(letter for letter in self.constant if letter in self.data)

    @property
    def made(self) -> str:
        """Of the constant alone, in the order of the result."""
        return "".join(letter for letter in self.result if letter not in self.data)

    @property
    def fits(self) -> bool:
        """Whether every letter is one of these three, and stands once in its term."""
        terms = (self.data, self.constant, self.result)
        once = all(len({*term}) == len(term) for term in terms)
        whole = {*self.data} == {*self.kept, *self.summed} and {*self.constant} == {
            *self.summed,
            *self.made,
        }
        return once and whole and bool(self.kept) and not {*self.kept} & {*self.summed}


def einsum(node: Node, network: Network) -> RuleResult:
    """The layer, and what brings its input and its output into order."""
    if node.op != "Einsum" or node.domain or len(node.inputs) != 2:
        return None
    text = node.attributes["equation"]
    text = text.decode() if isinstance(text, bytes) else text
    match = EQUATION.fullmatch(text.replace(" ", ""))
    place = 1 if node.inputs[1] in network.constants else 0
    weight, shape = network.floats(node, place), network.shapes.get(node.inputs[1 - place])
    if match is None or weight is None or shape is None:
        return Refusal("it has no constant, an equation of another form, or an unknown shape")
    letters = _Letters(match[2 - place], match[1 + place], match[3])
    fits = letters.fits and len(letters.data) == len(shape)
    if not fits or len(letters.constant) != weight.ndim:
        return Refusal("its letters are not those of a product of matrices")
    return _rewritten(node, letters, weight=weight, shape=shape, source=node.inputs[1 - place])


def _rewritten(
    node: Node, letters: _Letters, *, weight: Floats, shape: Shape, source: str
) -> Rewrite:
    kept, summed, made = letters.kept, letters.summed, letters.made
    sizes = dict(zip(letters.constant, weight.shape, strict=True))
    matrix = weight.transpose([letters.constant.index(letter) for letter in made + summed])
    matrix = matrix.reshape(math.prod(sizes[letter] for letter in made), -1)
    steps, constants, shapes = list[Step](), dict[str, Array](), dict[str, Shape]()

    def then(op: str, part: str, after: Shape, given: list[int]) -> None:
        """Arrange what there is, in the order or to the sizes `given`."""
        nonlocal source
        output, names = f"{node.name}/{part}", [source]
        if op == "Reshape":
            names.append(f"{output}/shape")
            constants[names[1]] = np.array(given, np.int64)
        attributes = {"perm": given} if op == "Transpose" else {}
        steps.append(Node(op, output, tuple(names), (output,), attributes))
        source, shapes[output] = output, after

    outer = tuple(shape[letters.data.index(letter)] for letter in kept)
    if letters.data != kept + summed:
        order = [letters.data.index(letter) for letter in kept + summed]
        then("Transpose", "ordered", tuple(shape[i] for i in order), order)
    if len(summed) != 1:
        then("Reshape", "flat", (*outer, matrix.shape[1]), [*[0] * len(kept), matrix.shape[1]])
    product = f"{node.name}/multiplied"
    steps.append(
        Linear(
            name=node.name,
            op="Gemm" if len(kept) == 1 else "MatMul",
            input=source,
            output=product,
            weight=np.ascontiguousarray(matrix),
            bias=np.zeros(len(matrix), np.float32),
        )
    )
    source, shapes[product] = product, (*outer, len(matrix))
    inner = [sizes[letter] for letter in made]
    if len(made) != 1:
        then("Reshape", "apart", (*outer, *inner), [*[0] * len(kept), *inner])
    if letters.result != kept + made:
        order = [(kept + made).index(letter) for letter in letters.result]
        then("Transpose", "result", tuple((*outer, *inner)[i] for i in order), order)
    last = steps[-1]
    if isinstance(last, Linear):
        steps[-1] = replace(last, output=node.outputs[0])
    else:
        steps[-1] = replace(last, outputs=node.outputs)
    return Rewrite(tuple(steps), constants, shapes)
