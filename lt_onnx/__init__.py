"""lt-onnx: trained ONNX networks as strong lottery tickets.

>>> import lt_onnx
>>> ticket = lt_onnx.convert("target.onnx", mode="l+1")  # doctest: +SKIP
>>> ticket.report.per_target_weight  # doctest: +SKIP
"""

from typing import TYPE_CHECKING, Any

from lt_onnx.version import __version__ as __version__

if TYPE_CHECKING:
    from lt_onnx.api import convert, validate
    from lt_onnx.deployment.forms import Deployment, deploy
    from lt_onnx.deployment.layers import Layer
    from lt_onnx.deployment.network import Network, load
    from lt_onnx.deployment.overlap import Overlap, overlap
    from lt_onnx.errors import InputError, LtOnnxError, ResourceError, UnsupportedError
    from lt_onnx.options import Options, Pictures, Workers
    from lt_onnx.packing.verify import verify
    from lt_onnx.report.document import Report
    from lt_onnx.report.schema import Point
    from lt_onnx.report.ticket import Ticket
    from lt_onnx.samples.samples import Samples
    from lt_onnx.studies.frontier import frontier
    from lt_onnx.validation.fidelity import Fidelity
    from lt_onnx.validation.limits import Limits
    from lt_onnx.verification.verify import Proof

_HOMES = {
    "Deployment": "deployment.forms",
    "Fidelity": "validation.fidelity",
    "InputError": "errors",
    "Layer": "deployment.layers",
    "Limits": "validation.limits",
    "LtOnnxError": "errors",
    "Network": "deployment.network",
    "Options": "options",
    "Overlap": "deployment.overlap",
    "Pictures": "options",
    "Point": "report.schema",
    "Proof": "verification.verify",
    "Report": "report.document",
    "ResourceError": "errors",
    "Samples": "samples.samples",
    "Ticket": "report.ticket",
    "UnsupportedError": "errors",
    "Workers": "options",
    "convert": "api",
    "deploy": "deployment.forms",
    "frontier": "studies.frontier",
    "load": "deployment.network",
    "overlap": "deployment.overlap",
    "validate": "api",
    "verify": "packing.verify",
}

__all__ = [
    "Deployment",
    "Fidelity",
    "InputError",
    "Layer",
    "Limits",
    "LtOnnxError",
    "Network",
    "Options",
    "Overlap",
    "Pictures",
    "Point",
    "Proof",
    "Report",
    "ResourceError",
    "Samples",
    "Ticket",
    "UnsupportedError",
    "Workers",
    "convert",
    "deploy",
    "frontier",
    "load",
    "overlap",
    "validate",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for: `import lt_onnx` stays quick."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lt_onnx' has no attribute '{name}'")
    from importlib import import_module

    value = getattr(import_module(f"lt_onnx.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
