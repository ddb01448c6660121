"""Batches of tiny real-valued subset-sum problems; knows nothing of ONNX.

One problem is a base set x ∈ R^M and a target z. Every rule is a setting of one objective,

    minimise over S ⊆ [M]:   a · loss(z − Σ_{s∈S} x_s)  +  Σ_{s∈S} p_s

    rule                                       loss(e)                   a         p_s
    noise-aware  (`Rule.NOISE`)                e²                        weight    penalty
    best         (`Rule.BEST`)                 e²                        1         0
    smallest     (`Rule.SMALLEST`)             max(|e| − tolerance, 0)   → ∞       1

so that `best` is the closest subset, `smallest` the fewest elements within the tolerance (Burkholz,
ICML 2022, Algorithms 1 and 2; the closest subset where there are none), and the noise-aware rule
weighs an error against what its elements cost.

Up to MAX_EXHAUSTIVE_SIZE = 20 elements all subsets compete; beyond, those of at most
`size_limit(M)` elements. Ties go to the lowest mask, under `smallest` to the first subset in order
of (size, lexicographic). Every device gives the same bits: all arithmetic is float32, each
operation rounded once, no fused multiply-add, in this order:

- square loss up to MAX_EXHAUSTIVE_SIZE elements: the sum of S is  high + low  where low runs over
  the first M//2 elements and high over the others, each summed in ascending order; the error is
  (z − high) − low and the objective a·(error·error) + (p_high + p_low);
- square loss beyond, and always for `smallest`: the elements are taken from z one by one in
  ascending order, and p is summed in ascending order.

In: base sets and targets. Out: masks and residuals. `problem` has the values, `limits` what is
searched, `solver` the entry points, `device` the choice of kernels; `cpu` (Numba: `objective`,
`full`, `all_pairs`, `sorted_halves`, `by_size`, `smallest`, `meet_in_the_middle`; `feedback` passes
errors on; vectors: `lanes`) and `gpu` (Triton: `gpu_kernels`) answer. `compilation` gets the former
ready while other work is done.
"""

from lt_onnx.options import Device
from lt_onnx.subset_sum.cpu import write_masked
from lt_onnx.subset_sum.device import resolve
from lt_onnx.subset_sum.limits import MAX_EXHAUSTIVE_SIZE, RangeError, size_limit
from lt_onnx.subset_sum.problem import DeviceError, Drawn, Masks, Result, Rows, Rule, Solution
from lt_onnx.subset_sum.solver import solve, solve_rows

__all__ = [
    "MAX_EXHAUSTIVE_SIZE",
    "Device",
    "DeviceError",
    "Drawn",
    "Masks",
    "RangeError",
    "Result",
    "Rows",
    "Rule",
    "Solution",
    "resolve",
    "size_limit",
    "solve",
    "solve_rows",
    "write_masked",
]
