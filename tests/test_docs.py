"""Pages that are written from the code are what the code writes now."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from hw.isa import numerics as isa
from tests.golden import numerics as golden

ROOT = Path(__file__).resolve().parent.parent


def script(name: str) -> ModuleType:
    """Return a script of the docs folder, imported."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_instructions_page_is_current() -> None:
    generate = script("generate")
    assert generate.PAGE.read_text() == generate.page(), "run: python docs/generate.py"


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
