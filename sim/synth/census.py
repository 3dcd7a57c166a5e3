"""What a mapped design is made of: cells and area, module by module and unit by unit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from .netlist import Netlist
from .units import owned

__all__ = ["Census", "Share", "census"]


@dataclass(frozen=True)
class Share:
    """A part of a design.

    Members
    -------
    name : str
    instances : int
        Of the module; of a unit, 1.
    cells, registers : int
        Cells in all instances, and how many of them are flip-flops.
    area_um2 : float
        Of all instances.
    """

    name: str
    instances: int
    cells: int
    registers: int
    area_um2: float

    def of_one(self) -> Share:
        """Return the share of one instance."""
        n = self.instances
        return Share(self.name, 1, self.cells // n, self.registers // n, self.area_um2 / n)


@dataclass(frozen=True)
class Census:
    """What `census` counts; the modules' own cells only, without those of modules inside."""

    modules: tuple[Share, ...]
    kinds: dict[str, int]
    macros: dict[str, int]

    @property
    def cells(self) -> int:
        """Cells in all."""
        return sum(share.cells for share in self.modules)

    @property
    def area_um2(self) -> float:
        """Area of all cells."""
        return sum(share.area_um2 for share in self.modules)

    def units(self, netlist: Netlist) -> tuple[Share, ...]:
        """Return the units of an accelerator, the largest first."""
        by_name = {share.name: share for share in self.modules}
        found: dict[str, list[tuple[int, Share]]] = {}
        for (unit, module), instances in owned(netlist).items():
            found.setdefault(unit, []).append((instances, by_name[module].of_one()))
        units = [
            Share(
                unit,
                1,
                sum(times * each.cells for times, each in parts),
                sum(times * each.registers for times, each in parts),
                sum(times * each.area_um2 for times, each in parts),
            )
            for unit, parts in found.items()
        ]
        return tuple(sorted(units, key=lambda unit: -unit.area_um2))


def census(netlist: Netlist, top: str | None = None) -> Census:
    """Count what is in a design, through all levels."""
    counts = netlist.instances(top)
    areas = np.array([kind.cell.area_um2 if kind.cell else 0.0 for kind in netlist.kinds])
    modules, kinds, macros = [], Counter(), Counter()
    for name, count in counts.items():
        of = np.bincount(netlist.modules[name].kinds, minlength=len(areas))
        registers = cells = 0
        for index in np.flatnonzero(of):
            kind, number = netlist.kinds[index], int(of[index])
            (macros if kind.cell is None else kinds)[kind.name] += count * number
            if kind.cell is not None:
                cells += number
                registers += number if kind.cell.register is not None else 0
        modules.append(
            Share(name, count, count * cells, count * registers, count * float(of @ areas))
        )
    return Census(tuple(modules), dict(kinds), dict(macros))
