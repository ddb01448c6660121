"""`lt-onnx inspect`."""

from pathlib import Path
from typing import Annotated, Any

from lt_onnx.cli.console import MAX_NAMED, print_json, say, table
from lt_onnx.cli.options import NO_WORDS, Config, Force, Json, Only, ReportFile
from lt_onnx.options import Options, Param


def inspect_command(
    target: Annotated[Path, Param("ONNX file to look into.")],
    *,
    options: Annotated[Options, Only("mode")],
    report: ReportFile = None,
    config: Config = NO_WORDS,
    force: Force = False,
    json: Json = False,
) -> None:
    """Show what was found in a network, step by step.

    For every operator: shape, sign, and what becomes of it in a ticket.
    """
    from lt_onnx.planning.overview import inspection, shape_text
    from lt_onnx.planning.plan import plan
    from lt_onnx.reading.lowering import read_target
    from lt_onnx.reading.model_file import model_files
    from lt_onnx.report.command import command_of, words_of
    from lt_onnx.report.formats import JSON_FORMAT, check_reports, write_reports

    words = words_of(command_of("inspect", [target], options, {}), config.text)
    how: dict[str, Any] = {"force": force, "formats": JSON_FORMAT, "config": words}
    reports = [] if report is None else [report]
    check_reports(reports, [*model_files(target), *config.read], **how)
    document = inspection(plan(read_target(target), options))
    write_reports(reports, document, **how)
    if json:
        print_json(document)
        return
    for port in ("inputs", "outputs"):
        for value in document[port]:
            say(f"{port[:-1]:9} {value['name']} {shape_text(value['shape'])}")
    say(f"blocks    open with {document['activation']['op']}")
    rows, notes = [], dict[str, list[str]]()
    for step in document["steps"]:
        sign = "≥ 0" if step["never_negative"] else ""
        shape = shape_text(step["shape"])
        rows.append([step["name"], step["op"], shape, sign, step["how"]])
        if step["note"]:
            note = f"followed by {step['note']}" if step["how"] == "constructed" else step["note"]
            notes.setdefault(note, []).append(f"'{step['name']}'")
    table(rows, ["name", "op", "output", "sign", "how"], words=5)
    for note, names in notes.items():
        more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
        say(f"note      {', '.join(names[:MAX_NAMED])}{more}: {note}")
    counts = ", ".join(f"{count} {kind}" for kind, count in document["counts"].items() if count)
    say(f"steps     {counts}")
    say(
        f"weights   {document['constructed_weights']:,} to construct, "
        f"{document['dense_parameters']:,} parameters stay dense"
    )
