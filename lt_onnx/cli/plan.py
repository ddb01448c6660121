"""`lt-onnx plan`."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

from lt_onnx.cli.console import filled, print_json, promise_lines, say, table
from lt_onnx.cli.options import NO_WORDS, Config, Force, Json, OneMode, Only, ReportFile
from lt_onnx.options import PAPER_MODES, Mode, Options, Param
from lt_onnx.units import duration_text, size_text

# what stands in the columns of the two tables
LAYER = "{name} {kind} {inputs}→{outputs} {copies}+{constants} {weights:,} {memory}"
THEORY = (
    "{name} {parameters:,} e{log_epsilon:.0f} {base_size} {used_base_size} {width:,} "
    "{used_width:,} ×{stride_factor} {reach:.3g}"
)


def plan_command(
    target: Annotated[Path, Param("ONNX file to plan a ticket of.")],
    *,
    mode: OneMode = None,
    options: Annotated[Options, Only("base_size", "sqnr", "agreement", "seed")],
    calibration: Annotated[
        Path | None, Param("Inputs that the promise is to hold on; else random ones.", "FILE")
    ] = None,
    shapes_only: Annotated[bool, Param("Run nothing: no word on what the promise costs.")] = False,
    epsilon: Annotated[float | None, Param("Also what the theorems ask for this error …")] = None,
    delta: Annotated[float, Param("… with this probability of failure.")] = 0.01,
    constant: Annotated[float | None, Param("C of the theorems; measured without.")] = None,
    gamma: Annotated[float, Param("γ of Theorem 3.2.")] = 0.1,
    report: ReportFile = None,
    config: Config = NO_WORDS,
    force: Force = False,
    json: Json = False,
) -> None:
    """Show sizes and costs before work, and what the promise takes.

    For both modes; with --epsilon also what the theorems ask for. What the promise costs of more
    than a million weights, or of samples of more than a million numbers, takes minutes to find,
    and is found when --calibration is given.
    """
    from lt_onnx.budget.promise import promised
    from lt_onnx.planning.allocation import check_layers
    from lt_onnx.planning.overview import is_small, plan_overview
    from lt_onnx.planning.plan import plan
    from lt_onnx.planning.prediction import predict
    from lt_onnx.reading.lowering import read_target
    from lt_onnx.reading.model_file import model_files
    from lt_onnx.report.command import command_of, words_of
    from lt_onnx.report.formats import JSON_FORMAT, check_reports, write_reports
    from lt_onnx.samples.choose import calibration_inputs, loaded
    from lt_onnx.studies.theory import required_widths
    from lt_onnx.validation.promise import kept_out

    study = {"epsilon": epsilon, "delta": delta, "constant": constant, "gamma": gamma}
    said = {"mode": mode, "calibration": calibration, "shapes_only": shapes_only}
    command = command_of("plan", [target], options, {**said, **(study if epsilon else {})})
    how: dict[str, Any] = {"force": force, "formats": JSON_FORMAT}
    how["config"] = words_of(command, config.text)
    reports, inputs = [] if report is None else [report], [*model_files(target), *config.read]
    check_reports(reports, [*inputs, *([calibration] if calibration else [])], **how)
    network = read_target(target)
    few = calibration is not None or is_small(network)
    plans = []
    for one in PAPER_MODES if mode is None else [mode]:
        blueprint, forecast, given = plan(network, replace(options, mode=one)), None, None
        if mode is not None or one is Mode.TWO_L:  # in which every layer has a base size
            check_layers(blueprint)
        if network.linears and few and not shapes_only:
            seen = None
            if calibration is not None:
                given = loaded(calibration, network.inputs)
                seen, _ = kept_out(given, network, options)
            count = predict(blueprint, sizes=seen.sizes if seen else None).calibration_count
            found = calibration_inputs(seen, network.inputs, count, options.seed)
            blueprint, forecast = promised(blueprint, found, given=given.count if given else None)
        words: dict[str, Any] = {"delta": delta, "constant": constant, "gamma": gamma}
        theory = [] if epsilon is None else required_widths(blueprint, epsilon, **words)
        promise = None if forecast is None else forecast.figures(blueprint)
        theory_rows = [asdict(row) for row in theory]
        plans.append({**plan_overview(blueprint, given), "promise": promise, "theory": theory_rows})
    document = {"target": str(target), "plans": plans}
    write_reports(reports, document, **how)
    if json:
        print_json(document)
        return
    if not few and not shapes_only:
        say("promise   costs of so large a network are measured on --calibration only")
    for number, one_plan in enumerate(plans):
        if number:
            say("")
        _print_plan(one_plan)
        if one_plan["theory"]:
            theorem = "3.2" if one_plan["mode"] == Mode.L_PLUS_1 else "3.1"
            say(f"Theorem {theorem} for ε = {epsilon:g}, δ = {delta:g}, beside what is used")
            rows = [filled(THEORY, row) for row in one_plan["theory"]]
            table(rows, "layer N ε_l m used width used stride reach".split())


def _print_plan(plan: dict[str, Any]) -> None:
    """Every random layer, and what the whole will take."""
    say(f"mode {plan['mode']}")
    rows = []
    for layer in plan["layers"]:
        memory = {"memory": size_text(layer["memory_bytes"])}
        rows.append([*filled(LAYER, layer | memory), f"{layer['seconds']:.1f}"])
    table(rows, "layer kind channels m+const weights memory s".split(), words=2)
    say(
        f"in all    {plan['source_weights']:,} random weights; "
        f"{size_text(plan['file_bytes'])} file, {size_text(plan['seeded_bytes'])} seeded; "
        f"{plan['dense_parameters']:,} stay dense"
    )
    if plan["promise"] is not None:
        for line in promise_lines(plan["promise"]):
            say(line)
    say(
        f"needs     about {size_text(plan['memory_bytes'])} memory, "
        f"{duration_text(plan['seconds'])}"
    )
