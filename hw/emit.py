"""From a configuration to stand-alone Verilog."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from amaranth.back import verilog

from .adders import FULL_ADDER_VERILOG
from .isa.config import Config
from .shared import Builder
from .sram import Macro
from .sram import verilog as sram_verilog
from .top import Accelerator
from .yosys import find_yosys

__all__ = ["CELLS", "Emission", "Memory", "convert_all", "emit"]

TOP = "cdmqta"

CELLS = "CDMQTA_CELLS"
"""Verilog macro that chooses the forms in adder cells, for technology mapping."""

WAIVERS = {
    "DECLFILENAME": "the design is one file of many modules",
    "UNUSEDSIGNAL": "every field of a record has a name, also where a unit reads few of them",
    "PROCASSINIT": "registers have a value before reset, for FPGAs and for simulation",
    "WIDTHEXPAND": "constants and narrow operands have their own width; zeros above are meant",
    "WIDTHTRUNC": "! of a vector asks whether it is zero",
    "CASEINCOMPLETE": "decoders assign a default before the case",
    "CASEOVERLAP": "decoders are in order of priority",
}
"""Lint messages of Verilator that the generated text gives cause for, and why they are harmless."""


@dataclass(frozen=True)
class Memory:
    """A memory of the design: the macro to provide, and how often it is used."""

    macro: Macro
    instances: int

    def listing(self) -> dict[str, Any]:
        """Return what to order, as `Macro.listing`, and how many."""
        return {**self.macro.listing(), "instances": self.instances}


@dataclass(frozen=True)
class Emission:
    """A design as text.

    `hierarchical` names the modules that a simulator should build separately: they repeat often.
    """

    verilog: str
    top: str
    memories: tuple[Memory, ...]
    hierarchical: tuple[str, ...]


def emit(config: Config, memories: str = "behavioural") -> Emission:
    """Return the Verilog of an accelerator.

    Repeated units (element, row, accumulator lane, requantiser lane) and memories are modules of
    their own, written once.

    Parameters
    ----------
    memories : str
        ``behavioural`` adds a model of each memory; ``blackbox`` leaves them to be provided.

    Raises
    ------
    ValueError
        Another kind of memories.
    YosysError
        There is no Yosys that works.
    """
    if memories not in ("behavioural", "blackbox"):
        raise ValueError(f"memories must be behavioural or blackbox, not {memories!r}")
    find_yosys()  # before units are made, so that none is left unused
    builder = Builder(emit=True)
    texts = convert_all(Accelerator(config, builder), TOP, builder)
    macros = sorted(builder.memories.values(), key=lambda macro: macro.name)
    counts = _count_instances("\n".join(texts.values()))
    models = [sram_verilog(macro) for macro in macros] if memories == "behavioural" else []
    return Emission(
        verilog="\n".join([_header(config), *models, *(texts[name] for name in reversed(texts))]),
        top=TOP,
        memories=tuple(Memory(macro, counts[macro.name]) for macro in macros),
        hierarchical=("cdmqta_row", "cdmqta_lane", "cdmqta_post_lane"),
    )


def convert_all(unit: Any, name: str, builder: Builder) -> dict[str, str]:
    """Return the Verilog of a unit and of every module its builder shares, by module name."""
    find_yosys()
    texts = {name: _convert(unit, name)}
    builder.soft_reset = None  # a shared unit has it on its port, and gives it to those inside
    while waiting := [shared for shared in builder.units if shared not in texts]:
        for shared in waiting:
            texts[shared] = _convert_forms(builder.units[shared], shared)
    return texts


def _convert_forms(unit: Any, name: str) -> str:
    """Return the Verilog of a unit, which may have a form in adder cells beside the plain one."""
    plain = _convert(unit, name)
    if not hasattr(unit, "in_cells"):
        return plain
    cells = _convert(unit.in_cells(), name)
    # The comments tell these lines from those of other conditions inside.
    return (
        f"`ifdef {CELLS}\n{FULL_ADDER_VERILOG}{cells}`else // {CELLS}\n{plain}`endif // {CELLS}\n"
    )


def _header(config: Config) -> str:
    lines = [
        f"// CDM-QTA accelerator, {config.rows}x{config.columns}, configuration {config.digest()}"
    ]
    for rule, reason in WAIVERS.items():
        lines.append(f"/* verilator lint_off {rule} */ // {reason}")
    return "\n".join(lines) + "\n"


def _convert(unit: Any, name: str) -> str:
    text = verilog.convert(unit, name=name, emit_src=False, strip_internal_attrs=True)
    # The first line names the tool's version and build: not a property of the design.
    text = re.sub(r"\A/\*.*?\*/\n", "", text)
    # Combinational blocks whose inputs keep their first value never start in Icarus, and leave X.
    # They all read a register that Yosys puts there for this; it has to change after time zero.
    return re.sub(
        r"^( *)reg (\\\$auto\$verilog_backend\S+) +=.*$",
        r"\g<0>\n`ifdef __ICARUS__\n\1initial #0 \2 = 1;\n`endif",
        text,
        flags=re.MULTILINE,
    )


def _count_instances(text: str) -> dict[str, int]:
    """Return how often each module occurs below the top, through all levels."""
    below: dict[str, list[str]] = {}
    for header, body in re.findall(r"^module (\S+?)\s*\((.*?)^endmodule", text, re.M | re.S):
        below[header] = re.findall(r"^  (\S+)\s+\S+\s*\($", body, re.M)
    parents: dict[str, list[str]] = {}
    for parent, children in below.items():
        for child in children:
            parents.setdefault(child, []).append(parent)

    @cache
    def count(name: str) -> int:
        return 1 if name == TOP else sum(count(parent) for parent in parents.get(name, ()))

    return {name: count(name) for name in parents}
