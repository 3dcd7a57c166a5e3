"""Whether a cell library suffices, told before anything is mapped to it."""

from __future__ import annotations

from collections.abc import Callable

from .liberty import Cell, Library
from .liberty_syntax import LibertyError

__all__ = ["require_mappable", "require_power"]


def _is_gate(cell: Cell) -> bool:
    """Return whether a cell is an AND, OR, NAND or NOR of two inputs."""
    if cell.register or cell.latch or cell.gating or len(cell.inputs) != 2:
        return False
    functions = [pin.function for pin in cell.outputs]
    return len(functions) == 1 and functions[0] is not None and functions[0].table in _GATES


_GATES = (0b1000, 0b0111, 0b1110, 0b0001)

_NEEDED: dict[str, Callable[[Cell], object]] = {
    "inverter": lambda cell: cell.repeats(inverted=True),
    "buffer": lambda cell: cell.repeats(inverted=False),
    "AND, OR, NAND or NOR of two inputs": _is_gate,
}
"""What every mapping takes, beside the flip-flop that a library is not read without."""


def require_mappable(library: Library) -> None:
    """Refuse a library that a design cannot be mapped to, or that tells no area or no delays.

    Raises
    ------
    LibertyError
        The message names what is missing, or the first cell without an area or delays.
    """
    usable = [cell for cell in library.cells.values() if not cell.dont_use]
    for what, fits in _NEEDED.items():
        if not any(fits(cell) for cell in usable):
            raise LibertyError(f"{library.origin} holds no {what} to map the design to")
    for cell in usable:
        if not cell.outputs or not cell.inputs:
            continue  # fill, ties: nothing is asked of them
        if cell.area_um2 <= 0:
            raise LibertyError(f"{library.origin}: cell {cell.name} has no area")
        if not any(pin.arcs for pin in cell.outputs):
            raise LibertyError(f"{library.origin}: cell {cell.name} has no delays")


def require_power(library: Library) -> None:
    """Refuse a library from which no energy can be told.

    Raises
    ------
    LibertyError
        No cell has internal power.
    """
    pins = (pin for cell in library.cells.values() for pin in cell.pins.values())
    if not any(pin.powers for pin in pins):
        raise LibertyError(
            f"{library.origin} has no internal_power: energy cannot be measured with it"
        )
