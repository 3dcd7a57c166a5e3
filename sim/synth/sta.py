"""Static timing analysis: how fast a mapped module is.

Delays and slews come from the library's tables (NLDM), wires from its wire load, by fanout. The
clock is ideal: it arrives everywhere at 0 with a slew of 0, also behind clock gates. Inputs come
with it, outputs are due at the next edge. These are the conventions of OpenSTA after
``create_clock`` with input and output delays of 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from . import kernels
from .errors import SynthError
from .flat import Flat
from .graph import Graph, graph
from .liberty import Direction, Library, WireLoad
from .netlist import ONE
from .path import Path, Trace

__all__ = ["DEFAULT", "NONE", "Timing", "TimingError", "analyse", "chosen_wire_load"]

DEFAULT, NONE = "default", "none"
"""Names that choose the library's own wire load, and no wire at all."""


class TimingError(SynthError):
    """What is asked for cannot be timed; the message is one line that says what is accepted."""


@dataclass(frozen=True, eq=False)
class Timing:
    """What `analyse` found.

    Members
    -------
    graph : Graph
        Loads, wires and drivers of all nets.
    arrival_ns, slew_ns : array of float64, shape (nets, 2)
        Latest arrival at a net's driver, and largest slew, for a rise and for a fall; -inf and 0
        if there is none.
    by : array of int32, shape (nets, 2)
        Arc of `graph` that the latest arrival comes by, or -1.
    ends : array of float64, shape (instances checked + bits of output ports,)
        When the next edge may come as far as each end goes: arrival and setup; -inf if nothing
        arrives.
    check : array of int32, shape (instances checked,)
        Check of `graph` that says so, or -1.
    """

    graph: Graph
    arrival_ns: NDArray[np.float64]
    slew_ns: NDArray[np.float64]
    by: NDArray[np.int32]
    ends: NDArray[np.float64]
    check: NDArray[np.int32]

    @property
    def period_ns(self) -> float:
        """Shortest period of the clock; 0 if there is no path."""
        return max(0.0, float(self.ends.max(initial=0.0)))

    @cached_property
    def path(self) -> Path | None:
        """The path that bounds the period; None if there is none."""
        return next(iter(self.worst(1)), None)

    def worst(self, count: int) -> list[Path]:
        """Return the latest path to each of the ends that need the longest periods."""
        trace = Trace(self.graph, self.arrival_ns, self.slew_ns, self.by)
        most = np.argsort(-self.ends, kind="stable")[:count]
        found = []
        for end in most[self.ends[most] > -np.inf].tolist():
            if end < len(self.check):
                instance = int(self.graph.checked[end])
                found.append(trace.to_check(instance, int(self.check[end]), self.ends[end]))
            else:
                found.append(trace.to_output(end - len(self.check)))
        return found


def chosen_wire_load(library: Library, name: str) -> WireLoad | None:
    """Return a wire load of the library; `DEFAULT` may be none, if the library names none.

    Raises
    ------
    TimingError
        There is none of this name.
    """
    if name == DEFAULT:
        name = library.default_wire_load or NONE
    if name == NONE:
        return None
    if name not in library.wire_loads:
        accepted = ", ".join([DEFAULT, NONE, *library.wire_loads])
        raise TimingError(f"{library.name} has no wire load {name!r}; accepted: {accepted}")
    return library.wire_loads[name]


def analyse(flat: Flat, wire_load: WireLoad | None, *, clock: str = "clk") -> Timing:
    """Time a module.

    Parameters
    ----------
    flat : Flat
    wire_load : WireLoad or None
        Of `chosen_wire_load`.
    clock : str
        Port of the clock; a module without it and without registers is timed from its inputs to
        its outputs.

    Raises
    ------
    NetlistError
        A latch, a falling-edge register, a net with two drivers, a combinational loop, or a clock
        that is not where it belongs; the instance is named.
    """
    g = graph(flat, clock, wire_load)
    arrival = np.full((flat.nets, 2), -np.inf)
    slew = np.zeros((flat.nets, 2))
    by = np.full((flat.nets, 2), -1, np.int32)
    for port in flat.ports.values():
        if port.direction is not Direction.OUTPUT:
            arrival[port.nets] = 0.0
    # What never changes, and the clock, are no data.
    arrival[g.clock | (g.value >= 0)] = -np.inf
    of = (g.variant, flat.first, flat.net)
    time = (arrival, slew)
    kernels.launch(
        g.registers, *of, g.launch_starts, g.launches, g.data, g.tables, g.load_ff, *time, by
    )
    arrival[: ONE + 1] = -np.inf
    kernels.propagate(
        g.order, *of, g.through_starts, g.through, g.data, g.tables, g.load_ff, g.wire, *time, by
    )
    end = np.full(len(g.checked), -np.inf)
    check = kernels.check(
        g.checked, *of, g.check_starts, g.checks, g.data, g.tables, g.wire, *time, end
    )
    outputs = [p.nets for p in flat.ports.values() if p.direction is not Direction.INPUT]
    bits = np.concatenate([*outputs, np.zeros(0, np.int32)]).astype(np.int64)
    return Timing(g, arrival, slew, by, np.concatenate([end, arrival[bits].max(axis=1)]), check)
