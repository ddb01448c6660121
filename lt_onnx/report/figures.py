"""What the faces say of a document, in words and cells: computed once, laid out by each."""

import math
from typing import Any

from lt_onnx.units import size_text

PLACES = 100  # layers that a table shows before it is cut


def number(value: float | None, digits: int = 3) -> str:
    """A figure in few digits; a dash for none."""
    return "–" if value is None else f"{value:.{digits}g}"


def decibels(value: float | None) -> str:
    """An SQNR; infinite ones are null in a document."""
    return "∞" if value is None else f"{value:.1f}"


def percent(value: float | None) -> str:
    """A share."""
    return "–" if value is None else f"{100 * value:.2f} %"


def title(document: dict[str, Any]) -> str:
    """What the document is about."""
    if document["kind"] == "zoo":
        return f"zoo of {len(document['models'])} models"
    return f"{document['target']['file']} → {document['ticket']['file']}"


def summary(document: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Figures of target and ticket side by side: (what, target, ticket)."""
    rows: list[tuple[str, str, str]] = []
    target, ticket = document["target"], document["ticket"]
    if document["kind"] == "conversion":
        rows += [
            (
                "weights",
                f"{target['weights']:,}",
                f"{ticket['kept']:,} ({ticket['per_target_weight']:.2f} per target weight)",
            ),
            ("random source", "", f"{ticket['source']:,} weights, density {ticket['density']:.4f}"),
            ("weight bytes", size_text(4 * target["weights"]), size_text(ticket["weight_bytes"])),
        ]
    known = document["validate"]
    for out in known["outputs"] if known else []:
        name = out["name"]
        if out["target_accuracy"] is not None:
            rows.append(
                (
                    f"accuracy of {name}",
                    percent(out["target_accuracy"]),
                    percent(out["ticket_accuracy"]),
                )
            )
        if out["agreement"] is not None:
            rows.append((f"top-1 agreement of {name}", "", percent(out["agreement"])))
        rows.append((f"SQNR of {name}", "", f"{decibels(out['sqnr_db'])} dB"))
        error = f"relative {number(out['relative'])}, largest {number(out['max_abs'])}"
        rows.append((f"error of {name}", "", error))
        if document.get("bound"):
            certified = document["bound"]["outputs"].get(name)
            word = "none found" if certified is None else f"≤ {number(certified)}"
            rows.append((f"certified error of {name}", "", word))
    return rows


LAYER_HEAD = (
    "layer",
    "kind",
    "m",
    "λ",
    "target weights",
    "ticket weights",
    "misses",
    "|S|",
    "own dB",
    "out dB",
)


def layer_rows(document: dict[str, Any]) -> list[list[str]]:
    """One row per random layer, as `LAYER_HEAD`; of a validation only what was traced."""
    errors = {layer["name"]: layer for layer in document.get("trace") or []}
    rows = []
    for layer in document.get("layers") or []:
        traced = errors.get(layer["name"])
        built = layer["problems"] > 0
        out = traced["sqnr_db"] if traced else layer["sqnr_db"]
        rows.append(
            [
                layer["name"],
                layer["kind"],
                str(layer["base_size"]),
                number(layer["lam"]),
                f"{layer['target_weights']:,}" if built else "",
                f"{layer['kept']:,}",
                f"{layer['misses']:,}" if built else "",
                f"{layer['mean_size']:.2f}" if built else "",
                decibels(traced["own_sqnr_db"]) if traced else "",
                decibels(out) if built else "",
            ]
        )
    return rows


TRACE_HEAD = ("layer", "error in", "passed on", "×", "own", "out", "SQNR dB")


def trace_rows(document: dict[str, Any]) -> list[list[str]]:
    """Where error enters and where it is amplified, as `TRACE_HEAD`."""
    return [
        [
            layer["name"],
            number(layer["into"]),
            number(layer["passed_on"]),
            number(layer["amplification"]),
            number(layer["own"]),
            number(layer["out"]),
            decibels(layer["sqnr_db"]),
        ]
        for layer in document.get("trace") or []
    ]


ZOO_HEAD = (
    "model",
    "verdict",
    "agreement",
    "accuracy",
    "SQNR dB",
    "per weight",
    "density",
    "size",
    "s",
)


def zoo_rows(document: dict[str, Any]) -> list[list[str]]:
    """One row per model, as `ZOO_HEAD`."""
    rows = []
    for model in document["models"]:
        done = model["density"] is not None
        rows.append(
            [
                model["name"],
                model["verdict"],
                percent(model["agreement"]),
                percent(model["accuracy"]),
                decibels(model["sqnr_db"]) if done else "–",
                f"{model['per_target_weight']:.2f}" if done else "–",
                f"{model['density']:.4f}" if done else "–",
                size_text(model["bytes"]) if done else "–",
                f"{model['seconds']:.0f}",
            ]
        )
    return rows


def weakest(document: dict[str, Any]) -> str:
    """One sentence on where most error enters, and where it is amplified most."""
    known = [layer for layer in document.get("trace") or [] if layer["own"] is not None]
    if not known:
        return ""
    worst = max(known, key=lambda layer: float(layer["own"]))
    text = f"Most error enters at '{worst['name']}' ({number(worst['own'])} of its output)"
    louder = [layer for layer in known if layer["amplification"] is not None]
    if louder:
        most = max(louder, key=lambda layer: float(layer["amplification"]))
        if float(most["amplification"]) > 1 and math.isfinite(float(most["amplification"])):
            text += f"; '{most['name']}' amplifies it most, ×{number(most['amplification'])}"
    return text + "."
