"""Energy of a simulated circuit: what moved in it, times what the library says of each move.

- Each transition of a net takes ``C V^2 / 2``, C its pins and wires.
- Each flip of an input and each change of an output that it brings takes the energy that the
  library's internal-power tables have for it, by slew and load, in the state before the flip:
  conditions (``when``) are respected, not averaged. An output that nothing is connected to counts,
  too: libraries split a cell's energy over its outputs.
- Leakage is by state, each for as long as a cell was in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .cellmodel import CellModel
from .circuit import Circuit
from .gate_kernel import FLIP_FLOP, GATE
from .gates import Activity
from .liberty import PinPower
from .loads import FALL, RISE, Conditions, Loads, changes

__all__ = ["Breakdown", "Part", "Prices"]


class Part(IntEnum):
    """Where energy goes.

    INPUTS are the nets of input ports, ADDERS cells of two outputs (full and half adders), LOGIC
    all others without a state; REGISTERS the data side of flip-flops, CLOCK clock nets, clock pins
    and clock gates. The net behind an output belongs to what drives it.
    """

    INPUTS = 0
    LOGIC = 1
    ADDERS = 2
    REGISTERS = 3
    CLOCK = 4
    LEAKAGE = 5


@dataclass(frozen=True)
class Breakdown:
    """Mean energy of a cycle, in fJ.

    Members
    -------
    parts : dict of Part to float
    swallowed : float
        Not among them: what pulses that gates swallowed would take if they were full swings. The
        truth lies between nothing and that.
    """

    parts: dict[Part, float]
    swallowed: float = 0.0

    def __getitem__(self, part: Part) -> float:
        return self.parts[part]

    @property
    def total(self) -> float:
        """Everything, in fJ a cycle."""
        return sum(self.parts.values())

    @property
    def dynamic(self) -> float:
        """Everything but leakage, in fJ a cycle."""
        return self.total - self.parts[Part.LEAKAGE]

    def __str__(self) -> str:
        """Return the parts in one line."""
        each = ", ".join(f"{part.name.lower()} {fj:.1f}" for part, fj in self.parts.items())
        return f"{self.total:.1f} fJ a cycle ({each})"


class Prices:
    """What every countable event of a circuit takes.

    Parameters
    ----------
    circuit : Circuit
    conditions : Conditions

    Members
    -------
    loads : Loads
    toggle_fj : float64 (nets,)
    arc_fj, flip_fj, state_nw : float64
        At the places of the counts in `Activity`.
    """

    def __init__(self, circuit: Circuit, conditions: Conditions) -> None:
        self.circuit, self.conditions = circuit, conditions
        self.loads = Loads(circuit, conditions)
        self.toggle_fj = self.loads.net_ff * circuit.library.voltage_v**2 / 2
        self.arc_fj = np.zeros(int(circuit.arcs[-1]))
        self.flip_fj = np.zeros(int(circuit.flips[-1]))
        self.state_nw = np.zeros(int(circuit.states[-1]))
        for cells, model in circuit.alike():
            self._price(cells, model)
        self._arc_net_fj = np.repeat(self.toggle_fj[circuit.driven], np.diff(circuit.arcs))
        self._parts()

    def _price(self, cells: np.ndarray, model: CellModel) -> None:
        circuit, loads = self.circuit, self.loads
        for number, pin, state, edge in changes(model):
            outputs = circuit.first_output[cells] + number
            load = loads.net_ff[circuit.driven[outputs]]
            powers = model.powers(number, pin, state)
            energy = self._energy(powers, edge, cells, pin, state, load)
            self.arc_fj[circuit.arcs[outputs] + (pin << model.bits | state)] = energy
        none = np.zeros(len(cells))
        for pin in range(len(model.inputs)):
            for state in range(1 << model.bits):
                edge = FALL if state >> pin & 1 else RISE
                powers = model.powers(None, pin, state)
                energy = self._energy(powers, edge, cells, pin, state, none)
                self.flip_fj[circuit.flips[cells] + (pin << model.bits | state)] = energy
        for state in range(1 << model.bits):
            self.state_nw[circuit.states[cells] + state] = model.leakage_nw(state)

    def _energy(
        self,
        powers: list[PinPower],
        edge: int,
        cells: np.ndarray,
        pin: int,
        state: int,
        load: np.ndarray,
    ) -> np.ndarray:
        """Return fJ of an edge in each cell: the mean, should more than one table be right."""
        tables = [(power.fall, power.rise)[edge] for power in powers]
        before = FALL if state >> pin & 1 else RISE
        slew = self.loads.slew_ns[before, self.circuit.pins[cells, pin]]
        found = [table.at(slew, load) for table in tables if table is not None]
        return np.sum(found, axis=0) / len(tables) if found else np.zeros(len(cells))

    def _parts(self) -> None:
        """Say which part each count belongs to."""
        circuit = self.circuit
        part_of = [_part(model) for model in circuit.models]
        self._net_part = np.full(circuit.nets, Part.INPUTS, np.int64)
        self._arc_part = np.zeros(int(circuit.arcs[-1]), np.int64)
        self._flip_part = np.zeros(int(circuit.flips[-1]), np.int64)
        for cell, (model, part) in enumerate(zip(circuit.models, part_of, strict=True)):
            for output in range(circuit.first_output[cell], circuit.first_output[cell + 1]):
                self._net_part[circuit.driven[output]] = part
                self._arc_part[circuit.arcs[output] : circuit.arcs[output + 1]] = part
            begin = circuit.flips[cell]
            self._flip_part[begin : begin + model.flips] = part
            if model.clock >= 0:
                begin += model.clock << model.bits
                self._flip_part[begin : begin + (1 << model.bits)] = Part.CLOCK
        self._net_part[list(circuit.clock_nets)] = Part.CLOCK

    def breakdown(self, activity: Activity, phase: int = 0) -> Breakdown:
        """Return the mean energy of a cycle of one phase.

        Raises
        ------
        ValueError
            There was no cycle of that phase.
        """
        cycles = int(activity.cycles[phase]) if phase < len(activity.cycles) else 0
        if not cycles:
            raise ValueError(f"no cycle of phase {phase} was simulated")
        found = np.zeros(len(Part))
        for counts, prices, parts in (
            (activity.toggles, self.toggle_fj, self._net_part),
            (activity.arcs, self.arc_fj, self._arc_part),
            (activity.flips, self.flip_fj, self._flip_part),
        ):
            found += np.bincount(parts, counts[phase] * prices, minlength=len(Part))
        leaks = activity.states[phase] @ self.state_nw / 2  # half cycles
        found[Part.LEAKAGE] = leaks * self.conditions.period_ns * 1e-3  # nW ns = 1e-3 fJ
        swallowed = activity.swallowed[phase] @ (self.arc_fj + self._arc_net_fj)
        return Breakdown(
            {part: float(found[part] / cycles) for part in Part}, float(swallowed / cycles)
        )


def _part(model: CellModel) -> Part:
    """Return the part that a cell's own energy belongs to."""
    if model.kind == FLIP_FLOP:
        return Part.REGISTERS
    if model.kind == GATE:
        return Part.CLOCK
    return Part.ADDERS if len(model.outputs) > 1 else Part.LOGIC
