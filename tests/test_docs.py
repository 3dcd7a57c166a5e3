"""Pages that are written from the code are what the code writes now."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from hw.isa import numerics as isa
from tests.golden import numerics as golden

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def trace(scripts: Any) -> Any:
    """Return the trace of the chain that is drawn, simulated now."""
    return scripts("pipeline_trace").record()


def test_instructions_page_is_current(scripts: Any) -> None:
    generate = scripts("generate")
    assert generate.PAGE.read_text() == generate.page(), "run: python docs/generate.py"


def test_pipeline_drawing_and_table_are_current(scripts: Any, trace: Any) -> None:
    pipeline = scripts("pipeline_svg")
    advice = "run: python docs/generate.py"
    assert pipeline.DRAWING.read_text() == pipeline.drawing(trace), advice
    page = pipeline.PAGE.read_text()
    assert page == pipeline.with_table(page, trace), advice


def test_tables_of_the_energy_page_are_current(scripts: Any) -> None:
    energy = scripts("energy_tables")
    page = energy.PAGE.read_text()
    assert page.count("from docs/generate.py -->") == 7
    assert page == energy.with_tables(page), "run: python docs/generate.py"


def test_the_trace_keeps_the_rules_of_the_page(scripts: Any, trace: Any) -> None:
    """Skew of the elements, hidden loads and drains, prices of switching, cycles of the chain."""
    starts = {}
    for item in trace.activities:
        if item.kind == "multiply":
            assert item.stop - item.start == trace.waves, item
            starts[item.row, item.column, item.tile] = item.start
        else:
            length = trace.rows - item.row if item.kind == "load" else item.row
            assert item.stop - item.start == length, item
    for row in range(trace.rows):
        for column in range(trace.columns):
            for tile in range(len(trace.tiles)):
                assert starts[row, column, tile] == starts[0, 0, tile] + row + column
    assert (trace.ws_to_os, trace.os_to_ws) == (0, trace.rows - 1)
    formula = scripts("pipeline_svg").chain_cycles
    sizes = trace.rows, trace.columns, trace.waves, len(trace.tiles)
    assert trace.array_cycles == formula(*sizes, to_ws=1)


def test_the_drawing_has_a_bar_for_each_activity(scripts: Any, trace: Any) -> None:
    """And it is well-formed, names every fold, and shows both prices of switching."""
    root = ET.fromstring(scripts("pipeline_svg").drawing(trace))
    space = "{http://www.w3.org/2000/svg}"
    legend = len(trace.tiles) + 2
    assert len(root.findall(f"{space}rect")) == len(trace.activities) + legend
    words = [element.text for element in root.findall(f"{space}text")]
    assert f"WS → OS: {trace.ws_to_os} cycles" in words
    assert f"OS → WS: {trace.os_to_ws} cycles = R - 1" in words
    named = {f"{tile.dataflow.name} tile {tile.number} multiplies" for tile in trace.tiles}
    assert len(named) == 4 and named <= set(words)


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    local = [target for target in targets if not target.startswith("http")]
    missing = [target for target in local if not (page.parent / target).exists()]
    assert not missing


def test_the_noise_of_the_numerics_page_is_that_of_code_and_golden_model() -> None:
    text = (ROOT / "docs" / "numerics.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| 0x([0-9a-f]{8}) \|$", text, re.MULTILINE)
    assert len(rows) >= 7
    for seed, row, column, bits in rows:
        place = int(seed), int(row), int(column)
        assert isa.noise(*place) == int(golden.noise(*place)) == int(bits, 16), place
