"""Area of an accelerator at 45 nm: cells and SRAM, without place and route.

As in the paper's figures, cell area is added to the area of memories; rows, wires, clock tree, pads
and the fill between cells are not included, and neither is the DRAM's interface.
"""

from __future__ import annotations

from dataclasses import dataclass

from hw.isa.config import Config

from .costs import COSTS, CostTable
from .energy import edge_bits
from .macros import memories

__all__ = ["Area", "area"]

_MM2 = 1e-6
"""Square millimetres in a square micrometre."""


@dataclass(frozen=True)
class Area:
    """Area by component, in mm2."""

    components: dict[str, float]

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.components.values())

    @property
    def memories(self) -> float:
        """All SRAM."""
        return sum(mm2 for name, mm2 in self.components.items() if name.endswith(" memory"))

    def __str__(self) -> str:
        """Return the components as text."""
        rows = [*self.components.items(), ("total", self.total)]
        return "\n".join(["mm2", *(f"{name:24}{mm2:10.4f}" for name, mm2 in rows)])


def area(config: Config, costs: CostTable = COSTS) -> Area:
    """Add up an accelerator.

    Parameters
    ----------
    config : Config
        The accelerator.
    costs : CostTable
        Areas of its units, and how its memories are cut into banks.
    """
    cells = {
        # An element of several products is charged as so many of one, which it is smaller than.
        "elements": config.macs_per_cycle * costs.pe_area.value,
        "skew at the edges": sum(edge_bits(config)) * costs.flop_area.value,
        "transposer": 8 * config.transpose_columns**2 * costs.word_area.value,
        "accumulator lanes": config.columns * costs.accumulate_lane_area.value,
        "store lanes": config.columns * costs.store_lane_area.value,
        "bus": config.bus_bytes * costs.bus_area.value,
        "control": costs.control_area.value,
    }
    sram = {
        memory.title: memory.copies * memory.banks(costs).area_mm2 for memory in memories(config)
    }
    return Area({name: _MM2 * um2 for name, um2 in cells.items()} | sram)
