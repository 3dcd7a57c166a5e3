"""docs/table1.md and docs/flexibility.md say what is recorded and what steps take."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sim.silicon import silicon

ADVICE = "run: python docs/silicon_pages.py"


@pytest.fixture(scope="module")
def script(scripts: Any) -> Any:
    return scripts("silicon_pages")


def test_tables_are_those_of_what_is_recorded(script: Any) -> None:
    for page in script.PAGES:
        text = page.read_text(encoding="utf-8")
        assert script.with_tables(text, script.recorded_tables()) == text, ADVICE


def test_pages_show_every_table(script: Any) -> None:
    texts = [page.read_text(encoding="utf-8") for page in script.PAGES]
    shown = {name for text in texts for _, name in script.MARK.findall(text)}
    assert shown == {*script.recorded_tables(), "steps"}


def test_steps_of_the_page_are_of_the_designs_that_are_recorded(script: Any) -> None:
    """Ratios follow from the cycles, energies and areas that stand beside them."""
    text = script.PAGES[1].read_text(encoding="utf-8")
    (section,) = (match[0] for match in script.MARK.finditer(text) if match[2] == "steps")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in section.splitlines()
        if re.match(r"\| (kv|xattn)", line)
    ]
    assert [row[1] for row in rows] == [*script.ARRAYS.values()] * len(script.STEPS)
    for start in range(0, len(rows), len(script.ARRAYS)):
        block = rows[start : start + len(script.ARRAYS)]
        cycles = [int(row[2].replace(",", "")) for row in block]
        energies = [float(row[4]) for row in block]
        for row, count, joules in zip(block, cycles, energies, strict=True):
            assert float(row[3]) == pytest.approx(count / cycles[0], abs=6e-4)
            edp = joules * count / energies[0] / cycles[0]
            assert float(row[5]) == pytest.approx(edp, abs=2e-3)


@pytest.mark.nightly
def test_steps_are_current(script: Any) -> None:
    text = script.PAGES[1].read_text(encoding="utf-8")
    made = {"steps": script.steps_table(script.measured())}
    assert script.with_tables(text, made) == text, ADVICE


def test_designs_of_the_pages_are_recorded(script: Any) -> None:
    assert {*script.ARRAYS, *script.OURS} <= silicon().chips.keys()
