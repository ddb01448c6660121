"""A torch module written as an ONNX file.

Comes in: an `nn.Module` and inputs for it. Goes out: a file with an open batch axis, whose inputs
are called as the arguments of `forward`.
"""

import inspect
import sys
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lt_onnx.errors import InputError


def is_torch_module(model: object) -> bool:
    """Whether it is an `nn.Module`; whoever has one has imported torch."""
    torch: Any = sys.modules.get("torch")
    return torch is not None and isinstance(model, torch.nn.Module)


def export_module(module: Any, example_inputs: Any, path: Path) -> None:
    """Write `module`, in evaluation mode, as ONNX.

    `example_inputs` is a tensor, a sequence of them or a mapping by argument of `forward`, batch
    first. Outputs are called `output`, or `output_0`, `output_1`, … of several. Raises InputError
    for inputs that `forward` does not take, and where torch cannot export it.
    """
    import torch

    if isinstance(example_inputs, torch.Tensor):
        example_inputs = (example_inputs,)
    try:
        signature = inspect.signature(module.forward)
        if isinstance(example_inputs, Mapping):
            bound = signature.bind(**example_inputs)
        else:
            bound = signature.bind(*example_inputs)
    except TypeError as error:
        raise InputError(f"`example_inputs`: {error}: give what `forward` takes") from None
    names, values = _flat(bound.arguments)
    training = module.training
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what an exporter thinks of its own future
            made = module.eval()(*bound.args, **bound.kwargs)
            outputs = [made] if isinstance(made, torch.Tensor) else list(made)
            titles = [f"output_{i}" for i in range(len(outputs))] if outputs[1:] else ["output"]
            batched = {
                name: {0: "batch"}
                for name, value in zip([*names, *titles], [*values, *outputs], strict=True)
                if value.ndim
            }
            torch.onnx.export(
                module,
                tuple(values),
                str(path),
                input_names=names,
                output_names=titles,
                dynamic_axes=batched,
                dynamo=False,
            )
    except Exception as error:  # torch has dozens, of every class
        lines = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"torch cannot export {type(module).__name__}: {lines[0]}") from None
    finally:
        module.train(training)


def _flat(arguments: Mapping[str, Any]) -> tuple[list[str], list[Any]]:
    """Names and tensors of the arguments of `forward`; those of `*args` are numbered."""
    named: list[tuple[str, Any]] = []
    for name, value in arguments.items():
        if isinstance(value, Sequence):
            named += [(f"{name}_{i}", part) for i, part in enumerate(value)]
        else:
            named.append((name, value))
    return [name for name, _ in named], [value for _, value in named]
