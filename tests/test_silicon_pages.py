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
    assert shown == {*script.recorded_tables(), "steps", "whole"}


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
    assert {row[2].strip("`") for row in rows} <= {*script.FUSIONS}
    for start in range(0, len(rows), len(script.ARRAYS)):
        block = rows[start : start + len(script.ARRAYS)]
        cycles = [int(row[3].replace(",", "")) for row in block]
        energies = [float(row[5]) for row in block]
        for row, count, joules in zip(block, cycles, energies, strict=True):
            assert float(row[4]) == pytest.approx(count / cycles[0], abs=6e-4)
            edp = joules * count / energies[0] / cycles[0]
            assert float(row[6]) == pytest.approx(edp, abs=2e-3)


def test_power_of_a_step_is_its_energy_over_its_time(script: Any) -> None:
    """On runs of round numbers: half of all MACs that the array could do, in a second."""
    cycles = 400_000_000
    runs = {}
    for name in script.AT_400:
        macs = cycles * silicon().chips[name].config.macs_per_cycle // 2
        dram = {"LPDDR4, least": 0.25, "LPDDR4, most": 0.5}
        runs[name] = {script.WHOLE: script.Run("all", cycles, macs, 2.0, 1.6, dram)}
    paper, *rows = (
        line.strip("| ").split(" | ") for line in script.whole_table(runs).splitlines()[2:]
    )
    assert paper[0] == script.PAPER_ROW[0] and paper[1:3] == ["3.49", "0.94\\*"]
    for name, row in zip(script.AT_400, rows, strict=True):
        tops = 400e6 * silicon().chips[name].config.macs_per_cycle * 1e-12
        shown = ["0.500", "2.00", f"{tops / 1.6:.2f}", f"{tops / 2:.2f}", "0.25 to 0.50"]
        assert row[0] == script.OURS[name] and row[3:] == shown


def test_designs_of_every_table_are_timed(script: Any) -> None:
    assert {(name, script.WHOLE) for name in script.AT_400} <= {*script.works()}
    assert len(script.works()) == len({*script.works()})


@pytest.mark.nightly
def test_steps_are_current(script: Any) -> None:
    made = script.step_tables(script.measured())
    for page in script.PAGES:
        text = page.read_text(encoding="utf-8")
        assert script.with_tables(text, made) == text, ADVICE


def test_designs_of_the_pages_are_recorded(script: Any) -> None:
    assert {*script.ARRAYS, *script.OURS} <= silicon().chips.keys()
