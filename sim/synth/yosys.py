"""Runs yosys on commands in a folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from ..toolchain import yosys_environment
from .errors import SynthError

__all__ = ["MappingError", "run_yosys"]


class MappingError(SynthError):
    """The design cannot be mapped; the message is one line."""


def run_yosys(folder: Path, script: str) -> None:
    """Run commands in a folder; files they name are there.

    yosys may have a file system of its own, so a name leads nowhere else.

    Raises
    ------
    MappingError
        yosys fails.
    BackendError
        There is none.
    """
    (folder / "map.ys").write_text(script, encoding="utf-8")
    yosys_environment()
    command = [os.environ.get("YOSYS", "yosys"), "-q", "map.ys"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        errors = [line for line in lines if "ERROR" in line] or lines[-1:]
        raise MappingError(f"yosys cannot map the design: {' '.join(errors)[:500]}")
