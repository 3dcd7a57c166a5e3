"""What can be synthesised: a processing element, the array, or the whole accelerator."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hw.isa.config import Config

from ..macros import SRAM
from ..sram_table import Banked, Organisation, Ports, banked
from ..toolchain import yosys_environment
from .netlist import Macro

if TYPE_CHECKING:
    from hw.emit import Memory

__all__ = ["DERATE", "UNIT_NAMES", "Design", "Sram", "design_of", "verilog_of"]

UNIT_NAMES = ("pe", "array", "top")

DERATE = 1.25
"""What a period is multiplied by for what is not in it: wires as they will lie, the skew of the
clock, slow corners. A quarter is what place and route usually takes at such sizes."""


@dataclass(frozen=True)
class Sram:
    """Equal memories of a design: how many, of what size, and the banks that each is made of."""

    name: str
    instances: int
    depth: int
    width: int
    banks: Banked

    @property
    def area_mm2(self) -> float:
        """Area of all of them."""
        return self.instances * self.banks.area_mm2


@dataclass(frozen=True)
class Design:
    """Verilog to map, and the memories it leaves open.

    Members
    -------
    unit : str
        One of `UNIT_NAMES`.
    verilog, top : str
    memories : tuple of Sram
    """

    unit: str
    verilog: str
    top: str
    memories: tuple[Sram, ...]

    def macros(self) -> Mapping[str, Macro]:
        """Return the memories as timing analysis takes them: the clock to data, CACTI's access."""
        return {
            memory.name: Macro(access_ns=memory.banks.point.access_ns) for memory in self.memories
        }


def design_of(config: Config, unit: str, sram: Organisation = SRAM) -> Design:
    """Return a design; memories are laid out in banks as `sram` says.

    Raises
    ------
    ValueError
        An unknown unit.
    """
    verilog, top, found = _emitted(config, unit, "blackbox")
    memories = []
    for memory in found:
        macro = memory.macro
        ports = Ports.SINGLE if macro.ports == "1rw" else Ports.DUAL
        banks = banked(macro.depth, macro.width, ports, sram)
        memories.append(Sram(macro.name, memory.instances, macro.depth, macro.width, banks))
    return Design(unit, verilog, top, tuple(memories))


def verilog_of(config: Config, unit: str) -> tuple[str, str]:
    """Return the Verilog of a unit, memories with their behaviour, and its top module.

    Raises
    ------
    ValueError
        An unknown unit.
    """
    return _emitted(config, unit, "behavioural")[:2]


def _emitted(config: Config, unit: str, memories: str) -> tuple[str, str, tuple[Memory, ...]]:
    """Return Verilog, top module and memories of a unit."""
    if unit not in UNIT_NAMES:
        raise ValueError(f"unit must be one of {', '.join(UNIT_NAMES)}, not {unit!r}")
    from hw.array import Array
    from hw.emit import convert_all, emit
    from hw.pe import ProcessingElement
    from hw.shared import Builder

    if unit == "top":
        emission = emit(config, memories=memories)
        return emission.verilog, emission.top, emission.memories
    yosys_environment()  # before units are made, so that none is left unused
    builder = Builder(emit=True)
    top, make = ("cdmqta_pe", ProcessingElement) if unit == "pe" else ("cdmqta_array", Array)
    texts = convert_all(make(config, builder), top, builder)
    return "\n".join(texts[name] for name in reversed(texts)), top, ()
