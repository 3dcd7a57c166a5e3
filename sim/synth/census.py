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


@dataclass(frozen=True)
class _Own:
    """Cells of one instance of a module, without those of modules inside."""

    cells: int
    registers: int
    area_um2: float


@dataclass(frozen=True)
class Census:
    """What `census` counts: cells and macros by kind, and the modules, each with its own cells."""

    instances: dict[str, int]
    own: dict[str, _Own]
    kinds: dict[str, int]
    macros: dict[str, int]

    @property
    def modules(self) -> tuple[Share, ...]:
        """The modules, the top first."""
        return tuple(self._share(name, n, {name: n}) for name, n in self.instances.items())

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
        found: dict[str, dict[str, int]] = {}
        for (unit, module), instances in owned(netlist).items():
            found.setdefault(unit, {})[module] = instances
        units = [self._share(unit, 1, modules) for unit, modules in found.items()]
        return tuple(sorted(units, key=lambda unit: -unit.area_um2))

    def _share(self, name: str, instances: int, modules: dict[str, int]) -> Share:
        """Return so many of some modules as one part."""
        parts = [(count, self.own[module]) for module, count in modules.items()]
        return Share(
            name,
            instances,
            sum(count * each.cells for count, each in parts),
            sum(count * each.registers for count, each in parts),
            sum(count * each.area_um2 for count, each in parts),
        )


def census(netlist: Netlist, top: str | None = None) -> Census:
    """Count what is in a design, through all levels."""
    instances, own = netlist.instances(top), {}
    areas = np.array([kind.cell.area_um2 if kind.cell else 0.0 for kind in netlist.kinds])
    kinds, macros = Counter(), Counter()
    for name, count in instances.items():
        of = np.bincount(netlist.modules[name].kinds, minlength=len(areas))
        registers = cells = 0
        for index in np.flatnonzero(of):
            kind, number = netlist.kinds[index], int(of[index])
            (macros if kind.cell is None else kinds)[kind.name] += count * number
            if kind.cell is not None:
                cells += number
                registers += number if kind.cell.register is not None else 0
        own[name] = _Own(cells, registers, float(of @ areas))
    return Census(instances, own, dict(kinds), dict(macros))
