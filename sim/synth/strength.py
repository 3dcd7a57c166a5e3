"""Cells that can stand for one another: the same pins and functions, other strengths."""

from __future__ import annotations

from typing import Any

from .liberty import Cell, Library

__all__ = ["families", "stronger"]


def families(library: Library) -> list[tuple[Cell, ...]]:
    """Return the cells of each function that may be used, the smallest first."""
    alike: dict[Any, list[Cell]] = {}
    for cell in library.cells.values():
        if not cell.dont_use and cell.latch is None:
            alike.setdefault(_what(cell), []).append(cell)
    return [tuple(sorted(cells, key=lambda cell: cell.area_um2)) for cells in alike.values()]


def stronger(library: Library) -> dict[str, tuple[str, ...]]:
    """Return the larger cells of the same pins and functions, by the name of each cell."""
    return {
        cell.name: tuple(each.name for each in cells[place + 1 :])
        for cells in families(library)
        for place, cell in enumerate(cells)
    }


def _what(cell: Cell) -> tuple:
    """Return what two cells have in common that can stand for one another."""
    functions = tuple(
        (
            pin.name,
            pin.direction,
            pin.gate_role,
            *(
                function and (function.inputs, function.table)
                for function in (pin.function, pin.three_state, pin.state_function)
            ),
        )
        for pin in cell.pins.values()
    )
    register = cell.register
    kind = None
    if register is not None:
        kind = tuple(
            function and (function.inputs, function.table)
            for function in (
                register.next_state, register.clocked_on, register.clear, register.preset
            )
        )  # fmt: skip
    return functions, kind, cell.gating
