"""Gate-level simulation of a mapped unit: with delays, so that glitches are seen, and without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from . import gate_kernel as kernel
from .cellmodel import SimulationError
from .circuit import Circuit
from .netlist import ONE

__all__ = ["TICK_NS", "Activity", "Delays", "simulate"]

TICK_NS = 1e-4
"""Resolution of time: a tenth of a picosecond."""


@dataclass(frozen=True, eq=False)
class Delays:
    """When things happen, in ticks of `TICK_NS`.

    Members
    -------
    arcs : int32
        From an input's flip to an output's change, at the places of `Circuit.arcs`.
    inputs : int32 (bits of inputs,)
        When in a cycle each input changes.
    half : int
        Half a period.
    """

    arcs: np.ndarray
    inputs: np.ndarray
    half: int


@dataclass(frozen=True, eq=False)
class Activity:
    """What happened in a simulation, by phase.

    Members
    -------
    cycles : int64 (phases,)
    toggles : int64 (phases, nets)
    arcs, flips, states : int64 (phases, ...)
        Changes of outputs, flips of inputs, and half cycles in each state; `Circuit` says where.
    swallowed : int64 (phases, ...)
        As `arcs`, of pulses that were too short for the gate that was to give them.
    outputs : dict of str to uint8 (cycles, bits)
        Settled values of the output ports, bit 0 first.
    settled_ns : float
        The latest change after a rise of the clock; 0 without delays.
    """

    cycles: np.ndarray
    toggles: np.ndarray
    arcs: np.ndarray
    flips: np.ndarray
    states: np.ndarray
    swallowed: np.ndarray
    outputs: dict[str, np.ndarray]
    settled_ns: float


def simulate(
    circuit: Circuit,
    inputs: Mapping[str, np.ndarray],
    *,
    delays: Delays | None = None,
    phases: np.ndarray | None = None,
) -> Activity:
    """Simulate a circuit; flip-flops begin at zero.

    Parameters
    ----------
    inputs : mapping of str to uint8 (cycles, bits)
        Settled values of each input port but the clock; others are passed over. Those of the first
        cycle are there from the start: its outputs are shown, but nothing of it is counted.
    delays : Delays, optional
        None: nothing takes time, and nothing glitches.
    phases : int (cycles,), optional
        Small numbers that tell cycles apart in what is counted; all 0 by default.

    Raises
    ------
    SimulationError
        An input port is missing, or has another width or length.
    """
    given = _given(circuit, inputs)
    phases = np.zeros(len(given), np.int64) if phases is None else np.asarray(phases, np.int64)
    if phases.shape != (len(given),) or (phases < 0).any():
        raise SimulationError(f"phases must be {len(given)} numbers, none below 0")
    count = int(phases.max()) + 1
    arcs = circuit.arcs[-1]
    places = circuit.nets, arcs, circuit.flips[-1], circuit.states[-1], arcs
    counts = kernel.Counts(*(np.zeros((count, int(size)), np.int64) for size in places))
    value, state = np.zeros(circuit.nets, np.uint8), np.zeros(len(circuit.models), np.int64)
    value[ONE] = 1
    shown = np.zeros((len(given), circuit.wires.shown.size), np.uint8)
    run = circuit.wires, counts, given, phases, value, state, shown
    longest = 0
    if delays is None:
        kernel.run_zero_delay(*run)
    else:
        slowest = int(max(delays.arcs.max(initial=1), delays.inputs.max(initial=1)))
        ring = 1 << slowest.bit_length()
        longest = kernel.run_timed(*run, delays.arcs, delays.inputs, delays.half, ring)
    cycles = np.bincount(phases[1:], minlength=count)
    counts.toggles[:, circuit.clock_net] = 2 * cycles
    return Activity(
        cycles,
        counts.toggles,
        counts.arcs,
        counts.flips,
        counts.states,
        counts.swallowed,
        _by_port(circuit, shown),
        longest * TICK_NS,
    )


def _given(circuit: Circuit, inputs: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the values of all inputs, uint8 (cycles, bits)."""
    parts = []
    for name, port in circuit.inputs.items():
        if name not in inputs:
            raise SimulationError(f"input {name!r} of {circuit.name} is not given")
        values = np.asarray(inputs[name], np.uint8)
        if values.ndim != 2 or values.shape[1] != len(port.nets):
            raise SimulationError(
                f"input {name!r} of {circuit.name} takes (cycles, {len(port.nets)}) bits, "
                f"not {values.shape}"
            )
        parts.append(values)
    lengths = {len(part) for part in parts}
    if len(lengths) != 1 or 0 in lengths:
        raise SimulationError(f"inputs must be of one length, not of {sorted(lengths)}")
    return np.ascontiguousarray(np.concatenate(parts, axis=1))


def _by_port(circuit: Circuit, shown: np.ndarray) -> dict[str, np.ndarray]:
    found, place = {}, 0
    for name, port in circuit.outputs.items():
        found[name] = shown[:, place : place + len(port.nets)]
        place += len(port.nets)
    return found
