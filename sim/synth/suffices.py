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


def _is_flip_flop(cell: Cell) -> bool:
    """Return whether a cell is a flip-flop that loads at a rising edge of one of its inputs."""
    clock = cell.register.clocked_on if cell.register else None
    inputs = {pin.name for pin in cell.inputs}
    return clock is not None and clock.table == 0b10 and inputs.issuperset(clock.inputs)


_GATES = (0b1000, 0b0111, 0b1110, 0b0001)

_NEEDED: dict[str, Callable[[Cell], object]] = {
    "flip-flop for rising edges": _is_flip_flop,
    "inverter": lambda cell: cell.repeats(inverted=True),
    "buffer": lambda cell: cell.repeats(inverted=False),
    "AND, OR, NAND or NOR of two inputs": _is_gate,
}
"""What every mapping takes."""


def require_mappable(library: Library) -> None:
    """Refuse a library that a design cannot be mapped to, or that does not tell all of its cells.

    Raises
    ------
    LibertyError
        The message names what is missing, or the first cell that lacks an area, delays, set-up or
        a capacitance, or speaks of pins that it does not have.
    """
    usable = [cell for cell in library.cells.values() if not cell.dont_use]
    for what, fits in _NEEDED.items():
        if not any(fits(cell) for cell in usable):
            raise LibertyError(f"{library.origin} holds no {what} to map the design to")
    for cell in usable:
        if not cell.outputs or not cell.inputs:
            continue  # fill, ties: nothing is asked of them
        if (fault := _fault(cell)) is not None:
            raise LibertyError(f"{library.origin}: cell {cell.name} {fault}")


def _fault(cell: Cell) -> str | None:
    """Return why a cell is of no use, if so; without some of these, paths would end unnoticed."""
    if cell.area_um2 <= 0:
        return "has no area"
    if not any(pin.arcs for pin in cell.outputs):
        return "has no delays"
    for pin in cell.pins.values():
        related = {each.related for each in (*pin.arcs, *pin.checks)}
        for name in sorted(related.union(*(power.related for power in pin.powers))):
            if name not in cell.pins:
                return f"relates its pin {pin.name} to {name}, which is none of its pins"
    if cell.register and not any(
        check.kind.startswith("setup_") for pin in cell.inputs for check in pin.checks
    ):
        return "is a flip-flop without a set-up time"
    for pin in cell.inputs:
        if max(pin.rise_ff, pin.fall_ff) <= 0:
            return f"has a pin {pin.name} without a capacitance"
    return None


def require_power(library: Library) -> None:
    """Refuse a library from which no energy can be told.

    Raises
    ------
    LibertyError
        No cell has internal power, or there is no voltage.
    """
    if library.voltage_v <= 0:
        raise LibertyError(
            f"{library.origin} has no nom_voltage: energy cannot be measured with it"
        )
    pins = (pin for cell in library.cells.values() for pin in cell.pins.values())
    if not any(pin.powers for pin in pins):
        raise LibertyError(
            f"{library.origin} has no internal_power: energy cannot be measured with it"
        )
