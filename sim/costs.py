"""The one table of what events and units cost in energy and area, each with its source.

A `CostTable` is a value: `COSTS` stands for the hardware as it is built, and whoever has better
figures (another library, a synthesised element) passes a copy with those replaced. `docs/energy.md`
is written from here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from .sram_table import Cell, Organisation

__all__ = ["COSTS", "MULTIPLIER_TREE", "Cost", "CostTable"]

_CORNER = "Nangate45 typical, 1.1 V, 25 C"
_MEASURED = f"recorded for the design study of this project: yosys and {_CORNER}, 400 MHz"
_LIBRARY = f"Liberty of {_CORNER}"
_CELLS = f"cells of hw/pe.py after yosys 0.70 (booth -lowpower, clockgate, abc), {_CORNER}"


@dataclass(frozen=True)
class Cost:
    """A number, its unit, and where it is from."""

    value: float
    unit: str
    source: str

    def __float__(self) -> float:
        return self.value


def _entry(doc: str) -> Any:
    """Return a field of the table that says what it is."""
    return dataclasses.field(metadata={"doc": doc})


@dataclass(frozen=True)
class CostTable:
    """Costs by name; see the text of each field."""

    mac_zero_delay: Cost = _entry(
        "a MAC and all its element does in that cycle, activity without delays: no glitches"
    )
    mac_ws: Cost = _entry("the same weight-stationary, with glitches and the element's wires")
    mac_os: Cost = _entry("the same output-stationary, with glitches and the element's wires")
    pe_clock: Cost = _entry("clock of an element in which nothing moves")
    pe_leakage: Cost = _entry("leakage of an element")
    flop_clock: Cost = _entry("clock of a flip-flop that keeps its value")
    flop_move: Cost = _entry("clock and switching of a flip-flop that takes random data")
    wire: Cost = _entry("a bit of random data over a wire between memory and array")
    dram_ddr3: Cost = _entry("a byte from or to DRAM of the DDR3 class")
    dram_lpddr4_low: Cost = _entry("a byte from or to DRAM of the LPDDR4 class, the least")
    dram_lpddr4_high: Cost = _entry("a byte from or to DRAM of the LPDDR4 class, the most")
    pe_area: Cost = _entry("an element, without its second sum register")
    pe_overlap_area: Cost = _entry("what the second sum register adds, which hides the drain")
    flop_area: Cost = _entry("a flip-flop of the skew at the array's edges")
    sram: Organisation = Organisation()
    """Banks of the memories; their figures are points of `sim.sram_table`."""
    output_dual_port: bool = True
    """Whether halves of the output memory read and write in one cycle, as hw/accumulate.py needs.
    The study's totals took them as single-ported."""

    def replace(self, **changes: Any) -> CostTable:
        """Return a copy with some entries changed."""
        return dataclasses.replace(self, **changes)

    def entries(self) -> tuple[tuple[str, str, Cost], ...]:
        """Return name, meaning and cost of every entry, in order."""
        return tuple(
            (item.name, item.metadata["doc"], getattr(self, item.name))
            for item in dataclasses.fields(self)
            if item.metadata
        )


_STAND_IN = (
    "; the element is the study's minimal one with a plain `*`, booth -lowpower and clock gates, "
    "the nearest to hw/pe.py that was measured: hw/pe.py has a second sum register"
)
_ALL_OF_IT = "; taken to hold clock and leakage of the element, which are then not charged again"

COSTS = CostTable(
    mac_zero_delay=Cost(1.32, "pJ", f"{_MEASURED}; WS{_STAND_IN}{_ALL_OF_IT}"),
    mac_ws=Cost(2.64, "pJ", f"{_MEASURED}{_STAND_IN}{_ALL_OF_IT}"),
    mac_os=Cost(3.14, "pJ", f"{_MEASURED}{_STAND_IN}{_ALL_OF_IT}"),
    pe_clock=Cost(
        0.084,
        "pJ a cycle",
        f"6 flip-flops of the control and 5 clock gates, internal energy and clock pins; {_CELLS}",
    ),
    pe_leakage=Cost(0.0221, "mW", f"sum over the {_CELLS}"),
    flop_clock=Cost(
        0.0080, "pJ a cycle", f"{_LIBRARY}: DFF_X1, both edges at a slope of 17 ps, and clock pin"
    ),
    flop_move=Cost(
        0.0113,
        "pJ a cycle",
        f"{_LIBRARY}: DFF_X1, half of the cycles with a new value, a load of 3 fF at Q",
    ),
    wire=Cost(
        0.032,
        "pJ a bit and mm",
        "C V^2 / 4, a rise every fourth cycle: 105 fF/mm (metal3 of OpenROAD-flow-scripts, "
        "platforms/nangate45/setRC.tcl) at 1.1 V; without repeaters",
    ),
    dram_ddr3=Cost(
        160, "pJ a byte", "Horowitz, ISSCC 2014: 1.3 to 2.6 nJ for 64 bits, the least of it"
    ),
    dram_lpddr4_low=Cost(32, "pJ a byte", "4 pJ a bit, LPDDR4 class"),
    dram_lpddr4_high=Cost(48, "pJ a byte", "6 pJ a bit, LPDDR4 class"),
    pe_area=Cost(837, "um2", f"{_MEASURED}{_STAND_IN}"),
    pe_overlap_area=Cost(370, "um2", _MEASURED),
    flop_area=Cost(4.522, "um2", f"{_LIBRARY}: DFF_X1"),
    sram=Organisation(Cell.LSTP, bank_bytes=8192, bank_width=8),
)
"""The hardware as it is."""

_TREE = "; multiplier as an explicit Baugh-Wooley tree of FA_X1 cells, clock gates"

MULTIPLIER_TREE = COSTS.replace(
    mac_zero_delay=Cost(1.13, "pJ", f"{_MEASURED}; WS{_TREE}{_ALL_OF_IT}"),
    mac_ws=Cost(1.71, "pJ", f"{_MEASURED}{_TREE}{_ALL_OF_IT}"),
    mac_os=Cost(1.37, "pJ", f"{_MEASURED}{_TREE}{_ALL_OF_IT}"),
    pe_area=Cost(762, "um2", f"{_MEASURED}{_TREE}"),
)
"""The same with the best element of the study, which the hardware does not have yet."""
