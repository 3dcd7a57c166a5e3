"""The golden model shares no code with what it judges."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

SOURCES = sorted(
    path for path in Path(__file__).parent.glob("*.py") if not path.name.startswith("test_")
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_the_golden_model_is_independent(path):
    """It imports nothing of the code under test, and never rounds half to even."""
    allowed = {"__future__", "dataclasses", "fractions", "typing", "torch", "tests"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} has a relative import"
            imported.add(node.module or "")
        elif isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            assert name not in {"round", "round_", "rint", "__import__", "import_module"}, name
    assert {name.split(".")[0] for name in imported} <= allowed, imported
    inside = {name for name in imported if name.startswith("tests")}
    assert all(name.startswith("tests.golden.") for name in inside), inside


def test_the_independence_test_sees_the_golden_modules():
    assert {"numerics.py", "lora.py"} <= {path.name for path in SOURCES}
