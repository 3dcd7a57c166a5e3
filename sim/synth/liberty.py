"""What a cell library says of its cells: units are um2, ns, fF, nW, fJ and V throughout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from .function import Function
from .table import Table

__all__ = [
    "Arc",
    "Cell",
    "CellPin",
    "Check",
    "Direction",
    "Latch",
    "Leakage",
    "Library",
    "PinPower",
    "Register",
    "Sense",
    "WireLoad",
]


class Direction(StrEnum):
    """Direction of a pin."""

    INPUT = "input"
    OUTPUT = "output"
    INOUT = "inout"
    INTERNAL = "internal"


class Sense(StrEnum):
    """Which edge of the output follows an edge of the input."""

    POSITIVE = "positive_unate"
    NEGATIVE = "negative_unate"
    NONE = "non_unate"


@dataclass(frozen=True, eq=False)
class Arc:
    """A path through a cell, from pin `related` to the output that holds it.

    Members
    -------
    kind : str
        ``timing_type`` of Liberty: ``combinational``, ``rising_edge``, ``clear`` and so on.
    when : Function or None
        Condition on the other pins under which it holds.
    rise, fall : Table or None
        Delay to the output's edge, in ns by input slew (ns) and load (fF); None if there is none.
    rise_slew, fall_slew : Table or None
        Slew of the output, the same.
    """

    related: str
    kind: str
    sense: Sense
    when: Function | None
    rise: Table | None
    fall: Table | None
    rise_slew: Table | None
    fall_slew: Table | None


@dataclass(frozen=True, eq=False)
class Check:
    """A constraint of the pin that holds it, against an edge of `related`.

    Members
    -------
    kind : str
        ``setup_rising``, ``hold_rising``, ``recovery_rising``, ``min_pulse_width`` and so on.
    rise, fall : Table or None
        For the pin's own edge, in ns by its slew and that of the related pin (ns).
    """

    related: str
    kind: str
    when: Function | None
    rise: Table | None
    fall: Table | None


@dataclass(frozen=True, eq=False)
class PinPower:
    """Energy inside the cell of an edge of the pin that holds it.

    Members
    -------
    related : tuple of str
        Inputs that cause it; empty where the pin is itself an input (hidden power).
    when : Function or None
    rise, fall : Table or None
        In fJ, by slew of the related input, or of the pin itself (ns), and load (fF).
    """

    related: tuple[str, ...]
    when: Function | None
    rise: Table | None
    fall: Table | None


@dataclass(frozen=True, eq=False)
class CellPin:
    """A pin of a cell.

    Members
    -------
    rise_ff, fall_ff, capacitance_ff : float
        Capacitance for each edge, and for either.
    max_capacitance_ff, max_slew_ns : float or None
        Load of an output, and slew, beyond which the library does not answer for it.
    clock : bool
    function, state_function, three_state : Function or None
    gate_role : str or None
        ``clock``, ``enable``, ``out``, ``test`` or ``obs`` in a clock gate.
    arcs, checks, powers : tuple
    """

    name: str
    direction: Direction
    rise_ff: float = 0.0
    fall_ff: float = 0.0
    capacitance_ff: float = 0.0
    max_capacitance_ff: float | None = None
    max_slew_ns: float | None = None
    clock: bool = False
    function: Function | None = None
    state_function: Function | None = None
    three_state: Function | None = None
    gate_role: str | None = None
    arcs: tuple[Arc, ...] = ()
    checks: tuple[Check, ...] = ()
    powers: tuple[PinPower, ...] = ()


@dataclass(frozen=True, eq=False)
class Leakage:
    """Power in nW while nothing moves, in the states of `when`; `output` and inputs by name."""

    when: Function | None
    nw: float


@dataclass(frozen=True)
class Register:
    """A flip-flop's group: names of the state and its inverse, and what they become."""

    state: tuple[str, ...]
    next_state: Function
    clocked_on: Function
    clear: Function | None
    preset: Function | None


@dataclass(frozen=True)
class Latch:
    """A latch's group."""

    state: tuple[str, ...]
    data_in: Function | None
    enable: Function | None
    clear: Function | None
    preset: Function | None


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell.

    Members
    -------
    leakage_nw : float
        ``cell_leakage_power``, where no state is known.
    leakages : tuple of Leakage
    pins : mapping of str to CellPin
        In the file's order; internal pins are among them.
    register : Register or None
    latch : Latch or None
    gating : str or None
        ``clock_gating_integrated_cell``: the kind of clock gate.
    dont_use : bool
    """

    name: str
    area_um2: float
    leakage_nw: float
    leakages: tuple[Leakage, ...]
    pins: Mapping[str, CellPin]
    register: Register | None = None
    latch: Latch | None = None
    gating: str | None = None
    dont_use: bool = False

    @property
    def inputs(self) -> tuple[CellPin, ...]:
        """Input pins, in the file's order."""
        return tuple(pin for pin in self.pins.values() if pin.direction is Direction.INPUT)

    @property
    def outputs(self) -> tuple[CellPin, ...]:
        """Output pins, in the file's order."""
        return tuple(pin for pin in self.pins.values() if pin.direction is Direction.OUTPUT)

    def repeats(self, *, inverted: bool) -> tuple[CellPin, CellPin] | None:
        """Return input and output of a buffer, or of an inverter; None of any other cell."""
        if self.register or self.latch or self.gating:
            return None
        if len(self.inputs) != 1 or len(self.outputs) != 1:
            return None
        (output,) = self.outputs
        function = output.function
        if function is None or output.three_state or len(function.inputs) != 1:
            return None
        return (*self.inputs, output) if function.table == (0b01 if inverted else 0b10) else None


@dataclass(frozen=True)
class WireLoad:
    """Wire by fanout, as estimated before placement.

    Members
    -------
    ff_per_unit, kohm_per_unit : float
        Capacitance and resistance of a unit of length.
    slope : float
        Length of each load beyond the last of `lengths`.
    lengths : tuple of (int, float)
        Fanout and length, rising.
    """

    name: str
    ff_per_unit: float
    kohm_per_unit: float
    slope: float
    lengths: tuple[tuple[int, float], ...]

    def length(self, fanout: int) -> float:
        """Return the length of a net; between two fanouts of the table, in proportion."""
        if not self.lengths:
            return self.slope * fanout
        first, last = self.lengths[0], self.lengths[-1]
        if fanout <= first[0]:
            return first[1] - self.slope * (first[0] - fanout) if fanout else 0.0
        if fanout >= last[0]:
            return last[1] + self.slope * (fanout - last[0])
        for (low, short), (high, long) in zip(self.lengths, self.lengths[1:], strict=False):
            if fanout < high:
                return short + (long - short) * (fanout - low) / (high - low)
        raise AssertionError("fanouts of a wire load rise")

    def capacitance_ff(self, fanout: int) -> float:
        """Return the capacitance of a net with `fanout` loads."""
        return self.ff_per_unit * self.length(fanout)

    def resistance_kohm(self, fanout: int) -> float:
        """Return the resistance of a net with `fanout` loads."""
        return self.kohm_per_unit * self.length(fanout)


@dataclass(frozen=True, eq=False)
class Library:
    """A cell library at one corner.

    Members
    -------
    name : str
    origin : str
        The file, as messages name it.
    digest : str
        sha256 of its text.
    voltage_v, temperature_c : float
    max_slew_ns : float or None
        For pins that do not say.
    cells : mapping of str to Cell
    wire_loads : mapping of str to WireLoad
    default_wire_load : str or None
    """

    name: str
    origin: str
    digest: str
    voltage_v: float
    temperature_c: float
    max_slew_ns: float | None
    cells: Mapping[str, Cell]
    wire_loads: Mapping[str, WireLoad] = field(default_factory=dict)
    default_wire_load: str | None = None
