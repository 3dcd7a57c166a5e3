"""Area of an accelerator at 45 nm: cells and SRAM, without place and route.

As in the paper's figures, cell area is added to the area of memories; rows, wires, clock tree, pads
and the fill between cells are not included, and neither is the DRAM's interface.
"""

from __future__ import annotations

from dataclasses import dataclass

from hw.isa.config import Config

from .costs import ELEMENTS, CostTable, costs_of
from .macros import memories

__all__ = ["Area", "area"]

_MM2 = 1e-6
"""Square millimetres in a square micrometre."""


@dataclass(frozen=True)
class Area:
    """Area by component, in mm2: the units of `sim.synth.units`, and the memories."""

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


def area(config: Config, costs: CostTable | None = None) -> Area:
    """Add up an accelerator.

    Parameters
    ----------
    config : Config
        The accelerator.
    costs : CostTable, optional
        Areas of its units, and how its memories are cut into banks; by default as it is built.
    """
    costs = costs or costs_of(config)
    cells = {ELEMENTS: config.rows * config.columns * costs.pe_area.value}
    cells |= {name: unit.area_um2 for name, unit in costs.units.items()}
    sram = {
        memory.title: memory.copies * memory.banks(costs.sram).area_mm2
        for memory in memories(config)
    }
    return Area({name: _MM2 * um2 for name, um2 in cells.items()} | sram)
