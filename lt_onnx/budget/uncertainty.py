"""How well the relative error of an output is known from a few inputs.

Some outputs vary over a few inputs only: the probability of a face is near zero for most crops, a
text detector's map is empty for most pictures. A hundred such inputs tell as little as five others,
and inputs of tomorrow may have many decibels less.
"""

import math
from collections.abc import Sequence

import numpy as np

from lt_onnx.samples.variation import MIN_AVERAGED
from lt_onnx.target import Doubles

DECIBELS = 10 / math.log(10)  # in a factor of e of power
MAX_DB = 4.0  # beyond, the inputs say little of the uncertainty either


def uncertainty(clean: Doubles, errors: Sequence[Doubles], *, telling: int) -> float:
    """Standard deviation in dB of an output's error over its variation, told of N inputs.

    `clean` [N, …] is the output, `errors` [N, …] its errors as some layers make them, of which the
    mean counts. By the delta method: of the ratio Σe / Σv of what every input has of both, the
    relative variance is Σ (e_i / Σe − v_i / Σv)², up to N / (N − 1). Where layers are made from
    some of them, no more than `telling` tell of other inputs.
    """
    count, axes = len(clean), tuple(range(1, clean.ndim))
    if count < 2 or not errors:
        return 0.0
    averaged = (0,) if count >= MIN_AVERAGED else tuple(a for a in range(clean.ndim) if a != 1)
    varying = np.square(clean - clean.mean(averaged, keepdims=True)).sum(axes)
    if not varying.sum() > 0:  # inputs that are all alike tell nothing of others
        return 0.0
    shares = [np.square(error).sum(axes) for error in errors]
    differ = [share / share.sum() - varying / varying.sum() for share in shares]
    variances = [float(np.square(share).sum()) for share in differ]
    variance = float(np.mean(variances)) * count / (count - 1) * count / max(telling, 1)
    return min(DECIBELS * math.sqrt(variance), MAX_DB)


def few_weights(count: float) -> float:
    """Standard deviation in dB of an error that `count` weights make, each as much as the others.

    The square of a normal error has a relative variance of 2.
    """
    return DECIBELS * math.sqrt(2 / max(count, 1))
