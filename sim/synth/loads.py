"""Loads, slews and delays of a circuit's nets, for its simulation: a static pass over all cells.

A slew is the mean over the ways in which a net can get its edge, not the worst, since what follows
is simulated, not bounded. Delays are those of the library's tables for the flipping input, the
state and the output's edge, one for each. The clock is ideal and has one slew everywhere.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .cellmodel import CellModel
from .circuit import Circuit, bits
from .gate_kernel import FLIP_FLOP, GATE, LOGIC
from .gates import TICK_NS, Delays
from .liberty import Arc, Sense, WireLoad
from .netlist import ONE, ZERO

__all__ = ["Conditions", "Loads", "changes"]

FALL, RISE = 0, 1


@dataclass(frozen=True)
class Conditions:
    """What a netlist does not say.

    Members
    -------
    wire_load : WireLoad or None
        Wires of each net by its fanout; None leaves them out.
    link_ff : float
        Wire of each input but the clock: the way from the neighbour that drives it.
    period_ns : float
        Of the clock, which is high for half of it.
    clock_slew_ns : float
    input_slew_ns : float
        Of inputs, where the circuit has no flip-flop that stands for what drives them.
    """

    wire_load: WireLoad | None = None
    link_ff: float = 0.0
    period_ns: float = 2.5
    clock_slew_ns: float = 0.02
    input_slew_ns: float = 0.02


class Loads:
    """Capacitance and slews of every net.

    Inputs change as if a flip-flop of the circuit's most frequent kind drove each.

    Members
    -------
    net_ff : float64 (nets,)
        Of pins, each the mean of its edges, and wires.
    slew_ns : float64 (2, nets)
        Falls and rises.
    """

    def __init__(self, circuit: Circuit, conditions: Conditions) -> None:
        self.circuit, self.conditions = circuit, conditions
        self.net_ff = self._capacitances()
        self.slew_ns = np.full((2, circuit.nets), conditions.input_slew_ns)
        self.slew_ns[:, list(circuit.clock_nets)] = conditions.clock_slew_ns
        self._inputs()
        self._propagate()

    def _capacitances(self) -> np.ndarray:
        circuit, load = self.circuit, self.conditions.wire_load
        found = np.zeros(circuit.nets)
        for net, users in enumerate(circuit.users):
            for cell, place in users:
                model = circuit.models[cell]
                pin = model.cell.pins[model.inputs[place]]
                found[net] += (pin.rise_ff + pin.fall_ff) / 2
            if load is not None and users and net not in (ZERO, ONE):
                found[net] += load.capacitance_ff(len(users))
        for net, ff in circuit.macro_ff.items():
            found[net] += ff
        found[bits(circuit.inputs.values())] += self.conditions.link_ff
        return found

    def _inputs(self) -> None:
        """Let flip-flops drive the inputs, and note when they change."""
        circuit = self.circuit
        nets = bits(circuit.inputs.values())
        kinds = Counter(model.cell.name for model in circuit.models if model.kind == FLIP_FLOP)
        self.input_ns = np.full(len(nets), TICK_NS)
        if not kinds or not nets:
            return
        (name, _), *_ = kinds.most_common(1)
        model = next(model for model in circuit.models if model.cell.name == name)
        arcs = model.cell.pins[model.outputs[0]].arcs
        clock, load = np.full(len(nets), self.conditions.clock_slew_ns), self.net_ff[nets]
        delays = []
        for edge in (FALL, RISE):
            self.slew_ns[edge, nets] = _mean(arcs, edge, 1, clock, load)
            delays += [_mean(arcs, edge, 0, clock, load)]
        self.input_ns = np.mean(delays, axis=0)

    def _propagate(self) -> None:
        """Take slews from cell to cell, those of one kind and level at once."""
        circuit = self.circuit
        alike = [(cells, model) for cells, model in circuit.alike() if model.kind != GATE]
        for cells, model in alike:
            if model.kind == FLIP_FLOP:
                self._slews(cells)
        logic = [cells for cells, model in alike if model.kind == LOGIC]
        for level in range(int(circuit.level.max(initial=0)) + 1):
            for cells in logic:
                if (now := cells[circuit.level[cells] == level]).size:
                    self._slews(now)

    def _slews(self, cells: np.ndarray) -> None:
        model = self.circuit.models[cells[0]]
        for number, name in enumerate(model.outputs):
            nets = self.circuit.driven[self.circuit.first_output[cells] + number]
            load = self.net_ff[nets]
            for edge in (FALL, RISE):
                found = [
                    slews.at(self.slew_ns[before, self._pin_nets(cells, model, arc)], load)
                    for arc in model.cell.pins[name].arcs
                    for slews in ((arc.fall_slew, arc.rise_slew)[edge],)
                    if slews is not None and arc.related in model.inputs
                    for before in _edges_before(arc, edge)
                ]
                if found:
                    self.slew_ns[edge, nets] = np.mean(found, axis=0)

    def _pin_nets(self, cells: np.ndarray, model: CellModel, arc: Arc) -> np.ndarray:
        return self.circuit.pins[cells, model.inputs.index(arc.related)]

    def delays(self) -> Delays:
        """Return when things happen."""
        circuit = self.circuit
        found = np.ones(int(circuit.arcs[-1]), np.int32)
        for cells, model in circuit.alike():
            if model.kind == GATE:
                continue
            for number, pin, state, edge in changes(model):
                arcs = _arcs(model, number, pin, state, edge)
                if not arcs:
                    continue
                outputs = circuit.first_output[cells] + number
                slew = self.slew_ns[_edge_of(state, pin), circuit.pins[cells, pin]]
                ns = _mean(arcs, edge, 0, slew, self.net_ff[circuit.driven[outputs]])
                found[circuit.arcs[outputs] + (pin << model.bits | state)] = _ticks(ns)
        return Delays(
            found, _ticks(self.input_ns), int(_ticks(np.array(self.conditions.period_ns / 2)))
        )


def changes(model: CellModel) -> Iterator[tuple[int, int, int, int]]:
    """Return the flips that change an output, as output, input, state before, and its edge."""
    for number in range(len(model.outputs)):
        for pin in range(len(model.inputs)):
            for state in range(1 << model.bits):
                after = model.output(number, model.after(pin, state))
                if after != model.output(number, state):
                    yield number, pin, state, after


def _edge_of(state: int, pin: int) -> int:
    """Return the edge of an input that flips in a state."""
    return FALL if state >> pin & 1 else RISE


def _edges_before(arc: Arc, edge: int) -> tuple[int, ...]:
    """Return the edges of the input that an output's edge may follow."""
    if arc.kind in ("rising_edge", "falling_edge"):
        return (RISE if arc.kind == "rising_edge" else FALL,)
    if arc.sense is Sense.NONE:
        return FALL, RISE
    return (edge if arc.sense is Sense.POSITIVE else 1 - edge,)


def _arcs(model: CellModel, number: int, pin: int, state: int, edge: int) -> list[Arc]:
    """Return the arcs of a change; those without a condition if none has one that holds."""
    possible = [
        arc
        for arc in model.cell.pins[model.outputs[number]].arcs
        if arc.related == model.inputs[pin] and _edge_of(state, pin) in _edges_before(arc, edge)
    ]
    met = [arc for arc in possible if arc.when is not None and model.holds(arc.when, state)]
    return met or [arc for arc in possible if arc.when is None]


def _mean(
    arcs: list[Arc] | tuple[Arc, ...], edge: int, slew: int, before: np.ndarray, load: np.ndarray
) -> np.ndarray:
    """Return the mean delay, or slew, of an output's edge over arcs."""
    tables = [((arc.fall, arc.rise), (arc.fall_slew, arc.rise_slew))[slew][edge] for arc in arcs]
    found = [table.at(before, load) for table in tables if table is not None]
    return np.mean(found, axis=0) if found else np.zeros(before.shape)


def _ticks(ns: np.ndarray) -> np.ndarray:
    return np.maximum(np.rint(np.asarray(ns) / TICK_NS), 1).astype(np.int32)
