"""Everything a user can choose, as frozen groups.

Comes in: arguments of Python or of the command line. Goes out: groups, checked when they are made.

- `choices`       what can be chosen of few: modes, rules, forms of weights
- `param`         how the command line asks for a field; a field that is annotated so is an option
- `construction`  `Options`: what decides the ticket
- `output`        `Output` (what is written), `Pictures` (inputs from image files), `Workers`

A new option is a field of one of the groups, and nothing else.
"""

from lt_onnx.options.choices import (
    PAPER_MODES,
    Device,
    ImageLayout,
    Init,
    Mode,
    Resize,
    Select,
    Sigma,
    Weights,
    choices,
    choose,
)
from lt_onnx.options.construction import (
    DEFAULT_COPIES,
    MAX_BASE_SIZE,
    MAX_COPIES,
    MAX_PRICE_BITS,
    MAX_SQNR,
    MIN_PRICE_BITS,
    PROMISES,
    Options,
    check_seed,
    make_options,
    settings_of,
)
from lt_onnx.options.output import ONE_WORKER, Output, Pictures, Workers
from lt_onnx.options.param import Param, changed, is_number, params_of

__all__ = [
    "DEFAULT_COPIES",
    "MAX_BASE_SIZE",
    "MAX_COPIES",
    "MAX_PRICE_BITS",
    "MAX_SQNR",
    "MIN_PRICE_BITS",
    "ONE_WORKER",
    "PAPER_MODES",
    "PROMISES",
    "Device",
    "ImageLayout",
    "Init",
    "Mode",
    "Options",
    "Output",
    "Param",
    "Pictures",
    "Resize",
    "Select",
    "Sigma",
    "Weights",
    "Workers",
    "changed",
    "check_seed",
    "choices",
    "choose",
    "is_number",
    "make_options",
    "params_of",
    "settings_of",
]
