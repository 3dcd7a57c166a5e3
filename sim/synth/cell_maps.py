"""Cells that yosys does not find by itself: full adders, and the other output of flip-flops."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .function import Function
from .liberty import Cell, Library

__all__ = ["RegisterPins", "full_adder_map", "register_pins", "use_complements"]

_XOR3, _MAJORITY = 0b10010110, 0b11101000


def full_adder_map(library: Library) -> str | None:
    """Return a map of ``FULLADD`` to the library's smallest full adder; None if it has none.

    Its function is the same for any order of its inputs, so pins are taken by their delay to the
    sum: the fastest is ``CI``, which gets the bit that comes last.
    """
    found = [cell for cell in library.cells.values() if _adder_outputs(cell) and not cell.dont_use]
    if not found:
        return None
    cell = min(found, key=lambda cell: cell.area_um2)
    sum_, carry = _adder_outputs(cell)
    pins = sorted((pin.name for pin in cell.inputs), key=lambda name: -_delay(cell, carry, name))
    inputs = ", ".join(f".{pin}({port})" for pin, port in zip(pins, "A B CI".split(), strict=True))
    return f"""(* techmap_celltype = "FULLADD" *)
module full_adder(input A, input B, input CI, output CO, output S);
  {cell.name} _TECHMAP_REPLACE_ ({inputs}, .{sum_}(S), .{carry}(CO));
endmodule
"""


def _adder_outputs(cell: Cell) -> tuple[str, str] | None:
    """Return the pins of sum and carry of a full adder; None of another cell."""
    if len(cell.inputs) != 3 or len(cell.outputs) != 2:
        return None
    by_table = {
        pin.function.table: pin.name
        for pin in cell.outputs
        if pin.function is not None and len(pin.function.inputs) == 3
    }
    if set(by_table) != {_XOR3, _MAJORITY}:
        return None
    return by_table[_XOR3], by_table[_MAJORITY]


def _delay(cell: Cell, output: str, name: str) -> float:
    """Return the delay of an input to an output, at the first slew and load of the table."""
    tables = [
        table
        for arc in cell.pins[output].arcs
        if arc.related == name
        for table in (arc.rise, arc.fall)
        if table is not None
    ]
    return max((float(table.values.max()) for table in tables), default=0.0)


@dataclass(frozen=True)
class RegisterPins:
    """Pins of a plain flip-flop: data, clock, output, and its complement if it has one."""

    data: str
    clock: str
    output: str
    inverted: str | None


def register_pins(library: Library) -> dict[str, RegisterPins]:
    """Return the flip-flops without set and reset, on the rising edge, by name."""
    found = {}
    for cell in library.cells.values():
        register = cell.register
        if register is None or register.clear is not None or register.preset is not None:
            continue
        data, clock = _wire(register.next_state), _wire(register.clocked_on)
        outputs = {
            pin.function.text.strip(): pin.name for pin in cell.outputs if pin.function is not None
        }
        state, complement = (*register.state, None)[:2]
        if data and clock and state in outputs:
            found[cell.name] = RegisterPins(data, clock, outputs[state], outputs.get(complement))
    return found


def _wire(function: Function) -> str | None:
    """Return the input that a function is, if it is one."""
    return function.inputs[0] if len(function.inputs) == 1 and function.table == 0b10 else None


def use_complements(
    netlist: dict[str, Any], library: Library, pins: Mapping[str, RegisterPins]
) -> int:
    """Let flip-flops drive what an inverter behind them drives; return the inverters that go.

    Parameters
    ----------
    netlist : dict
        As yosys writes it in JSON; it is changed.
    """
    inverters = {
        cell.name: tuple(pin.name for pin in both)
        for cell in library.cells.values()
        if not cell.dont_use and (both := cell.repeats(inverted=True))
    }
    gone = 0
    for module in netlist["modules"].values():
        cells = module["cells"]
        owners = {}
        for cell in cells.values():
            each = pins.get(cell["type"])
            if each is not None and each.inverted is not None:
                net = cell["connections"].get(each.output, [None])[0]
                if not cell["connections"].get(each.inverted):
                    owners[net] = cell, each
        for name in [name for name, cell in cells.items() if cell["type"] in inverters]:
            given, gives = inverters[cells[name]["type"]]
            connections = cells[name]["connections"]
            owner = owners.pop(connections[given][0], None)
            if owner is not None:
                cell, each = owner
                cell["connections"][each.inverted] = connections[gives]
                cell["port_directions"][each.inverted] = "output"
                del cells[name]
                gone += 1
    return gone
