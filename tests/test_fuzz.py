"""Some hundred mutants of every kind, and again every one that ever did harm."""

import json
from pathlib import Path

import pytest
from fuzz import TARGETS, Case, attempt, campaign, workplace

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("target", TARGETS)
def test_no_mutant_gets_through(target: str) -> None:
    figures = campaign(target, cases=300, jobs=1, seed=2026, save=None)

    assert figures.findings == {}
    assert figures.cases == 300
    assert set(figures.codes) <= {"0", "1", "2"}
    assert figures.codes["2"] > 100  # mutants do reach the checks


@pytest.mark.parametrize("name", sorted(folder.name for folder in CORPUS.iterdir()))
def test_what_was_found_stays_mended(name: str) -> None:
    about = json.loads((CORPUS / name / "about.json").read_text())
    files = {
        file.name: file.read_bytes()
        for file in sorted((CORPUS / name).iterdir(), key=lambda f: f.suffix != ".onnx")
        if file.name != "about.json"
    }
    with workplace(about["target"]) as folder:
        outcome = attempt(Case(files, about["words"], about["made"]), 0, folder)

    assert outcome.wrong == ""
