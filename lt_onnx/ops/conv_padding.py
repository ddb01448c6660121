"""Where a convolution's taps fall: its pads, and the taps that never see padding."""

from collections.abc import Sequence

from lt_onnx.target import Linear


def explicit_pads(linear: Linear) -> tuple[int, ...] | None:
    """Explicit pads of a convolution, begins then ends; None when the runtime resolves them."""
    if linear.op != "Conv":
        return ()
    auto = linear.attributes.get("auto_pad", "NOTSET")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        return None
    if auto == "VALID":
        return (0,) * (2 * len(linear.kernel))
    return tuple(linear.attributes.get("pads") or (0,) * (2 * len(linear.kernel)))


def admissible_taps(linear: Linear, pads: tuple[int, ...] | None) -> list[int]:
    """Flat kernel positions that never fall on padding, where a constant stays constant.

    Tap t of an axis reads position o·stride + t·dilation − begin; over all outputs o it stays
    inside when  begin ≤ t·dilation  and  end ≤ (k − 1 − t)·dilation.
    """
    dilations = linear.spatial("dilations", 1)
    good: list[list[int]] = []
    for axis, (k, d) in enumerate(zip(linear.kernel, dilations, strict=True)):
        if pads is None:  # SAME: at most (k-1)·d in all
            begin, end = _same_pads(linear, (k - 1) * d)
        else:
            begin, end = pads[axis], pads[axis + len(linear.kernel)]
        good.append([t for t in range(k) if begin <= t * d and end <= (k - 1 - t) * d])
    flat = [0]
    for k, taps in zip(linear.kernel, good, strict=True):
        flat = [f * k + t for f in flat for t in taps]
    return flat


def pads_for(linear: Linear, size: Sequence[int]) -> tuple[int, ...]:
    """Pads, begins then ends, for an input of spatial `size`, auto_pad SAME resolved."""
    pads = explicit_pads(linear)
    if pads is not None:
        return pads
    begins, ends = [], []
    strides, dilations = linear.spatial("strides", 1), linear.spatial("dilations", 1)
    for d, k, s, dil in zip(size, linear.kernel, strides, dilations, strict=True):
        begin, end = _same_pads(linear, max((-(-d // s) - 1) * s + (k - 1) * dil + 1 - d, 0))
        begins.append(begin)
        ends.append(end)
    return (*begins, *ends)


def _same_pads(linear: Linear, total: int) -> tuple[int, int]:
    """Begin and end of an axis that auto_pad pads by `total`; UPPER has the odd one at the end."""
    small, large = total // 2, total - total // 2
    return (small, large) if linear.attributes["auto_pad"] == "SAME_UPPER" else (large, small)
