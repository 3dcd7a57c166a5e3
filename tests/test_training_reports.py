"""docs/reports: what follows from the layers alone is what the program says now."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sw.example.diffusion import Diffusion
from sw.example.finetune import concept_task
from sw.example.report import costs
from sw.example.runs import SETS, adapted_to, step_energy
from sw.example.size import Size
from sw.train.memory import memory
from sw.train.precision import METHODS

FOLDER = Path(__file__).resolve().parent.parent / "docs" / "reports"
PAGES = {"lora": "lora", "tuneqdm": "tuneqdm", "policies": "schedule"}
"""Sets of methods, by page."""


def read(name: str) -> tuple[str, dict[str, dict[str, str]]]:
    """Return a page, and the cells of its table by method and column."""
    text = (FOLDER / name / "report.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    names, _, *body = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
    rows = [dict(zip(names, cells, strict=True)) for cells in body]
    return text, {row["method"]: row for row in rows}


@pytest.mark.parametrize("name", PAGES)
def test_memory_and_energy_are_those_of_the_layers(name, scripts):
    advice = f"run: python docs/training_reports.py {name}"
    assert scripts("training_reports").REPORTS.keys() == PAGES.keys()
    text, rows = read(name)
    assert list(rows) == list(SETS[PAGES[name]]), advice
    rank = int(re.search(r" steps, rank (\d+),", text)[1])
    for method, row in rows.items():
        task = concept_task(Diffusion(Size()))
        adapted = adapted_to(task, METHODS[method], rank)
        expected = costs(memory(adapted), step_energy(task, adapted))
        found = {column: row.get(column) for column in expected}
        assert found == expected, f"{method}: {advice}"


@pytest.mark.parametrize("name", PAGES)
def test_pictures_are_those_that_the_page_shows(name):
    text, _ = read(name)
    shown = set(re.findall(r"\]\((\w+\.png)\)", text))
    assert shown == {path.name for path in (FOLDER / name).glob("*.png")}
