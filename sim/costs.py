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

__all__ = ["COSTS", "MULTIPLIER_TREE", "ORIGINS", "Cost", "CostTable"]

ORIGINS = {
    "study": "measured for the design study that preceded this hardware: yosys, Nangate45 typical "
    "(1.1 V, 25 C), 400 MHz; not this hardware's own element",
    "synthesis": "cells of this hardware, preset paper: yosys 0.70 with the hierarchy kept, booth "
    "(for the element -lowpower), clockgate and abc, Nangate45 typical (1.1 V, 25 C)",
    "library": "the Liberty file of Nangate45 typical (1.1 V, 25 C), internal power and pins",
    "literature": "published figures, named with the entry",
}
"""What the first word of a source stands for."""


@dataclass(frozen=True)
class Cost:
    """A number, its unit, and where it is from: a word of `ORIGINS`, a colon, and the details."""

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
    gate_clock: Cost = _entry("clock of a clock gate that stays shut")
    wire: Cost = _entry("a bit of random data over a wire between memory and array")
    dram_ddr3: Cost = _entry("a byte from or to DRAM of the DDR3 class")
    dram_lpddr4_low: Cost = _entry("a byte from or to DRAM of the LPDDR4 class, the least")
    dram_lpddr4_high: Cost = _entry("a byte from or to DRAM of the LPDDR4 class, the most")
    pe_area: Cost = _entry("an element")
    flop_area: Cost = _entry("a flip-flop of the skew at the array's edges")
    word_area: Cost = _entry("a bit of the transposer's words, with its part of the choice of one")
    accumulate_lane_area: Cost = _entry("a column of the accumulator, without its memory")
    store_lane_area: Cost = _entry(
        "a column of the store engine, with its share of the maxima tree"
    )
    bus_area: Cost = _entry(
        "queues and gearboxes of fetch, load, store and AXI, for each byte of the bus"
    )
    control_area: Cost = _entry("all else, at any size: controller, registers, walks, scale maker")
    sram: Organisation = Organisation()
    """Banks of the memories; their figures are points of `sim.sram_table`."""

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


COSTS = CostTable(
    # hw/pe.py has a second sum register, which hides the drain; nothing nearer to it was measured.
    mac_zero_delay=Cost(
        1.32, "pJ", "study: minimal element, `*`, booth -lowpower, clock gates; WS"
    ),
    mac_ws=Cost(2.64, "pJ", "study: minimal element, `*`, booth -lowpower, clock gates"),
    mac_os=Cost(3.14, "pJ", "study: minimal element, `*`, booth -lowpower, clock gates"),
    pe_clock=Cost(
        0.084, "pJ a cycle", "library: 6 DFF_X1 of the control at 8.0 fJ, 5 CLKGATE_X1 at 7.1 fJ"
    ),
    pe_leakage=Cost(0.0221, "mW", "synthesis: sum of the cells' leakage"),
    flop_clock=Cost(0.0080, "pJ", "library: DFF_X1, both edges at a slope of 17 ps, clock pin"),
    flop_move=Cost(
        0.0113, "pJ", "library: DFF_X1, half of the cycles with a new value, 3 fF at the output"
    ),
    gate_clock=Cost(0.0071, "pJ", "library: CLKGATE_X1, both edges, clock pin"),
    wire=Cost(
        0.032,
        "pJ a bit and mm",
        "literature: C V^2 / 4 (a rise every fourth cycle) at 1.1 V with 105 fF/mm, metal3 in "
        "OpenROAD-flow-scripts, platforms/nangate45/setRC.tcl; without repeaters",
    ),
    dram_ddr3=Cost(
        160, "pJ a byte", "literature: Horowitz, ISSCC 2014, 1.3 nJ for 64 bits at least"
    ),
    dram_lpddr4_low=Cost(32, "pJ a byte", "literature: 4 pJ a bit, usual for the class"),
    dram_lpddr4_high=Cost(48, "pJ a byte", "literature: 6 pJ a bit, usual for the class"),
    pe_area=Cost(1069, "um2", "synthesis: hw/pe.py"),
    flop_area=Cost(4.522, "um2", "library: DFF_X1"),
    word_area=Cost(6.27, "um2", "synthesis: hw/words.py, 64 words of 8 bits"),
    accumulate_lane_area=Cost(5026, "um2", "synthesis: hw/accumulate.py, a 64th"),
    store_lane_area=Cost(10_903, "um2", "synthesis: hw/postlane.py and a 64th of RowMaximum"),
    bus_area=Cost(4006, "um2", "synthesis: a 64th of these units"),
    control_area=Cost(101_365, "um2", "synthesis: what is left"),
    sram=Organisation(Cell.LSTP, bank_bytes=32768, bank_width=16),
)
"""The hardware as it is."""

_TREE = "study: minimal element, Baugh-Wooley tree of FA_X1 cells, clock gates"

MULTIPLIER_TREE = COSTS.replace(
    mac_zero_delay=Cost(1.13, "pJ", f"{_TREE}; WS"),
    mac_ws=Cost(1.71, "pJ", _TREE),
    mac_os=Cost(1.37, "pJ", _TREE),
    pe_area=Cost(1132, "um2", f"{_TREE}; 762, and 370 for the sum register that hides a drain"),
)
"""The same with the best element of the study, which the hardware does not have yet."""
