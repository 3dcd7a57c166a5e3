"""docs/step.md and its section of the README say what the compiler does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from hw.isa.config import Config
from sw.graph.compile import PASSES
from sw.graph.fusions import Fusions
from sw.models import UNet
from sw.models.walk import walk

ROOT = Path(__file__).resolve().parent.parent
ADVICE = "run: python docs/fusion_table.py"


@pytest.fixture(scope="module")
def script(scripts: Any) -> Any:
    return scripts("fusion_table")


@pytest.fixture(scope="module")
def page(script: Any) -> str:
    return script.PAGE.read_text(encoding="utf-8")


def test_every_fusion_saves_what_the_page_says(script: Any) -> None:
    net = walk(UNet("net", 4, (16,), (1,), 0, (2,), 32, text_tokens=9, layers_per_block=1))
    config = Config.preset("tiny").replace(rows=8, columns=8, bus_bytes=8)
    task = script.Task("xattn", 2)
    found = {each: script.measure(config, net, task, each) for each in script.switches(task)}
    assert not script.broken(found)


def test_every_fusion_saves_what_the_page_says_at_full_size(script: Any, page: str) -> None:
    found = script.written(page)
    assert list(found) == [str(task) for task in script.TASKS]
    for task in script.TASKS:
        assert list(found[str(task)]) == script.switches(task), ADVICE
        own = found[str(task)]
        assert not script.broken(own), task
        slower = {each for each in own if own[each]["cycles"] > own["all"]["cycles"]}
        assert slower >= {*script.SLOWER} & own.keys(), task


def test_tables_agree_with_one_another(script: Any, page: str) -> None:
    found = script.written(page)
    for step, fusions, cycles, *_, ratio in script.rows_of(page, "fusions"):
        expected = _number(cycles) / found[step]["all"]["cycles"]
        assert ratio == f"{expected:.3f}", (step, fusions)
    gaps = script.rows_of(page, "gaps")
    for step, figures in found.items():
        rows = [[_number(cell) for cell in row[3:]] for row in gaps if row[0] == step]
        total = rows[-1]
        assert sum(row[0] for row in rows[:-1]) == total[0] == figures["all"]["cycles"], ADVICE
        for cycles, ideal, gap, folds, waits in rows:
            assert abs(cycles - ideal - gap) <= 1 and abs(gap - folds - waits) <= 1
    for step, *numbers in script.rows_of(page, "figures"):
        none, whole = (found[step][each]["cycles"] / 1e6 for each in ("none", "all"))
        assert numbers[-3:-1] == [f"{none:.3f}", f"{whole:.3f}"], ADVICE


def test_the_readme_has_the_figures_of_the_page(script: Any, page: str) -> None:
    readme = script.README.read_text(encoding="utf-8")
    assert script.rows_of(readme, "figures") == script.rows_of(page, "figures"), ADVICE


def test_models_give_the_figures_of_the_page(script: Any, page: str) -> None:
    rows = {row[0]: row[1:] for row in script.rows_of(page, "figures")}
    for task in script.TASKS:
        models = script.models(task)
        assert rows[str(task)][: len(models)] == [f"{each:.3f}" for each in models.values()], ADVICE


def test_the_page_names_every_pass_and_fusion(page: str) -> None:
    names = re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)
    assert names == [*PASSES, *Fusions.names()]


@pytest.mark.nightly
def test_the_tables_are_current(script: Any, page: str) -> None:
    """With both steps compiled with all fusions and without."""
    found = script.results()
    others = {task: script.baselines(task) for task in script.TASKS}
    assert page == script.with_tables(page, script.tables(found, others)), ADVICE


def _number(cell: str) -> int:
    return int(cell.replace(",", ""))
