"""What a whole design takes while nothing happens: clocks and leakage, module by module.

At rest, every flip-flop that the clock reaches directly takes its clock pin and what the library
has for it with data that does not change; every clock gate takes the same, and keeps the clock from
the flip-flops behind it. So it is counted, not simulated, and a design of any size is done at once;
`sim.synth.work.at_rest` finds the same by simulation.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .cellmodel import CellModel, cell_model
from .gate_kernel import LOGIC
from .loads import FALL, RISE, Conditions
from .netlist import OPEN, Module, Netlist

__all__ = ["Standby", "standby"]


@dataclass(frozen=True)
class Standby:
    """A module at rest, its own cells only.

    Members
    -------
    name : str
    instances : int
        In the design.
    clock_fj : float
        A cycle, of one instance.
    leakage_nw : float
        Of one instance, each cell as the library has it without a state.
    """

    name: str
    instances: int
    clock_fj: float
    leakage_nw: float


def standby(netlist: Netlist, conditions: Conditions, clock: str = "clk") -> tuple[Standby, ...]:
    """Return every module of a design at rest.

    Parameters
    ----------
    clock : str
        Name of the clock's port in each module.
    """
    return tuple(
        Standby(name, count, *_own(netlist, netlist.modules[name], conditions, clock))
        for name, count in netlist.instances().items()
    )


def _own(
    netlist: Netlist, module: Module, conditions: Conditions, clock: str
) -> tuple[float, float]:
    """Return fJ a cycle of a module's own clock, and nW of its own cells."""
    root = int(module.ports[clock].nets[0]) if clock in module.ports else OPEN
    sizes = np.array([len(kind.pins) for kind in netlist.kinds], np.int64)
    first = np.concatenate([[0], np.cumsum(sizes[module.kinds])])
    inside = pins_ff = leakage = 0.0
    loads = 0
    for number in np.unique(module.kinds):
        kind = netlist.kinds[number]
        if kind.cell is None:
            continue
        of_kind = np.flatnonzero(module.kinds == number)
        leakage += len(of_kind) * kind.cell.leakage_nw
        if kind.cell.register is None and kind.cell.gating is None:
            continue
        model = cell_model(kind.cell)
        if model.kind == LOGIC:
            continue
        name = model.inputs[model.clock]
        clocked = int((module.pins[first[of_kind] + kind.pins.index(name)] == root).sum())
        pin = kind.cell.pins[name]
        loads += clocked
        pins_ff += clocked * (pin.rise_ff + pin.fall_ff) / 2
        inside += clocked * _cycle(model, conditions.clock_slew_ns)
    if conditions.wire_load is not None and loads:
        pins_ff += conditions.wire_load.capacitance_ff(loads)
    return inside + pins_ff * netlist.library.voltage_v**2, leakage


def _cycle(model: CellModel, slew_ns: float) -> float:
    """Return fJ inside a cell for both edges of its clock while nothing changes."""
    states = [s for s in range(1 << model.bits) if not s >> model.clock & 1 and _rests(model, s)]
    found = 0.0
    for state in states:
        risen = model.after(model.clock, state)
        for edge, before in ((RISE, state), (FALL, risen)):
            powers = model.powers(None, model.clock, before)
            tables = [(power.fall, power.rise)[edge] for power in powers]
            found += sum(float(t.at(slew_ns, 0.0)) for t in tables if t is not None) / max(
                len(tables), 1
            )
    return found / len(states)


def _rests(model: CellModel, state: int) -> bool:
    """Tell whether no output and nothing that is stored moves when the clock does."""
    risen = model.after(model.clock, state)
    return (
        risen ^ state == 1 << model.clock
        and model.after(model.clock, risen) == state
        and all(
            model.output(number, state) == model.output(number, risen)
            for number in range(len(model.outputs))
        )
    )
