"""What a mapped design is made of: cells and area, module by module and unit by unit."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from .netlist import Netlist
from .units import unit_of

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

    def units(self) -> tuple[Share, ...]:
        """Return the units of an accelerator, the largest first."""
        found: dict[str, list[Share]] = {}
        for share in self.modules:
            found.setdefault(unit_of(share.name), []).append(share)
        units = [
            Share(
                name, 1, sum(s.cells for s in shares), sum(s.registers for s in shares),
                sum(s.area_um2 for s in shares),
            )
            for name, shares in found.items()
        ]  # fmt: skip
        return tuple(sorted(units, key=lambda unit: -unit.area_um2))


def census(netlist: Netlist, top: str | None = None) -> Census:
    """Count what is in a design, through all levels."""
    counts = _instances(netlist, top or netlist.top)
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


def _instances(netlist: Netlist, top: str) -> dict[str, int]:
    """Return how often each module is there, the top first."""
    order: list[str] = []

    def visit(name: str) -> None:
        if name not in order:
            for child in netlist.module(name).children:
                visit(child.module)
            order.append(name)

    visit(top)
    counts = dict.fromkeys(reversed(order), 0)
    counts[top] = 1
    for name in counts:
        for child in netlist.modules[name].children:
            counts[child.module] += counts[name]
    return counts
