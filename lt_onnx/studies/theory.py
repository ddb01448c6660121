"""The widths that Theorems 3.1 and 3.2 ask for, for a network of the user's own.

Both ask for m ≥ C · log(1 / min{ε, δ}) elements per problem and leave C open (Corollary A.2). It is
adjustable, and its default is measured: with m = 15 a problem over U[-1, 1] misses ε = 0.01 with
probability δ = 0.004 (see `statistics`), which makes it 15 / log(1 / 0.004) = 2.7.
"""

import math
from dataclasses import dataclass

import numpy as np

from lt_onnx.blueprint import Blueprint, Build, Expand
from lt_onnx.errors import InputError
from lt_onnx.options import PAPER_MODES, Mode

MEASURED_C = 15 / math.log(1 / min(0.01, 0.004))  # see above


@dataclass(frozen=True)
class RequiredWidth:
    """What the theorem asks of one layer, beside what will be used."""

    name: str
    parameters: int  # N_l: nonzero weights and biases
    log_epsilon: float  # natural logarithm of ε_l, the error allowed per parameter
    base_size: int  # m: elements per subset-sum problem
    width: int  # channels that offer them
    stride_factor: int  # Appendix E: times this if the univariate filters had the target's stride
    used_base_size: int
    used_width: int
    reach: float  # a: what a neuron's pre-activation must stay below; σ of its layer follows


def required_widths(
    blueprint: Blueprint,
    epsilon: float,
    *,
    delta: float,
    constant: float | None = None,
    gamma: float = 0.1,
    lipschitz: float = 1.0,
) -> list[RequiredWidth]:
    """Widths for an error of at most `epsilon` with probability 1 − `delta` at least.

    Args:
        blueprint: the plan, of either mode; layers are taken in order as the paper's chain.
        epsilon: ε, in the maximum norm of the outputs.
        delta: δ, the probability of failure.
        constant: C of the theorems; None: measured.
        gamma: γ of ρ = C N^(1+γ) log(1/min{ε_l, δ}), Theorem 3.2.
        lipschitz: T of the activation.

    Raises InputError for numbers out of range, and for a mode that no theorem is about.
    """
    for name, value in (("epsilon", epsilon), ("delta", delta)):
        if not 0 < value < 1:
            raise InputError(f"`{name}` is {value:g}; give a number between 0 and 1")
    c = MEASURED_C if constant is None else constant
    if not 0 < c < math.inf:
        raise InputError(f"`constant` is {c:g}; give a positive number")
    builds = [step for step in blueprint.steps if isinstance(step, Build)]
    blocks = {step.name: step for step in blueprint.steps if isinstance(step, Expand)}
    counts = [max(step.linear.count, 1) for step in builds]
    if blueprint.options.mode not in PAPER_MODES:
        raise InputError(
            "`epsilon` asks for theorems, which are of modes l+1 and 2l: give one of them"
        )
    one_for_one = blueprint.options.mode is Mode.L_PLUS_1
    logs = _log_errors(counts, epsilon, lipschitz, one_for_one=one_for_one)
    rows = []
    for step, count, log_epsilon in zip(builds, counts, logs, strict=True):
        if one_for_one:
            log_rho = math.log(c) + (1 + gamma) * math.log(count)
            log_rho += math.log(-min(*logs, math.log(delta)))
            # ρ counts the problems, which share the probability of failure
            bits = -min(log_epsilon, math.log(delta) - log_rho - math.log(count))
        else:
            bits = math.log(sum(counts)) - min(log_epsilon, math.log(delta))
        size = math.ceil(c * bits)
        block = blocks[step.expand] if step.expand is not None else None
        channels = step.linear.weight.shape[1] * step.linear.group
        signs = 1 if block is None else len(np.unique(block.slots[:, 1]))
        strides = step.linear.spatial("strides", 1) if step.linear.kernel else [1]
        rows.append(
            RequiredWidth(
                name=step.name,
                parameters=count,
                log_epsilon=log_epsilon,
                base_size=size,
                width=(channels + 1) * size * signs,
                stride_factor=1 if block is None else math.prod(strides),
                used_base_size=step.base_size,
                used_width=step.in_layout.width,
                reach=math.inf if block is None else float(block.model.reach),
            )
        )
    return rows


def _log_errors(
    counts: list[int], epsilon: float, lipschitz: float, *, one_for_one: bool
) -> list[float]:
    """log ε_l of every layer: what may go wrong per parameter so that the output is ε off at most.

    Theorem 3.2: ε / (2 T N_l Π_{s>l} 2 (T N_s));  Theorem 3.1: ε / Π_{s≥l} 3 T N_s.
    """
    logs, behind = [], math.log(epsilon)
    for count in reversed(counts):
        behind -= math.log((2 if one_for_one else 3) * lipschitz * count)
        logs.append(behind)
    return logs[::-1]
