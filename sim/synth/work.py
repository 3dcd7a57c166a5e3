"""What units of the hardware take beside the elements: at rest, and in what they do."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from .circuit import Circuit
from .gates import Activity, simulate
from .loads import Conditions
from .power import Part, Prices

__all__ = ["Rest", "Work", "at_rest", "at_work"]

_RESET, _SETTLE, _REST = 4, 60, 16
"""Cycles in reset, until nothing moves any more, and counted."""


@dataclass(frozen=True)
class Rest:
    """What a unit takes when nothing happens.

    Members
    -------
    clock_fj : float
        Switching in a cycle: the clock, and whatever never rests.
    leakage_nw : float
    """

    clock_fj: float
    leakage_nw: float


@dataclass(frozen=True)
class Work:
    """What a unit takes in a cycle by what it does, clock and leakage included, in fJ.

    Members
    -------
    zero_delay : mapping of str to float
        Without delays and wires.
    timed : mapping of str to float
        With both.
    cycles : mapping of str to int
        How many were measured.
    """

    zero_delay: Mapping[str, float]
    timed: Mapping[str, float]
    cycles: Mapping[str, int]


def at_rest(circuit: Circuit, conditions: Conditions) -> Rest:
    """Return what a unit takes when all its inputs stay low, after a reset.

    Memories are macros, and have no part in it.
    """
    cycles = _RESET + _SETTLE + _REST
    inputs = {
        name: np.zeros((cycles, len(port.nets)), np.uint8) for name, port in circuit.inputs.items()
    }
    if "rst" in inputs:
        inputs["rst"][:_RESET] = 1
    phases = (np.arange(cycles) >= cycles - _REST).astype(np.int64)
    breakdown = Prices(circuit, conditions).breakdown(simulate(circuit, inputs, phases=phases), 1)
    leakage = breakdown[Part.LEAKAGE] / (conditions.period_ns * 1e-3)
    return Rest(breakdown.dynamic, leakage)


def at_work(
    circuit: Circuit,
    inputs: Mapping[str, np.ndarray],
    does: Mapping[str, np.ndarray],
    conditions: Conditions,
) -> tuple[Work, Activity]:
    """Return what a unit takes by what it does.

    Parameters
    ----------
    inputs : mapping of str to uint8 (cycles, bits)
        As recorded; ports that are not there stay low.
    does : mapping of str to bool (cycles,)
        The cycles of each kind; the first of a kind counts where two overlap.

    Returns
    -------
    Work, Activity
        The activity is that with delays, to compare its outputs.

    Raises
    ------
    ValueError
        There is no cycle of some kind.
    """
    cycles = len(next(iter(inputs.values())))
    given = {
        name: inputs.get(name, np.zeros((cycles, len(port.nets)), np.uint8))
        for name, port in circuit.inputs.items()
    }
    phases = np.zeros(cycles, np.int64)
    for number, when in reversed(list(enumerate(does.values(), 1))):
        phases[when] = number
    bare = dataclasses.replace(conditions, wire_load=None, link_ff=0.0)
    found = []
    for prices, timed in ((Prices(circuit, bare), False), (Prices(circuit, conditions), True)):
        delays = prices.loads.delays() if timed else None
        activity = simulate(circuit, given, delays=delays, phases=phases)
        found.append({name: prices.breakdown(activity, n).total for n, name in enumerate(does, 1)})
    counts = {name: int(activity.cycles[number]) for number, name in enumerate(does, 1)}
    return Work(*found, counts), activity
