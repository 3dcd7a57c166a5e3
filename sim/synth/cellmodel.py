"""What a library's cell does, as tables of states: for simulation, delays and energy alike."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from .errors import SynthError
from .function import Function
from .gate_kernel import FLIP_FLOP, GATE, LOGIC
from .liberty import Cell, PinPower

__all__ = ["CellModel", "SimulationError", "cell_model"]

_MOST_BITS = 6
"""A table of states is one word of 64 bits."""


class SimulationError(SynthError):
    """A circuit cannot be simulated; the message is one line that names what stands in the way."""


@dataclass(frozen=True, eq=False)
class CellModel:
    """A cell as tables.

    A *state* has the values of the inputs, the first lowest, and above them what is stored, if
    anything is. Whatever happens to a cell is a flip of one input in a state.

    Members
    -------
    cell : Cell
    kind : int
        ``LOGIC``, ``FLIP_FLOP`` or ``GATE``, see `sim.synth.gate_kernel`.
    inputs, outputs : tuple of str
    clock, enable : int
        Places of those inputs among `inputs`, or -1.
    tables : tuple of int
        Of each output: bit s is its value in state s.
    next_state : int
        Of a flip-flop, by the values of its inputs.
    stored : tuple of str
        Names under which conditions speak of what is stored, and of its inverse.
    """

    cell: Cell
    kind: int
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    clock: int
    enable: int
    tables: tuple[int, ...]
    next_state: int
    stored: tuple[str, ...]

    @property
    def bits(self) -> int:
        """Length of a state."""
        return len(self.inputs) + (self.kind != LOGIC)

    @property
    def flips(self) -> int:
        """How many pairs of an input and a state there are: ``input << bits | state``."""
        return len(self.inputs) << self.bits

    def after(self, pin: int, state: int) -> int:
        """Return the state that follows when an input flips in `state`."""
        new = state ^ 1 << pin
        memory = 1 << len(self.inputs)
        if self.kind == FLIP_FLOP and pin == self.clock and new >> pin & 1:
            held = self.next_state >> (state & (memory - 1)) & 1
        elif self.kind == GATE and not new >> self.clock & 1:
            held = new >> self.enable & 1
        else:
            return new
        return new & ~memory | held * memory

    def output(self, number: int, state: int) -> int:
        """Return the value of an output in a state."""
        return self.tables[number] >> state & 1

    @cached_property
    def names(self) -> tuple[dict[str, int], ...]:
        """Of each state, the value of everything a condition may speak of."""
        return tuple(self._names(state) for state in range(1 << self.bits))

    def _names(self, state: int) -> dict[str, int]:
        values = {name: state >> place & 1 for place, name in enumerate(self.inputs)}
        held = state >> len(self.inputs) & 1
        values |= {name: held ^ place for place, name in enumerate(self.stored)}
        return values | {
            name: self.output(number, state) for number, name in enumerate(self.outputs)
        }

    def holds(self, when: Function | None, state: int) -> bool:
        """Tell whether a condition holds in a state; None always does.

        Raises
        ------
        SimulationError
            It speaks of something that the cell does not have.
        """
        if when is None:
            return True
        try:
            return when(self.names[state])
        except KeyError as error:
            raise SimulationError(
                f"cell {self.cell.name}: the condition {when.text!r} names {error}, "
                "which is no pin and no state of it"
            ) from None

    def powers(self, output: int | None, pin: int, state: int) -> list[PinPower]:
        """Return what the library says of the energy inside when an input flips in `state`.

        Parameters
        ----------
        output : int or None
            The energy of an output's change that the flip brings, or of the flip itself.

        Returns
        -------
        list of PinPower
            Those whose condition holds before the flip; those without one, if there are none.
        """
        name = self.inputs[pin]
        if output is None:
            powers = [power for power in self.cell.pins[name].powers if not power.related]
        else:
            powers = [
                power
                for power in self.cell.pins[self.outputs[output]].powers
                if name in power.related
            ]
        found = [
            power for power in powers if power.when is not None and self.holds(power.when, state)
        ]
        return found or [power for power in powers if power.when is None]

    def leakage_nw(self, state: int) -> float:
        """Return the leakage in a state, or, where the library does not know it, the mean."""
        for leakage in self.cell.leakages:
            if leakage.when is not None and self.holds(leakage.when, state):
                return leakage.nw
        return self.cell.leakage_nw


def cell_model(cell: Cell) -> CellModel:
    """Return a cell as tables.

    Raises
    ------
    SimulationError
        The cell is of a kind that cannot be simulated here.
    """
    if cell.register is not None:
        return _flip_flop(cell)
    if cell.gating is not None:
        return _clock_gate(cell)
    if cell.latch is not None:
        raise _misfit(cell, "is a latch")
    inputs = tuple(pin.name for pin in cell.inputs)
    if any(pin.three_state is not None for pin in cell.outputs):
        raise _misfit(cell, "has an output of three states")
    return CellModel(
        cell,
        LOGIC,
        inputs,
        tuple(pin.name for pin in cell.outputs),
        clock=-1,
        enable=-1,
        tables=_tables(cell, inputs, ()),
        next_state=0,
        stored=(),
    )


def _flip_flop(cell: Cell) -> CellModel:
    register = cell.register
    if register.clear is not None or register.preset is not None:
        raise _misfit(cell, "has an asynchronous set or reset")
    clock = register.clocked_on
    if len(clock.inputs) != 1 or clock.table != 2:
        raise _misfit(cell, f"is clocked on {clock.text!r}, not on a rise")
    inputs = tuple(pin.name for pin in cell.inputs)
    return CellModel(
        cell,
        FLIP_FLOP,
        inputs,
        tuple(pin.name for pin in cell.outputs),
        clock=inputs.index(clock.inputs[0]),
        enable=-1,
        tables=_tables(cell, inputs, register.state),
        next_state=_table(cell, register.next_state, inputs),
        stored=register.state,
    )


def _clock_gate(cell: Cell) -> CellModel:
    roles = {pin.gate_role: pin.name for pin in cell.pins.values() if pin.gate_role}
    inputs = tuple(pin.name for pin in cell.inputs)
    plain = {"clock", "enable", "out"} == set(roles) and len(inputs) == len(cell.outputs) + 1 == 2
    if cell.gating != "latch_posedge" or not plain:
        raise _misfit(cell, f"is a clock gate of the kind {cell.gating!r}, not 'latch_posedge'")
    clock, enable = inputs.index(roles["clock"]), inputs.index(roles["enable"])
    state = tuple(pin.name for pin in cell.pins.values() if pin.direction == "internal")
    # The output is the clock while the latch holds a one.
    table = sum(1 << s for s in range(8) if s >> clock & 1 and s >> 2)
    return CellModel(
        cell, GATE, inputs, (roles["out"],), clock, enable, (table,), next_state=0, stored=state[:1]
    )


def _tables(cell: Cell, inputs: tuple[str, ...], stored: tuple[str, ...]) -> tuple[int, ...]:
    """Return the table of each output over the inputs and what is stored."""
    tables = []
    for pin in cell.outputs:
        if pin.function is None:
            raise _misfit(cell, f"has no function of its output {pin.name}")
        function, inverse = pin.function, 0
        if len(stored) > 1 and function.inputs == (stored[1],):
            inverse = 1
            names = (*inputs, stored[1])
        else:
            names = (*inputs, *stored[:1])
        table = _table(cell, function, names)
        if inverse:  # the table is over the inverse: swap its halves
            half = 1 << len(inputs)
            table = table >> half | (table & (1 << half) - 1) << half
        tables.append(table)
    return tuple(tables)


def _table(cell: Cell, function: Function, names: tuple[str, ...]) -> int:
    """Return a function as a table over `names`, the first in the lowest bit of its index."""
    if len(names) > _MOST_BITS:
        raise _misfit(cell, f"has {len(names)} inputs and states, more than {_MOST_BITS}")
    for name in function.inputs:
        if name not in names:
            raise _misfit(cell, f"has a function of {name}, which is no input or state of it")
    return sum(
        1 << index
        for index in range(1 << len(names))
        if function({name: index >> place & 1 for place, name in enumerate(names)})
    )


def _misfit(cell: Cell, what: str) -> SimulationError:
    return SimulationError(f"cell {cell.name} {what}; accepted: gates, flip-flops, clock gates")
