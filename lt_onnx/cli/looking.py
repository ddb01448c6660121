"""Commands that look at a network before any work."""

from pathlib import Path
from typing import Annotated

import typer

from lt_onnx.cli.app import app
from lt_onnx.cli.console import print_json, say, table
from lt_onnx.cli.options import BaseSize, Json, ModeWord, ReportFile, allocation
from lt_onnx.units import duration_text, size_text


@app.command()
def inspect(
    target: Annotated[Path, typer.Argument(help="ONNX file to look into.")],
    mode: ModeWord = "l+1",
    report: ReportFile = None,
    json: Json = False,
) -> None:
    """Show what was found in a network, step by step.

    For every operator: shape, sign, and how a ticket will have it.
    """
    from lt_onnx.options import make_options
    from lt_onnx.planning.plan import plan
    from lt_onnx.planning.prediction import found, shape_text
    from lt_onnx.reading.lowering import read_target
    from lt_onnx.report.formats import write_json

    document = found(plan(read_target(target), make_options(mode=mode)))
    if report is not None:
        write_json(report, document)
    if json:
        print_json(document)
        return
    for port in ("inputs", "outputs"):
        for value in document[port]:
            say(f"{port[:-1]:9} {value['name']} {shape_text(value['shape'])}")
    say(f"blocks    open with {document['activation']['op']}")
    table(
        [
            [
                row["name"],
                row["op"],
                shape_text(row["shape"]),
                "≥ 0" if row["never_negative"] else "",
                row["how"],
                row["note"],
            ]
            for row in document["steps"]
        ],
        ["name", "op", "output", "sign", "how", ""],
    )
    counts = ", ".join(f"{count} {kind}" for kind, count in document["counts"].items() if count)
    say(f"steps     {counts}")
    say(
        f"weights   {document['constructed_weights']:,} to construct, "
        f"{document['dense_parameters']:,} stay dense"
    )


@app.command("plan")
def plan_command(
    target: Annotated[Path, typer.Argument(help="ONNX file to plan a ticket of.")],
    mode: Annotated[str | None, typer.Option("--mode", help="One mode; both without.")] = None,
    base_size: BaseSize = None,
    epsilon: Annotated[
        float | None, typer.Option("--epsilon", help="Also what the theorems ask for this error …")
    ] = None,
    delta: Annotated[
        float, typer.Option("--delta", help="… with this probability of failure.")
    ] = 0.01,
    constant: Annotated[
        float | None, typer.Option("--constant", help="C of the theorems; measured without.")
    ] = None,
    gamma: Annotated[float, typer.Option("--gamma", help="γ of Theorem 3.2.")] = 0.1,
    report: ReportFile = None,
    json: Json = False,
) -> None:
    """Show widths, sizes and costs before any work.

    For both modes; with --epsilon also what the theorems ask for.
    """
    from lt_onnx.options import Mode, make_options
    from lt_onnx.planning.plan import plan
    from lt_onnx.planning.prediction import planned
    from lt_onnx.reading.lowering import read_target
    from lt_onnx.report.formats import write_json
    from lt_onnx.studies.theory import demanded

    network = read_target(target)
    plans = []
    for word in [m.value for m in Mode] if mode is None else [mode]:
        blueprint = plan(network, make_options(mode=word, **allocation(base_size, None)))
        theory = demanded(blueprint, epsilon, delta, constant, gamma) if epsilon else []
        plans.append({**planned(blueprint), "theory": [row.to_dict() for row in theory]})
    whole = {"target": str(target), "plans": plans}
    if report is not None:
        write_json(report, whole)
    if json:
        print_json(whole)
        return
    for number, document in enumerate(plans):
        if number:
            say("")
        say(f"mode {document['mode']}")
        table(
            [
                [
                    row["name"],
                    row["kind"],
                    f"{row['inputs']}→{row['outputs']}",
                    f"{row['copies']}+{row['constants']}",
                    f"{row['weights']:,}",
                    size_text(row["bytes"]),
                    size_text(row["memory_bytes"]),
                    f"{row['seconds']:.1f}",
                ]
                for row in document["layers"]
            ],
            ["layer", "kind", "channels", "copies+const", "weights", "file", "memory", "s"],
            right=(2, 3, 4, 5, 6, 7),
        )
        say(
            f"in all    {document['source_weights']:,} random weights, "
            f"{size_text(document['file_bytes'])} file; {document['dense_parameters']:,} stay dense"
        )
        say(
            f"needs     about {size_text(document['memory_bytes'])} memory, "
            f"{duration_text(document['seconds'])}"
        )
        if document["theory"]:
            theorem = "3.2" if document["mode"] == Mode.L_PLUS_1 else "3.1"
            say(f"Theorem {theorem} for ε = {epsilon:g}, δ = {delta:g}, beside what is used")
            table(
                [
                    [
                        row["name"],
                        f"{row['parameters']:,}",
                        f"e{row['log_epsilon']:.0f}",
                        str(row["base_size"]),
                        str(row["used_base_size"]),
                        f"{row['width']:,}",
                        f"{row['used_width']:,}",
                        f"×{row['stride_factor']}",
                        f"{row['reach']:.3g}",
                    ]
                    for row in document["theory"]
                ],
                ["layer", "N", "ε_l", "m", "used", "width", "used", "stride", "reach"],
                right=(1, 2, 3, 4, 5, 6, 7, 8),
            )
