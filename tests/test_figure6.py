"""docs/figure6.md and its section of the README are what docs/figure6.py writes now."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sw.compare.cycles import MODELS

ROOT = Path(__file__).resolve().parent.parent
ADVICE = "run: nox -s figures"


@pytest.fixture(scope="module")
def script(scripts: Any) -> Any:
    return scripts("figure6")


def test_the_page_has_what_the_cycle_models_give(script):
    """All that needs no timing: the tables' rows and the assumptions."""
    found = script.results(tuple(MODELS))
    page = script.PAGE.read_text(encoding="utf-8")
    tables = script.latency_table, script.edp_table, script.optimiser_table
    rows = [row for table in tables for row in table(found).splitlines()]
    assert len(rows) == 3 * (2 + 12) + 2
    for row in rows:
        assert row in page, ADVICE
    readme = script.README.read_text(encoding="utf-8")
    for row in script.summary(found).splitlines():
        assert row in readme, ADVICE
    for line in script.assumptions(script.CONFIG, *script.steps(), script.CHARGED):
        assert f"- {line}\n" in page, ADVICE


def test_every_figure_of_the_page_is_there(script):
    names = re.findall(r"\((figure6[^)]*)\)", script.PAGE.read_text(encoding="utf-8"))
    assert set(names) == {"figure6.svg", "figure6_roofline.svg"}
    for name in names:
        assert script.PAGE.with_name(name).stat().st_size > 10_000


@pytest.mark.nightly
def test_the_page_is_current(script):
    """With every product compiled and timed."""
    found = script.results()
    assert script.PAGE.read_text(encoding="utf-8") == script.page(found), ADVICE
    readme = script.README.read_text(encoding="utf-8")
    assert readme == script.with_summary(readme, script.summary(found)), ADVICE
