"""What timing analysis walks over: drivers, loads and wires of nets, and instances in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .clock import clock_nets
from .constants import tie
from .delays import ARC, CHECK, Delays
from .flat import Flat
from .liberty import Direction, WireLoad
from .netlist import ONE, OPEN, Kind, NetlistError

__all__ = ["Graph", "graph"]

_PS_PER_NS = 1000.0


@dataclass(frozen=True, eq=False)
class Graph:
    """A flat module, ready to be timed.

    Members
    -------
    variant : array of int32, shape (instances,)
        Kind of each instance, with what is tied.
    driver : array of int32, shape (nets,)
        Instance that drives a net; -1 if it comes in by a port, is tied, or is open.
    load_ff : array of float64, shape (nets, 2)
        Pins and wire, for a rise and for a fall.
    wire : array of float64, shape (nets, 2)
        Resistance of the branch to each load, in ns a fF, and its own capacitance in fF.
    fanout : array of int64, shape (nets,)
    value : array of int8, shape (nets,)
        0 or 1 where a net never changes, else -1.
    clock : array of bool, shape (nets,)
    order : array of int32
        Combinational instances, each after those that drive it.
    registers, checked : arrays of int32
        Instances from which paths begin, and at which they end.
    through, launches, checks : arrays of ARC, ARC and CHECK
    through_starts, launch_starts, check_starts : arrays of int32
        First entry of each variant.
    labels : tuple of str
        What each check is called.
    data, tables : arrays
        Of `Delays.tables`.
    delays : Delays
    """

    flat: Flat
    variant: NDArray[np.int32]
    driver: NDArray[np.int32]
    load_ff: NDArray[np.float64]
    wire: NDArray[np.float64]
    fanout: NDArray[np.int64]
    value: NDArray[np.int8]
    clock: NDArray[np.bool_]
    order: NDArray[np.int32]
    registers: NDArray[np.int32]
    checked: NDArray[np.int32]
    through: NDArray
    through_starts: NDArray[np.int32]
    launches: NDArray
    launch_starts: NDArray[np.int32]
    checks: NDArray
    check_starts: NDArray[np.int32]
    labels: tuple[str, ...]
    data: NDArray[np.float64]
    tables: NDArray[np.int64]
    delays: Delays


def graph(
    flat: Flat,
    clock: str,
    wire_load: WireLoad | None,
    families: Sequence[Sequence[int]] = (),
) -> Graph:
    """Return what is needed to time a module.

    Parameters
    ----------
    families : sequence of sequences of int
        Kinds that may be exchanged: all are ready with the inputs tied that any has.

    Raises
    ------
    NetlistError
        A latch, a falling-edge register, a net with two drivers, a combinational loop, or a clock
        that is not where it belongs; the instance is named.
    """
    for number, kind in enumerate(flat.kinds):
        _refuse(flat, number, kind)
    delays = Delays(flat.kinds)
    value, variant = tie(flat, delays)
    delays.widen(families)
    carries = clock_nets(flat, clock)
    driver = _drivers(flat)
    load, wire, fanout = _loads(flat, wire_load)
    through, through_starts = delays.arrays(delays.through, ARC)
    launches, launch_starts = delays.arrays(delays.launches, ARC)
    checks, check_starts = delays.arrays(delays.checks, CHECK)
    data, tables = delays.tables()
    order = _order(flat, variant, driver, carries, through, through_starts)
    return Graph(
        flat=flat,
        variant=variant,
        driver=driver,
        load_ff=load,
        wire=wire,
        fanout=fanout,
        value=value,
        clock=carries,
        order=order,
        registers=_having(variant, launch_starts),
        checked=_having(variant, check_starts),
        through=through,
        through_starts=through_starts,
        launches=launches,
        launch_starts=launch_starts,
        checks=checks,
        check_starts=check_starts,
        labels=tuple(delays.labels),
        data=data,
        tables=tables,
        delays=delays,
    )


def _refuse(flat: Flat, number: int, kind: Kind) -> None:
    """Raise if a kind is in use that cannot be timed."""
    cell = kind.cell
    if cell is None:
        return
    falling = any(arc.kind == "falling_edge" for pin in cell.outputs for arc in pin.arcs)
    what = "a latch" if cell.latch else "a register of the falling edge" if falling else None
    if what and (flat.kind == number).any():
        name = flat.instance_name(int(np.flatnonzero(flat.kind == number)[0]))
        raise NetlistError(f"{flat.name}: {name} ({cell.name}) is {what}: it cannot be timed")


def _having(variant: NDArray[np.int32], starts: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the instances whose variants have entries."""
    return np.flatnonzero(np.diff(starts)[variant] > 0).astype(np.int32)


def _pins(flat: Flat, of: list[list[float]]) -> NDArray[np.float64]:
    """Return what each pin of each instance has, given what the pins of each kind have."""
    starts = np.cumsum([0, *(len(kind.pins) for kind in flat.kinds)])
    sizes = np.diff(flat.first)
    place = np.arange(len(flat.net)) - np.repeat(flat.first[:-1] - starts[flat.kind], sizes)
    return np.concatenate([np.array(each, np.float64) for each in of] or [np.zeros(0)])[place]


def _drivers(flat: Flat) -> NDArray[np.int32]:
    """Return which instance drives each net."""
    outputs = _pins(flat, [[not into for into in kind.inputs] for kind in flat.kinds]) > 0
    pins = np.flatnonzero(outputs & (flat.net > ONE))
    owner = (np.searchsorted(flat.first, pins, side="right") - 1).astype(np.int32)
    nets = flat.net[pins]
    driver = np.full(flat.nets, -1, np.int32)
    driver[nets] = owner
    twice = np.flatnonzero(np.bincount(nets, minlength=flat.nets) > 1)
    if len(twice):
        both = [flat.instance_name(int(each)) for each in owner[nets == twice[0]][:2]]
        raise NetlistError(f"{flat.name}: {' and '.join(both)} drive one net")
    return driver


def _loads(
    flat: Flat, wire_load: WireLoad | None
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.int64]]:
    """Return load, wire and fanout of each net."""
    connected = flat.net != OPEN
    nets = flat.net[connected]
    load = np.empty((flat.nets, 2))
    for edge in (0, 1):
        farads = _pins(flat, [_capacitances(kind, edge) for kind in flat.kinds])[connected]
        load[:, edge] = np.bincount(nets, farads, minlength=flat.nets)
    inputs = _pins(flat, [list(kind.inputs) for kind in flat.kinds])[connected] > 0
    outputs = [p.nets for p in flat.ports.values() if p.direction is not Direction.INPUT]
    ends = np.concatenate([nets[inputs], *outputs])
    fanout = np.bincount(ends, minlength=flat.nets)
    wire = np.zeros((flat.nets, 2))
    if wire_load is not None:
        counts, which = np.unique(fanout, return_inverse=True)
        total = np.array([wire_load.capacitance_ff(int(n)) for n in counts])
        ohms = np.array([wire_load.resistance_kohm(int(n)) for n in counts])
        each = np.maximum(counts, 1)
        load += total[which][:, None]
        wire[:, 0] = (ohms / each / _PS_PER_NS)[which]
        wire[:, 1] = (total / each)[which]
    return load, wire, fanout


def _capacitances(kind: Kind, edge: int) -> list[float]:
    if kind.macro is not None:
        return [kind.macro.input_ff * into for into in kind.inputs]
    pins = [kind.cell.pins[name] for name in kind.pins]
    return [pin.fall_ff if edge else pin.rise_ff for pin in pins]


def _order(
    flat: Flat,
    variant: NDArray[np.int32],
    driver: NDArray[np.int32],
    carries: NDArray[np.bool_],
    through: NDArray,
    starts: NDArray[np.int32],
) -> NDArray[np.int32]:
    """Return the combinational instances in the order of their signals; clock buffers are none."""
    instances = _having(variant, starts)
    combinational = np.zeros(len(variant) + 1, np.bool_)
    combinational[instances] = True
    combinational[driver[carries]] = False
    combinational[-1] = False
    before = np.where(combinational[driver], driver, -1).astype(np.int32)
    order, loop = kernels.order(
        instances[combinational[instances]],
        variant,
        flat.first,
        flat.net,
        before,
        starts,
        np.ascontiguousarray(through["source"]),
    )
    if loop >= 0:
        name = flat.instance_name(int(loop))
        raise NetlistError(f"{flat.name}: a combinational loop goes through {name}")
    return order
