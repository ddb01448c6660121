"""A document's figures as text: numbers, sentences and tables, which each format lays out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from lt_onnx.samples.samples import RANDOM_ORIGIN
from lt_onnx.units import percent_text, size_text

Rows: TypeAlias = Sequence[Mapping[str, Any]]  # a document's entries

MAX_TITLE_NAMES = 5  # of a zoo
TRACE_TITLE = "Where error enters"
TRACE_HEAD = ("layer", "error in", "passed on", "×", "own", "out", "SQNR dB")
NOTES = {  # what a column holds, where its name does not say it
    "m": "random weights there are for one weight of the target",
    "λ": "mean scale: weights are divided by it, sums multiplied",
    "target weights": "those the layer has to have",
    "ticket weights": "random weights that it keeps, for biases and constants too",
    "misses": "sums farther than ε from their weight",
    "|S|": "mean number of random weights kept for one",
    "own dB": "SQNR of what its own subset sums do to its output",
    "out dB": "SQNR of its output as it is",
    "error in": "relative error of the layer's input",
    "passed on": "what the exact layer makes of that",
    "×": "passed on / error in: amplification",
    "own": "relative error that its own subset sums add",
    "out": "relative error of its output",
    "SQNR dB": "signal to error of the output, of its variation over inputs",
    "share": "of all bits",
    "agreement": "share of inputs with the target's decision, where they are no random ones",
    "accuracy": "of the ticket, where there are labels",
    "per weight": "ticket weights per weight of the target",
    "density": "kept of all random weights",
    "size": "bytes of the ticket's files",
    "s": "seconds that the conversion took",
}
DENSE_COLUMNS = {"node": "{name}", "op": "{op}", "why": "{reason}", "parameters": "{parameters:,}"}


@dataclass(frozen=True)
class Table:
    """Rows of text by column; the first `words` columns are not numbers."""

    title: str
    rows: list[dict[str, str]]
    words: int

    @property
    def notes(self) -> list[tuple[str, str]]:
        """Columns that need a word, with it."""
        return [(column, NOTES[column]) for column in self.rows[0] if column in NOTES]


def number(value: float | None, digits: int = 3) -> str:
    """A figure in few digits; a dash for none."""
    return "–" if value is None else f"{value:.{digits}g}"


def decibels(value: float | None) -> str:
    """An SQNR; infinite ones are null in a document."""
    return "∞" if value is None or value == math.inf else f"{value:.1f}"


def verdict(failures: Sequence[str], held: str) -> str:
    """One line: PASSED and what holds, or FAILED and why."""
    more = f" (and {len(failures) - 1} more)" if len(failures) > 1 else ""
    return f"FAILED: {failures[0]}{more}" if failures else f"PASSED: {held}"


def on_random_inputs(document: Mapping[str, Any]) -> bool:
    """Whether a conversion was judged on random inputs: which class these have says nothing."""
    origin = str((document["validate"] or {}).get("origin", ""))
    return document["kind"] == "conversion" and origin.startswith(RANDOM_ORIGIN)


def verdict_of(document: Mapping[str, Any]) -> str:
    """The verdict on a conversion or a validation."""
    outputs = (document["validate"] or {"outputs": []})["outputs"]
    held = ["genuine"] if document["kind"] == "conversion" else []
    if not document["validate"]:
        held.append("not compared with its target")
    sqnrs = [out["variation_db"] for out in outputs if out["variation_db"] is not None]
    shares = [out["agreement"] for out in outputs if out["agreement"] is not None]
    random = on_random_inputs(document)
    on = " on random inputs" if random else ""
    held += [f"{decibels(min(sqnrs))} dB of variation{on}"] if sqnrs else []
    held += [f"{percent(min(shares))} agreement"] if shares and not random else []
    if outputs and all(out["judged"] == "constant" for out in outputs):
        held.append("outputs that do not vary over these samples")
    if all(check["name"].startswith("finite: ") for check in document["checks"]):
        held.append("no limits given")  # a validation's
    failures = [check["message"] for check in document["checks"] if not check["passed"]]
    return verdict(failures, ", ".join(held) or "equal")


def sqnr(output: Mapping[str, Any]) -> str:
    """The SQNR of what varies in an output, and of all of it."""
    if output["judged"] == "constant":
        return f"does not vary; {decibels(output['sqnr_db'])} dB plain"
    plain = decibels(output["sqnr_db"])
    return f"{decibels(output['variation_db'])} dB of variation, {plain} plain"


def fit_text(fit: Mapping[str, Any]) -> str:
    """What fitting the scales of a ticket came to."""
    before, after = fit["before_db"], fit["after_db"]
    if not fit["fresh"]:
        return "as they were: too few inputs to keep some out"
    if before is None or after == before:
        return f"as they were: none was better by 0.3 dB on {fit['fresh']:,} inputs kept out"
    gained = f"{decibels(before)} → {decibels(after)} dB"
    return f"fitted to {fit['inputs']:,} inputs: {gained} on {fit['fresh']:,} kept out"


def percent(value: float | None) -> str:
    """A share."""
    return "–" if value is None else percent_text(value)


def title(document: Mapping[str, Any]) -> str:
    """What the document is about."""
    if document["kind"] == "zoo":
        names = [model["name"] for model in document["models"]]
        more = f" and {len(names) - MAX_TITLE_NAMES} more" if len(names) > MAX_TITLE_NAMES else ""
        counted = f"{len(names)} network{'s' if len(names) > 1 else ''}"
        return f"{counted}: {', '.join(names[:MAX_TITLE_NAMES])}{more}"
    return f"{document['target']['file']} → {document['ticket']['file']}"


def summary(document: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Figures of target and ticket side by side: (what, target, ticket). None of a zoo."""
    if document["kind"] == "zoo":
        return []
    rows: list[tuple[str, str, str]] = []
    target, ticket = document["target"], document["ticket"]
    if document["kind"] == "conversion":
        weights, size = ticket["kept"], size_text(ticket["weight_bytes"])
        share = f"{weights:,} ({ticket['per_target_weight']:.2f} per target weight)"
        source = f"{ticket['source']:,} weights, density {ticket['density']:.4f}"
        rows += [
            ("weights", f"{target['weights']:,}", share),
            ("random source", "", source),
            ("weight bytes", size_text(4 * target["weights"]), size),
        ]
        rows += [("scales", "", fit_text(document["fit"]))] if document["fit"] else []
    for out in document["validate"]["outputs"] if document["validate"] else []:
        name = out["name"]
        if out["target_accuracy"] is not None:
            accuracy = percent(out["target_accuracy"]), percent(out["ticket_accuracy"])
            rows.append((f"accuracy of {name}", *accuracy))
        if out["agreement"] is not None:
            agreeing = "equal entries" if out["judged"] == "equality" else "top-1 agreement"
            rows.append((f"{agreeing} of {name}", "", percent(out["agreement"])))
        if out["relative"] is not None:
            error = f"relative {number(out['relative'])}, largest {number(out['max_abs'])}"
            rows.append((f"SQNR of {name}", "", sqnr(out)))
            rows.append((f"error of {name}", "", error))
        if document.get("bound"):
            bound = document["bound"]["outputs"].get(name)
            text = "none found" if bound is None else f"≤ {number(bound)}"
            rows.append((f"certified error of {name}", "", text))
    return rows


def tables(document: Mapping[str, Any]) -> list[Table]:
    """The document's tables, those without rows apart."""
    if document["kind"] == "zoo":
        every = [Table("Models", _model_rows(document["models"]), words=2)]
    else:
        traced = document.get("trace") or []
        dense_rows = [
            {column: text.format_map(place) for column, text in DENSE_COLUMNS.items()}
            for place in document.get("dense") or []
        ]
        every = [
            Table("Layers", _layer_rows(document.get("layers") or [], traced), words=2),
            Table(TRACE_TITLE, trace_rows(traced), words=1),
            Table("What stays dense", dense_rows, words=3),
            Table("Bits that the seed does not fix", _account_rows(document), words=1),
        ]
    return [table for table in every if table.rows]


def _account_rows(document: Mapping[str, Any]) -> list[dict[str, str]]:
    """Where trained information can be, in bits at most, and its shares."""
    account = (document.get("verify") or {}).get("account")
    if not account:
        return []
    total = sum(account.values())
    return [
        {"what": name, "bits": f"{bits:,}", "share": percent(bits / max(total, 1))}
        for name, bits in account.items()
    ]


def trace_rows(layers: Rows, digits: int = 3) -> list[dict[str, str]]:
    """Where error enters and where it is amplified, a row of `TRACE_HEAD` per traced layer."""
    keys = ("into", "passed_on", "amplification", "own", "out")
    rows = [[layer["name"], *(number(layer[key], digits) for key in keys)] for layer in layers]
    return [
        dict(zip(TRACE_HEAD, [*row, decibels(layer["sqnr_db"])], strict=True))
        for row, layer in zip(rows, layers, strict=True)
    ]


def weakest(document: Mapping[str, Any]) -> str:
    """One sentence on where most error enters, and where it is amplified most."""
    layers = [layer for layer in document.get("trace") or [] if layer["own"] is not None]
    if not layers:
        return ""
    worst = max(layers, key=lambda layer: float(layer["own"]))
    text = f"Most error enters at '{worst['name']}' ({number(worst['own'])} of its output)"
    amplified = [layer for layer in layers if layer["amplification"] is not None]
    if amplified:
        most = max(amplified, key=lambda layer: float(layer["amplification"]))
        if 1 < float(most["amplification"]) < math.inf:
            text += f"; '{most['name']}' amplifies it most, ×{number(most['amplification'])}"
    return text + "."


def _layer_rows(layers: Rows, trace: Rows) -> list[dict[str, str]]:
    """A row per random layer; a univariate one solves no problems."""
    traced = {layer["name"]: layer for layer in trace}
    rows = []
    for layer in layers:
        errors, solved = traced.get(layer["name"]), layer["problems"] > 0
        rows.append(
            {
                "layer": layer["name"],
                "kind": layer["kind"],
                "m": str(layer["base_size"]),
                "λ": number(layer["lam"]),
                "target weights": f"{layer['target_weights']:,}" if solved else "",
                "ticket weights": f"{layer['kept']:,}",
                "misses": f"{layer['misses']:,}" if solved else "",
                "|S|": f"{layer['mean_size']:.2f}" if solved else "",
                "own dB": decibels(errors["own_sqnr_db"]) if errors else "",
                "out dB": decibels((errors or layer)["sqnr_db"]) if solved else "",
            }
        )
    return rows


def _model_rows(models: Rows) -> list[dict[str, str]]:
    return [
        {
            "model": model["name"],
            "verdict": model["verdict"],
            "agreement": percent(model["agreement"]),
            "accuracy": percent(model["accuracy"]),
            "SQNR dB": "–" if model["density"] is None else decibels(model["sqnr_db"]),
            "per weight": _text("{:.2f}", model["per_target_weight"]),
            "density": _text("{:.4f}", model["density"]),
            "size": "–" if model["bytes"] is None else size_text(model["bytes"]),
            "s": f"{model['seconds']:.0f}",
        }
        for model in models
    ]


def _text(pattern: str, value: float | None) -> str:
    return "–" if value is None else pattern.format(value)
