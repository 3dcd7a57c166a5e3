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
    allowed = {"__future__", "collections", "dataclasses", "fractions", "typing", "torch"}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # One dot stays within this folder; two would reach the code under test.
            assert node.level <= 1, f"{path.name} imports from above its folder"
            if node.level == 0:
                imported.add(node.module or "")
        elif isinstance(node, ast.Attribute | ast.Name):
            name = node.attr if isinstance(node, ast.Attribute) else node.id
            assert name not in {"round", "round_", "rint", "__import__", "import_module"}, name
    assert {name.split(".")[0] for name in imported} <= allowed, imported


def test_the_independence_test_sees_the_golden_modules():
    assert {"numerics.py", "scales.py", "lora.py", "text.py", "attention.py"} <= {
        path.name for path in SOURCES
    }
